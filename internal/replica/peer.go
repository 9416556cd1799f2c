package replica

import (
	"errors"
	"fmt"
	"maps"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/storage"
)

// Receive takes a frame that another replica's Transport.Send was given. It
// keeps the frame, and never blocks. An error says what is wrong with it: what
// could not be read or is invalid is dropped, and counted.
func (h *Host) Receive(from uint64, frame []byte) error {
	body, err := openFrame(frame)
	if err != nil {
		h.metrics.refused.Inc()
		return err
	}
	items := make([][]item, len(h.shards))
	h.mu.RLock()
	for len(body) > 0 {
		group, m, rest, bad := ParseMessage(body, from, h.cfg.ReplicaID)
		if bad != nil {
			h.metrics.refused.Inc()
			err = errors.Join(err, bad)
			break
		}
		body = rest
		if bad := validate(m); bad != nil {
			h.metrics.refused.Inc()
			err = errors.Join(err, fmt.Errorf("group %d: %w", group, bad))
			continue
		}
		g := h.groups[group]
		if g == nil {
			h.metrics.refused.Inc() // not opened yet, or removed: no error of the sender's
			continue
		}
		n := uint64(group) % uint64(len(h.shards))
		items[n] = append(items[n], item{group: g, kind: itemMessage, event: m})
	}
	h.mu.RUnlock()
	for n, list := range items {
		if len(list) > 0 {
			h.shards[n].post(list...)
		}
	}
	return err
}

// Peer tells that a replica's node was found to be up or down. When it is down the groups that
// it led elect another leader at once. A node that was never told of counts as up.
func (h *Host) Peer(replica uint64, up bool) {
	items := make([][]item, len(h.shards))
	h.mu.Lock()
	down := maps.Clone(*h.down.Load())
	if down == nil {
		down = map[uint64]bool{}
	}
	down[replica] = !up
	h.down.Store(&down)
	for id, g := range h.groups {
		n := uint64(id) % uint64(len(h.shards))
		items[n] = append(items[n], item{group: g, kind: itemDo, event: func() { g.peerChanged(replica, up) }})
	}
	h.mu.Unlock()
	for n, list := range items {
		if len(list) > 0 {
			h.shards[n].post(sortItems(list)...)
		}
	}
}

func (h *Host) isDown(replica uint64) bool { return (*h.down.Load())[replica] }

// receive takes a message of another replica.
func (g *Group) receive(m *raftpb.Message) {
	if g.stopped || !g.started || g.busyInstalling() {
		return // raft sends again what matters
	}
	switch m.GetType() {
	case kindSleep:
		g.sleepWith(m)
		return
	case kindLeave:
		if m.GetTerm() == g.raftTerm {
			g.leaderGone(m.GetFrom())
		}
		return
	case raftpb.MsgSnap:
		g.offered(m)
		return
	case raftpb.MsgVote, raftpb.MsgPreVote:
		// A replica that is not, or not yet again, a member as far as it knows may
		// have voted in a former life: it could give a stale candidate a second majority.
		if !g.joined {
			return
		}
	case raftpb.MsgAppResp:
		if g.state == raft.StateLeader && m.GetTerm() == g.raftTerm && m.GetIndex() > uint64(g.last) {
			g.host.metrics.refused.Inc()
			g.host.cfg.Logger.Error("a replica acknowledges what it was never sent", "group", g.id, "replica", m.GetFrom(), "index", m.GetIndex(), "last", g.last)
			return
		}
	}
	if !g.isEcho(m) {
		g.wake()
	}
	g.stepPeer(m)
}

// isEcho reports whether a message asks for nothing: the answer to what a
// leader said last before it slept.
func (g *Group) isEcho(m *raftpb.Message) bool {
	if m.GetTerm() != g.raftTerm {
		return false
	}
	return m.GetType() == raftpb.MsgHeartbeatResp && len(m.GetContext()) == 0 ||
		m.GetType() == raftpb.MsgAppResp && !m.GetReject() && m.GetIndex() == uint64(g.last)
}

// stepPeer gives raft a message of another replica. Raft panics when it
// contradicts what is committed here, or is known to have been acknowledged:
// then this replica's log is not what it should be, or the other's.
func (g *Group) stepPeer(m *raftpb.Message) {
	defer func() {
		if p := recover(); p != nil {
			g.halt("cannot go on", panicError{fmt.Sprintf("%s from replica %d", m.GetType(), m.GetFrom()), p})
		}
	}()
	_ = g.node.Step(m) // an error: of somebody who is no member; it was dropped
}

// panicError is a panic of raft as an error.
type panicError struct {
	what string
	p    any
}

func (e panicError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.p) }

// isGone reports whether entries are not there because they were dropped.
func isGone(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrClosed)
}
