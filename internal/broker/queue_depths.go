package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"waybill/internal/record"
)

const (
	depthsAge     = time.Second            // how old a figure may be
	depthsTimeout = 500 * time.Millisecond // how long the others may take to tell
)

// depths are what other nodes have told about the queues that they lead, for
// listings. Each node is asked for all of them at once.
type depths struct {
	mu sync.Mutex // guards of
	of map[uint64]*depthsOf
}

// depthsOf is what one node has told.
type depthsOf struct {
	mu    sync.Mutex // held while it is asked, so that it is asked once
	asked time.Time
	told  map[record.LogID]QueueDepth
}

func (d *depths) node(id uint64) *depthsOf {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[uint64]*depthsOf{}
	}
	if d.of[id] == nil {
		d.of[id] = &depthsOf{}
	}
	return d.of[id]
}

// fill puts the depths of queues that are led elsewhere into a list. A node that
// does not answer in time leaves what it has told last.
func (d *depths) fill(ctx context.Context, b *Broker, list []QueueInfo) {
	told := map[uint64]map[record.LogID]QueueDepth{}
	for i := range list {
		if node := list[i].Leader; node != 0 && node != b.cfg.Node {
			told[node] = nil
		}
	}
	var asking sync.WaitGroup
	var mu sync.Mutex
	for _, node := range slices.Collect(maps.Keys(told)) { // told changes meanwhile
		asking.Go(func() {
			all := d.node(node).get(ctx, b, node)
			mu.Lock()
			defer mu.Unlock()
			told[node] = all
		})
	}
	asking.Wait()
	for i := range list {
		if depth, ok := told[list[i].Leader][list[i].log]; ok {
			list[i].QueueDepth = depth
		}
	}
}

// get returns what a node has told not long ago, or tells now. The map is not changed any more.
func (d *depthsOf) get(ctx context.Context, b *Broker, node uint64) map[record.LogID]QueueDepth {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := b.cfg.Now()
	if now.Sub(d.asked) < depthsAge || b.isDown(node) {
		return d.told
	}
	d.asked = now
	ctx, cancel := context.WithTimeout(ctx, depthsTimeout)
	defer cancel()
	answer, err := b.cfg.Cluster.Call(ctx, node, "depths", nil)
	if err == nil {
		var told map[record.LogID]QueueDepth
		if told, err = parseDepths(answer); err == nil {
			d.told = told
		}
	}
	if err != nil {
		b.log.Debug("a node does not tell how deep its queues are", "node", node, "error", err)
	}
	return d.told
}

// serveDepths tells about all queues that are led here: of each its log, and ready,
// unacked, bytes and consumers, all uvarints.
func (b *Broker) serveDepths(context.Context, uint64, []byte) ([]byte, error) {
	var data []byte
	for _, q := range b.queuesHere() {
		if q.Leader != b.cfg.Node {
			continue
		}
		data = binary.AppendUvarint(data, uint64(q.log))
		for _, n := range []int64{q.Ready, q.Unacked, q.Bytes, q.Consumers} {
			data = binary.AppendUvarint(data, uint64(max(n, 0)))
		}
	}
	return data, nil
}

var errDepths = errors.New("broker: not a list of queues")

func parseDepths(data []byte) (map[record.LogID]QueueDepth, error) {
	all := map[record.LogID]QueueDepth{}
	for len(data) > 0 {
		var n [5]uint64
		for i := range n {
			v, k := binary.Uvarint(data)
			if k <= 0 || v > 1<<62 {
				return nil, fmt.Errorf("%w: %d bytes are left", errDepths, len(data))
			}
			n[i], data = v, data[k:]
		}
		all[record.LogID(n[0])] = QueueDepth{Ready: int64(n[1]), Unacked: int64(n[2]), Bytes: int64(n[3]), Consumers: int64(n[4])}
	}
	return all, nil
}
