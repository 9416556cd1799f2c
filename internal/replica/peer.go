package replica

import (
	"context"
	"errors"
)

// Receive takes a frame that another replica's Transport.Send was given. It
// keeps the frame, and never blocks. An error says what is wrong with it; the
// rest of such a frame is dropped.
func (h *Host) Receive(from uint64, frame []byte) error { return nil }

// Peer tells that a replica's node was found to be up or down.
func (h *Host) Peer(replica uint64, up bool) {}

// ServeFetch answers another replica's Transport.Fetch. It may wait for the disk.
func (h *Host) ServeFetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	return nil, errors.New("replica: no snapshots yet")
}
