// Package prove runs the promise, cell by cell: promise.yaml says for each
// way of using the broker and each fault what must happen, and the driver makes the
// fault happen to three real processes under the load of stock clients, and compares.
//
// One run of a fault loads the cluster in all modes at once, each with a queue or
// a topic of its own, so that it is a run of that fault's cell of every mode. A
// run is: load, fault, hold, heal, wait until the cluster is healthy, load, drain, compare.
//
// What came out is kept in docs/promise.json, and docs/promise.md is made of it; a
// cell that has no run there is printed as unproven.
//
//	make prove                                 every cell once
//	make prove RUNS=20 CELLS='kill-*'          twenty runs of the faults that are named so
//	make prove CELLS='amqp-*/kill-leader'      of some modes only
package prove
