package replica

import (
	"go.etcd.io/raft/v3"
)

const (
	// transferTicks is how long proposals wait for a transfer before it is given up.
	transferTicks = 5
	// transferRetries is for how many ticks a replica may become ready to lead.
	transferRetries = 10
)

// transfer is the hand-over of the leadership. Raft drops what is proposed
// meanwhile, so nothing is built: it waits in the machine.
type transfer struct {
	to    uint64 // 0: none
	ticks int

	wanted  uint64 // who was not ready to lead when it was asked for
	retries int    // ticks for which that is tried again
}

// Transfer asks the leader to hand the leadership over to a voter; 0 lets it
// choose. Without effect on a follower, and when that voter stays far behind. Proposals wait in
// the machine meanwhile.
func (g *Group) Transfer(to uint64) {
	g.do(func() {
		g.transfer.retries = transferRetries
		g.handOver(to)
	})
}

func (g *Group) handOver(to uint64) {
	if !g.leads.Load() || g.transfer.to != 0 || to == g.host.cfg.ReplicaID {
		return
	}
	best, match := uint64(0), uint64(0)
	g.node.WithProgress(func(id uint64, typ raft.ProgressType, pr progress) {
		if id == g.host.cfg.ReplicaID || typ != raft.ProgressTypePeer || g.host.isDown(id) || pr.State != stateReplicate {
			return
		}
		if id == to || to == 0 && (best == 0 || pr.Match > match || pr.Match == match && id < best) {
			best, match = id, pr.Match
		}
	})
	g.wake()
	if best == 0 && g.transfer.retries > 0 {
		g.transfer.wanted = to
		return
	}
	g.transfer.retries = 0
	if best == 0 {
		g.host.cfg.Logger.Info("no replica is ready to lead the raft group", "group", g.id, "wanted", to)
		return
	}
	g.transfer.to, g.transfer.ticks = best, 0
	g.node.TransferLeader(best)
}

func (g *Group) tickTransfer() {
	t := &g.transfer
	if t.to == 0 {
		if t.retries > 0 {
			t.retries--
			g.handOver(t.wanted)
		}
		return
	}
	if t.ticks++; t.ticks >= transferTicks {
		g.node.TransferLeader(g.host.cfg.ReplicaID) // to itself: the transfer is over
	}
	if g.node.BasicStatus().LeadTransferee == raft.None {
		*t = transfer{}
	}
}
