// Package transport connects the nodes of a cluster: every connection is
// between two nodes that have told, and with TLS proved, who they are.
//
// # What it offers
//
//   - Messages: one ordered stream to each peer, for raft. [Transport.Send] queues a frame
//     and never blocks; frames are lost when the connection is, and dropped
//     beyond 64 MiB, which raft repairs.
//   - Liveness: [Transport.OnPeer] tells when a peer comes up and when it goes down.
//   - Calls: one request, one answer ([Transport.Call], [Transport.HandleCall]).
//   - Streams: a connection of one's own ([Transport.Dial], [Transport.Handle]).
//
// # Who may connect
//
// With TLS both ends show a certificate that the cluster's authority has signed
// and that names their node in a URI, waybill://node/3; it must be the node that
// the hello names. Without TLS a connection is refused unless both of its
// addresses are loopback ones. A peer of another cluster is refused. A node that is in
// no cluster yet may call the service [JoinService], and nothing else.
//
// # Promises
//
//   - OnMessage is called with the frames of a peer in the order of its Sends, one at a
//     time; a frame may be missing, but none comes twice.
//   - A peer is down at once when its connection is cut and a new one is refused,
//     else after a second of silence; then all of its connections are closed.
//   - A slow peer holds up nobody but itself.
//   - Memory grows with the bytes received, never with a length that is only
//     declared; before the hello no more than 4 KiB are read, for ten seconds.
package transport

// Identity is who a node is.
type Identity struct {
	Cluster string // the cluster's id; "" in none yet
	Node    uint64 // the operator's number of the node
	Replica uint64 // the raft id of its data directory; 0: none yet
	Store   string // the id of its data directory
}

// JoinService is the only service that is served to nodes of no cluster.
const JoinService = "join"
