package replica

import "context"

// Transport carries what the raft groups of this node say to their replicas on
// other nodes. Replicas are named by their ids; which node has which is for the
// transport to know. Both methods may be called from any goroutine.
type Transport interface {
	// Send queues a frame, of which it is given the parts, for a replica, whose node hands it to
	// Host.Receive. The parts are not changed any more. Frames to one replica arrive in order or not
	// at all; what a lost connection takes with it raft sends again. It never blocks, and
	// returns false when the frame was dropped.
	Send(to uint64, parts ...[]byte) bool
	// Fetch sends a request to a replica's node, which answers with
	// Host.ServeFetch; it is how a snapshot is read, piece by piece. An answer is
	// about 1 MiB, or one entry when that is larger.
	Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error)
}
