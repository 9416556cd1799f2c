package broker

import (
	"testing"

	"waybill/internal/record"
)

// TestTogetherIsOneEntry: what is published together shares an entry, wherever the queue is led,
// though it is larger than entries are, and than frames between nodes are.
func TestTogetherIsOneEntry(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		const n = 6
		for _, node := range r.nodes {
			confirmed := make(confirms, n+2)
			node.put(t, "q", confirmed, 0, make([]byte, 40_000))
			gather := node.session.Together()
			for range n {
				if queues, err := gather.Publish(publicationTo("q", make([]byte, 20_000)), confirmed, 1); queues != 1 || err != nil {
					t.Fatal(queues, err)
				}
			}
			before := r.last()
			gather.Post()
			node.put(t, "q", confirmed, 2, make([]byte, 40_000))
			for range n + 2 {
				if err := <-confirmed; err != nil {
					t.Fatal(err)
				}
			}
			most := uint32(0)
			for _, e := range r.entriesFrom(before) {
				h, _, err := record.ParseHeader(e)
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, h.Count)
			}
			if most < n {
				t.Errorf("from node %d: the fullest entry has %d messages, %d were published together", node.id, most, n)
			}
		}
	})
}

// last is the number of entries so far.
func (r *rig) last() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

func (r *rig) entriesFrom(n int) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[n:]
}

// TestTogetherIsBounded: an entry does not grow without a bound.
func TestTogetherIsBounded(t *testing.T) {
	gather := &Together{lists: map[*Queue]*togetherList{}}
	q := new(Queue)
	for range 3 {
		gather.add(q, command{kind: cmdPublish, stored: make([]byte, 6<<20)})
	}
	for i, want := range []bool{true, false, false} {
		if c := gather.lists[q].commands[i]; c.more != want {
			t.Errorf("message %d is with the next one: %v", i, c.more)
		}
	}
}

// TestTogetherInAFullQueue: a queue that has no room for all takes none.
func TestTogetherInAFullQueue(t *testing.T) {
	args := record.Table{"x-max-length": int32(5), "x-overflow": "reject-publish"}
	inRig(t, args, func(t *testing.T, r *rig) {
		for i, n := range []int{4, 3, 1, 1} {
			want := []bool{true, false, true, false}[i]
			confirmed := make(confirms, n)
			gather := r.nodes[i%len(r.nodes)].session.Together()
			for range n {
				if _, err := gather.Publish(publicationTo("q", []byte("m")), confirmed, 1); err != nil {
					t.Fatal(err)
				}
			}
			gather.Post()
			for range n {
				if err := <-confirmed; (err == nil) != want {
					t.Errorf("%d messages: %v", n, err)
				}
			}
		}
		if ready := r.nodes[0].queue.Depth().Ready; ready != 5 {
			t.Errorf("the queue has %d messages", ready)
		}
	})
}
