//go:build waybill_broken_majority

package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// vouch breaks the promise on purpose: a leader that has an entry on its own disk says
// the same of all followers that it has sent it to, as in brokers that acknowledge
// before the replicas have answered. The tests of the promise must find that out.
func (g *Group) vouch(own *raftpb.Message) {
	if own.GetType() != raftpb.MsgAppResp || !g.leads.Load() {
		return
	}
	var followers []uint64
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		if id != g.host.cfg.ReplicaID && pr.State == stateReplicate {
			followers = append(followers, id)
		}
	})
	for _, id := range followers {
		g.step([]*raftpb.Message{{
			Type: raftpb.MsgAppResp.Enum(), From: new(id), To: own.To, Term: own.Term, Index: own.Index,
		}})
	}
}
