// Package clustertest runs clusters of real waybill processes for tests, and
// does to them what machines and networks do:
//
//   - a process is killed, paused and continued (SIGKILL, SIGSTOP, SIGCONT);
//   - a disk loses its power, is full, fails a sync, or rots ([Node.PowerCut],
//     [Node.FillDisk], [Node.FailSyncs], [Node.Rot]);
//   - the network between two nodes is cut, stalls, delays, or is half open, in both directions or in one ([Network]);
//   - a clock jumps ([Node.SetClock]), if the binary was built for it;
//   - leaders move, nodes are drained, removed, replaced and added, over the HTTP API.
//
// Every node listens for the others on a port of its own and tells them the
// address of a proxy in this process. The proxy finds out by its socket which
// node's process has dialed, and so treats every pair of nodes, and each
// direction, on its own; the nodes know nothing of it.
//
// The methods belong to the test's goroutine, if nothing else is said.
package clustertest
