package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// frameLimit is the size at which a frame is sent before the turn ends, so
// that the other node can begin with it.
const frameLimit = 1 << 20

// largePart is the size from which on an entry's data is not copied into a frame: it goes
// to the transport as it lies in the memtable, also when that is to several replicas.
const largePart = 16 << 10

// outbox gathers what the groups of a shard say in one turn: one frame for
// each replica, whatever the number of groups.
type outbox struct {
	transport Transport
	metrics   *metrics
	frames    []outFrame // few: one for each node of the cluster
}

type outFrame struct {
	to uint64
	frameWriter
}

func (o *outbox) add(group record.LogID, m *raftpb.Message) {
	f := o.frame(m.GetTo())
	if f.len() == 0 {
		f.b = append(f.b, frameVersion)
	}
	f.message(group, m)
	o.metrics.sent.Inc()
	if f.len() >= frameLimit {
		o.send(f)
	}
}

func (o *outbox) frame(to uint64) *outFrame {
	for i := range o.frames {
		if o.frames[i].to == to {
			return &o.frames[i]
		}
	}
	o.frames = append(o.frames, outFrame{to: to, frameWriter: frameWriter{large: largePart}})
	return &o.frames[len(o.frames)-1]
}

func (o *outbox) send(f *outFrame) {
	if o.transport == nil || !o.transport.Send(f.to, f.seal()...) {
		o.metrics.lostFrames.Inc()
	}
	f.frameWriter = frameWriter{large: largePart} // what it holds is the transport's now
}

// flush sends what the turn has gathered.
func (o *outbox) flush() {
	for i := range o.frames {
		if f := &o.frames[i]; f.len() > 0 {
			o.send(f)
		}
	}
}
