package replica

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waybill/internal/vfs"
)

// TestThrottle: however many take at once, no more than the rate passes; who gives up
// does not wait.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := &throttle{rate: 1 << 20}
		start := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 8 {
					if err := limit.pass(context.Background(), 256<<10); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took < 8*time.Second || took > 8100*time.Millisecond {
			t.Errorf("8 MiB at 1 MiB a second took %v", took)
		}
		time.Sleep(time.Minute) // what was not used is not saved up
		start = time.Now()
		if err := limit.pass(context.Background(), 1<<20); err != nil || time.Since(start) < time.Second {
			t.Errorf("1 MiB took %v, %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start = time.Now()
		if err := limit.pass(ctx, 1<<30); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		start = time.Now()
		if err := (&throttle{}).pass(context.Background(), 1<<30); err != nil || time.Since(start) > 0 {
			t.Errorf("without a limit: %v, %v", time.Since(start), err)
		}
	})
}

// TestCatchUpIsThrottled: what a replica reads for one that is behind, and what that
// one takes in, passes a throttle on each side.
func TestCatchUpIsThrottled(t *testing.T) {
	m := &mesh{hosts: map[uint64]*Host{}}
	nodes, disks := map[uint64]*meshNode{}, map[uint64]vfs.FS{}
	for id := uint64(1); id <= 3; id++ {
		disks[id] = vfs.NewMem()
		nodes[id] = startMesh(t, m, id, disks[id], 1)
	}
	value := uint64(0)
	put := func() {
		for value++; ; {
			for _, n := range nodes {
				if n.ledgers[1].group.Leads() && <-n.ledgers[1].put(value) == nil {
					return
				}
			}
		}
	}
	put()
	nodes[3].stop(t, m, 3)
	last := nodes[3].store.Log(1).LastIndex() // it may have got something until it was stopped
	delete(nodes, 3)
	for _, n := range nodes {
		n.host.Peer(3, false)
	}
	for nodes[1].store.Log(1).FirstIndex() <= last+1 || nodes[2].store.Log(1).FirstIndex() <= last+1 {
		put()
	}
	nodes[3] = startMesh(t, m, 3, disks[3], 1)
	for _, n := range nodes {
		n.host.Peer(3, true)
	}
	passed := func(l *throttle) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.free.IsZero()
	}
	for deadline := time.Now().Add(time.Minute); nodes[3].store.Log(1).FirstIndex() <= last+1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not catch up")
		}
	}
	if !passed(&nodes[3].host.taking) {
		t.Error("what came in did not pass the throttle")
	}
	if !passed(&nodes[1].host.giving) && !passed(&nodes[2].host.giving) {
		t.Error("what was read for it did not pass the throttle")
	}
	for id, n := range nodes {
		n.stop(t, m, id)
	}
}
