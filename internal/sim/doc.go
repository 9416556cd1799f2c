// Package sim runs whole clusters in one process and in virtual time, from one
// seed, and looks whether they keep the promise.
//
//	go test ./internal/sim -run TestSeeds -seed=42 -v   # one run, with its trace
//	make sim                                            # 500 new ones
//	make soak                                           # until told to stop
//
// docs/simulation.md tells how to read a trace, and what is found.
//
// # What runs
//
// The production code of replica, storage, topic and queue, in their modes
// without goroutines (replica.Config.Manual, storage.Options.Manual), over
// vfs.Mem. On it, for odd seeds, what hosts the machines is a short form of what package
// broker does (partition.go, queue.go), all is on one goroutine, and a seed gives one run to the last byte.
//
// For even seeds it is package broker itself (process.go), with catalog and directory, members,
// forwarding between nodes, and coordinators of consumer groups. Its clients (whole_queue.go and others)
// use the verbs that the protocols use. They and the broker have goroutines, so the run is in a bubble of
// testing/synctest: bubble.go says how far the seed decides then.
//
// The protocols, and package transport, are not simulated: test/cluster and
// test/prove run them as processes.
//
// # What goes wrong
//
// The network (network.go) drops, delays, duplicates and reorders frames, and
// is cut between two nodes, around one, or in one direction; calls and connections between
// brokers (wire.go) are delayed, held, and lost. Disks lose what is
// not synced, tear sectors, forget names, rot, stall, fill, and fail to sync. Nodes lose power, also all of
// them at once and in the middle of a sync; they are killed, paused, wiped and replaced. Clocks
// jump. Leaders and replicas are moved. (faults.go, whole_faults.go)
//
// Faults are bounded so that a quorum of each entry survives: what rots or is
// wiped is one node at a time, until another replica has taken its place.
//
// # What is checked
//
// Clients tell test/check what they see:
// nothing acknowledged is lost, nothing is invented, offsets are dense and in order,
// redeliveries are flagged, a settled message never comes back. Every replica
// hashes every entry that it applies, and the n-th hashes must agree. A read that
// went through raft must see what was acknowledged before it began. A panic, or damage that no
// fault has caused, is a finding too. With brokers there is more (whole_queue.go and others): every publish
// has exactly one answer, and messages lie in the order in which a connection has published them.
//
// In the end all faults are healed and everything must be drained (safety). With
// Config.Live a minority stays broken, and the rest has a bounded time.
package sim
