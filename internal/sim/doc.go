// Package sim runs whole clusters in one process, on one goroutine and in
// virtual time, so that one seed gives one run, and looks whether they keep the promise.
//
//	go test ./internal/sim -run TestSeeds -seed=42 -v   # one run, with its trace
//	go test ./internal/sim -run TestSeeds -runs=500     # 500 new ones
//	make soak                                           # until told to stop
//
// # What runs
//
// The production code of replica, storage, topic and queue, in their modes
// without goroutines (replica.Config.Manual, storage.Options.Manual), over
// vfs.Mem. What hosts the machines (partition.go, queue.go) is a short form of what package
// broker does; broker itself, which has goroutines of its own, and the protocols are not
// simulated: test/cluster and test/prove run them as processes. Placement, which
// the catalog knows in production, is known to all here at once.
//
// # What goes wrong
//
// The network (network.go) drops, delays, duplicates and reorders frames, and
// is cut between two nodes, around one, or in one direction. Disks lose what is
// not synced, tear sectors, forget names, rot, stall, fill, and fail to sync. Nodes lose power, also all of
// them at once and in the middle of a sync; they are killed, paused, wiped and replaced. Clocks
// jump. Leaders and replicas are moved. (faults.go)
//
// Faults are bounded so that a quorum of each entry survives: what rots or is
// wiped is one node at a time, until another replica has taken its place.
//
// # What is checked
//
// Producers, consumers and readers (client.go) tell test/check what they see:
// nothing acknowledged is lost, nothing is invented, offsets are dense and in order,
// redeliveries are flagged, a settled message never comes back. Every replica
// hashes every entry that it applies, and the n-th hashes must agree. A read that
// went through raft must see what was acknowledged before it began. A panic, or damage that no
// fault has caused, is a finding too.
//
// In the end all faults are healed and everything must be drained (safety). With
// Config.Live a minority stays broken, and the rest has a bounded time.
package sim
