package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// A request for a piece of a snapshot is a frame (see codec.go) whose body is
//
//	uint8 op, id of the group, session (0 for opBegin), arguments
//
// and so is the answer. Every piece is asked for by its place, so a request may
// be repeated.
//
//	op         arguments         answer
//	opBegin    index, after      session, applied, term, length of the membership, membership, size of the state
//	opState    place             length, bytes of the state from there on
//	opEntries  after             up to which index all was looked at, entries as in a message
const (
	opBegin byte = iota + 1
	opState
	opEntries
)

const (
	pieceBytes  = 1 << 20
	maxState    = 1 << 30          // bytes of a machine's state
	servesLimit = 16               // snapshots that are served at once; those read to the end do not count
	servesIdle  = 30 * time.Second // after which one is forgotten
)

var (
	errBusy    = errors.New("replica: too many snapshots are fetched from this node; try again")
	errSession = errors.New("replica: the snapshot is not served any more")
	errNoGroup = errors.New("replica: the raft group is not here")
)

func appendRequest(op byte, group record.LogID, session uint64, args ...uint64) []byte {
	b := append([]byte{frameVersion}, op)
	b = binary.AppendUvarint(b, uint64(group))
	b = binary.AppendUvarint(b, session)
	for _, v := range args {
		b = binary.AppendUvarint(b, v)
	}
	return sealFrame(b)
}

// serveKey: a replica fetches one snapshot of a group at a time.
type serveKey struct {
	group   record.LogID
	replica uint64
}

// serving is a snapshot that another replica reads.
type serving struct {
	session    uint64
	log        *storage.Log
	checkpoint *storage.Checkpoint
	used       time.Time
	asked      bool        // since the leader looked last
	through    atomic.Bool // the last piece was read; it may still be asked for again
}

// servings are all of a host.
type servings struct {
	mu   sync.Mutex // guards all
	list map[serveKey]*serving
}

// ServeFetch answers another replica's Transport.Fetch. It may wait for the disk, and for
// what Config.CatchUpRate allows.
func (h *Host) ServeFetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	body, err := openFrame(request)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body}
	op := r.byte()
	key := serveKey{record.LogID(r.uvarint()), from}
	session, arg := r.uvarint(), r.uvarint()
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrame, r.err)
	}
	b := []byte{frameVersion}
	if op == opBegin {
		b, err = h.serveBegin(b, key, record.Index(arg))
	} else {
		var s *serving
		if s, err = h.servings.find(key, session, h.cfg.Now()); err != nil {
			return nil, err
		}
		if b, err = s.piece(b, op, arg); err == nil {
			err = h.giving.pass(ctx, len(b))
		}
	}
	if err != nil {
		return nil, err
	}
	return sealFrame(b), nil
}

// serveBegin freezes the state that the group has now.
func (h *Host) serveBegin(b []byte, key serveKey, index record.Index) ([]byte, error) {
	h.mu.RLock()
	g := h.groups[key.group]
	h.mu.RUnlock()
	if g == nil {
		return nil, errNoGroup
	}
	var c *storage.Checkpoint
	if !g.ask(func() {
		if g.started && !g.stopped && !g.busyInstalling() {
			c = g.snapshot()
		}
	}) || c == nil {
		return nil, errNoGroup
	}
	if c.Applied < index {
		return nil, fmt.Errorf("replica: group %d is at index %d here, not at %d", key.group, c.Applied, index)
	}
	s := &serving{session: h.questions.Add(1), log: g.log, checkpoint: c, used: h.cfg.Now(), asked: true}
	if err := h.servings.add(key, s); err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, s.session)
	b = binary.AppendUvarint(b, uint64(c.Applied))
	b = binary.AppendUvarint(b, c.Term)
	b = appendConfState(b, c.ConfState)
	return binary.AppendUvarint(b, uint64(len(c.State))), nil
}

func (s *serving) piece(b []byte, op byte, arg uint64) ([]byte, error) {
	c := s.checkpoint
	switch op {
	case opState:
		if arg >= uint64(len(c.State)) {
			return nil, fmt.Errorf("%w: byte %d of the state", ErrFrame, arg)
		}
		return appendBytes(b, c.State[arg:min(arg+pieceBytes, uint64(len(c.State)))]), nil
	case opEntries:
		entries, next, err := s.log.LiveEntries(record.Index(arg), c.Applied, c.Live, pieceBytes)
		if err != nil {
			return nil, err
		}
		if next >= c.Applied {
			s.through.Store(true)
		}
		b = binary.AppendUvarint(b, uint64(next))
		return appendEntries(b, entries), nil
	}
	return nil, fmt.Errorf("%w: request %d", ErrFrame, op)
}

func (s *servings) add(key serveKey, v *serving) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := 0
	for k, old := range s.list {
		switch {
		case v.used.Sub(old.used) > servesIdle:
			delete(s.list, k)
		case !old.through.Load():
			busy++
		}
	}
	if busy >= servesLimit && s.list[key] == nil {
		return errBusy
	}
	s.list[key] = v
	return nil
}

func (s *servings) find(key serveKey, session uint64, now time.Time) (*serving, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.list[key]
	if v == nil || v.session != session {
		return nil, errSession
	}
	v.used, v.asked = now, true
	return v, nil
}

// servesTo reports whether a replica has asked for a piece since the last call.
func (h *Host) servesTo(group record.LogID, replica uint64) bool {
	h.servings.mu.Lock()
	defer h.servings.mu.Unlock()
	v := h.servings.list[serveKey{group, replica}]
	if v == nil || !v.asked {
		return false
	}
	v.asked = false
	return true
}

// servesAt is the index of the snapshot that a replica fetches, or fetched last.
func (h *Host) servesAt(group record.LogID, replica uint64) uint64 {
	h.servings.mu.Lock()
	defer h.servings.mu.Unlock()
	if v := h.servings.list[serveKey{group, replica}]; v != nil {
		return uint64(v.checkpoint.Applied)
	}
	return math.MaxUint64
}

// locks are mutexes by number that can be waited for with a context.
type locks struct {
	mu   sync.Mutex // guards held
	held map[uint64]chan struct{}
}

func (l *locks) lock(ctx context.Context, id uint64) error {
	l.mu.Lock()
	c := l.held[id]
	if c == nil {
		c = make(chan struct{}, 1)
		l.held[id] = c
	}
	l.mu.Unlock()
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *locks) unlock(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	<-l.held[id]
}
