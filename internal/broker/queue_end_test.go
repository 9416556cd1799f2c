package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
)

func (n *rigNode) beginDelete(ifUnused, ifEmpty bool) (answer chan error) {
	answer = make(chan error, 1)
	go func() {
		_, err := n.queue.prepareDelete(context.Background(), ifUnused, ifEmpty)
		answer <- err
	}()
	synctest.Wait()
	return answer
}

// A leader that was replaced and has not heard of it sees neither the messages nor the consumers of its
// successor. Whether a queue is empty, or unused, is for that one to say, whichever node is asked.
func TestDeleteIsDecidedByWhoLeads(t *testing.T) {
	for _, asked := range []int{1, 3} { // the leader that was replaced, and a node whose stream leads to that
		for _, ifUnused := range []bool{false, true} {
			inRig(t, nil, func(t *testing.T, r *rig) {
				at := r.nodes[asked-1]
				if _, err := at.session.CheckQueue(context.Background(), "q"); err != nil {
					t.Fatal(err)
				}
				told := r.replace(1, 2)
				if ifUnused {
					r.nodes[1].subscribe(t, SubscribeOptions{}, 1)
				} else {
					confirmed := make(confirms, 1)
					r.nodes[1].put(t, "q", confirmed, 1, []byte("kept"))
					if err := <-confirmed; err != nil {
						t.Fatal(err)
					}
				}
				answer := at.beginDelete(ifUnused, !ifUnused)
				told()
				var e *Error
				if err := <-answer; !errors.As(err, &e) || e.Kind != PreconditionFailed {
					t.Errorf("node %d, if-unused %v: got %v", asked, ifUnused, err)
				}
				_, decided := r.nodes[0].end()
				if sealed, _ := r.nodes[1].end(); sealed || decided {
					t.Errorf("node %d, if-unused %v: the end is decided", asked, ifUnused)
				}
			})
		}
	}
}

// As long as the seal is not committed, nobody hears that the queue is deleted, and nothing is confirmed that would
// go with it.
func TestDeleteWaitsForTheSeal(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		first := r.nodes[0]
		first.raft.ask(rigStick{true})
		answer := first.beginDelete(false, true)
		confirmed := make(confirms, 1)
		first.put(t, "q", confirmed, 1, []byte("late"))
		var e *Error
		err := <-answer
		if _, decided := first.end(); !errors.As(err, &e) || e.Kind != Unavailable || decided {
			t.Fatalf("got %v, decided %v", err, decided)
		}
		if err := <-confirmed; !errors.Is(err, replica.ErrUnknown) {
			t.Errorf("published to a queue that may be sealed: %v", err)
		}
		first.raft.ask(rigStick{false})
		first.raft.ask(rigApply{})
		if _, decided := first.end(); !decided {
			t.Error("the seal is committed, and nothing comes of it")
		}
	})
}

// What is on its way into the queue will be confirmed: it is not empty.
func TestDeleteSeesWhatIsOnItsWay(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		first := r.nodes[0]
		first.raft.ask(rigStick{true})
		confirmed := make(confirms, 2)
		first.put(t, "q", confirmed, 1, []byte("purged"))
		synctest.Wait()
		purged := make(chan error, 1)
		go func() {
			_, err := first.queue.purge(context.Background())
			purged <- err
		}()
		synctest.Wait()
		answer := first.beginDelete(false, true)
		first.put(t, "q", confirmed, 2, []byte("kept"))
		synctest.Wait()
		first.raft.ask(rigStick{false})
		first.raft.ask(rigApply{})
		var e *Error
		if err := <-answer; !errors.As(err, &e) || e.Kind != PreconditionFailed {
			t.Errorf("got %v", err)
		}
		for range 2 {
			if err := <-confirmed; err != nil {
				t.Error(err)
			}
		}
		if err := <-purged; err != nil {
			t.Error(err)
		}
		r.expectDepth(t, 1, 1, 0, 4)
	})
}

// A message that no dead-letter queue has taken yet is only here: the queue is not empty.
func TestDeleteSeesWhatIsBeingDeadLettered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		full := v.testQueue("full", record.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
		q := v.testQueue("q", record.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "full"})
		full.put("before")
		q.put("dead")
		s, sink := consume(t, q, SubscribeOptions{}, 1)
		sink.expect(t, "dead")
		s.Settle(Discard, sink.offsets, nil)
		s.Close()
		synctest.Wait()
		var e *Error
		if _, err := q.prepareDelete(t.Context(), true, true); !errors.As(err, &e) || e.Kind != PreconditionFailed {
			t.Fatalf("deleted with a message that is nowhere else: %v", err)
		}
		_, sink = consume(t, full, SubscribeOptions{NoAck: true}, 1)
		sink.expect(t, "before")
		time.Sleep(burialRetry) // of the bubble
		full.expectDepth(t, 1, 0, 4)
		if _, err := q.prepareDelete(t.Context(), true, true); err != nil {
			t.Error(err)
		}
	})
}

// A sealed queue takes nothing any more, whoever leads it then, and that one has it deleted.
func TestSealOutlivesItsLeader(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		if err := <-r.nodes[0].beginDelete(true, true); err != nil {
			t.Fatal(err)
		}
		r.lead(2)
		second := r.nodes[1]
		if _, decided := second.end(); !decided {
			t.Error("the next leader does not ask for the deletion")
		}
		confirmed := make(confirms, 1)
		second.put(t, "q", confirmed, 1, []byte("late"))
		synctest.Wait()
		second.queue.remove()
		if err := <-confirmed; !errors.Is(err, replica.ErrUnknown) {
			t.Errorf("published to a queue that is sealed: %v", err)
		}
	})
}

// TestSealUnderFaults deletes a queue if it is empty, while clients of all nodes publish and consume, and the leader
// moves, with and without hearing of it: what was confirmed is not in a queue that is sealed.
func TestSealUnderFaults(t *testing.T) {
	const rounds = 300
	sealed := 0
	for range rounds {
		if sealUnderFaults(t, rand.Uint64()) {
			sealed++
		}
	}
	if sealed < rounds/10 || sealed > rounds*9/10 {
		t.Errorf("sealed in %d of %d rounds: that shows little", sealed, rounds)
	}
}

func sealUnderFaults(t *testing.T, seed uint64) (sealed bool) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, 3, 2, nil)
		r.rng = rand.New(rand.NewPCG(seed, 1))
		r.lead(1)
		defer r.stop()
		w := &sealWorld{rig: r, confirmed: map[string]bool{}, delivered: map[string]bool{}}
		leader := uint64(1)
		told := func() {}
		for i := range 5 + rng.IntN(15) {
			node := r.nodes[rng.IntN(3)]
			switch rng.IntN(5) {
			case 0, 1:
				w.published++
				node.put(t, "q", &sealPublisher{w, string(rune('a' + i))}, 0, []byte{'a' + byte(i)})
			case 2:
				w.clients.Go(func() { w.delete(node) })
			case 3:
				w.clients.Go(func() { w.consume(node) })
			case 4:
				told()
				told = func() {}
				if next := 3 - leader; rng.IntN(2) == 0 {
					told = r.replace(leader, next)
					leader = next
				} else {
					leader = uint64(1 + rng.IntN(2))
					r.lead(0)
					r.lead(leader)
				}
			}
			if rng.IntN(2) == 0 {
				time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
			}
		}
		told()
		w.clients.Wait()
		r.nodes[leader-1].raft.ask(rigApply{})
		time.Sleep(2 * awayWait)
		sealed, _ = r.nodes[leader-1].end()
		if sealed { // the catalog does that
			for _, n := range r.nodes {
				n.queue.remove()
			}
			synctest.Wait()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.answered != w.published {
			t.Errorf("seed %d: of %d publishes %d were answered", seed, w.published, w.answered)
		}
		if w.deleted && !sealed {
			t.Errorf("seed %d: deleted, but not sealed", seed)
		}
		for m := range w.confirmed {
			if sealed && !w.delivered[m] {
				t.Errorf("seed %d: %s was confirmed, never consumed, and is in a queue that was deleted as empty", seed, m)
			}
		}
	})
	return sealed
}

type sealWorld struct {
	*rig
	clients sync.WaitGroup

	mu        sync.Mutex // guards the rest
	confirmed map[string]bool
	delivered map[string]bool
	published int // the test's own
	answered  int
	deleted   bool
}

type sealPublisher struct {
	w    *sealWorld
	body string
}

func (p *sealPublisher) Published(_ uint64, err error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.answered++
	if err == nil {
		p.w.confirmed[p.body] = true
	}
}

func (w *sealWorld) delete(n *rigNode) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := n.queue.prepareDelete(ctx, false, true); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.deleted = true
	}
}

func (w *sealWorld) consume(n *rigNode) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	sink := &taker{window: 100}
	s, err := n.session.Subscribe(ctx, SubscribeOptions{Queue: "q", NoAck: true}, sink, nil)
	if err != nil {
		return // sealed, as a rule
	}
	time.Sleep(10 * time.Millisecond)
	answered := make(chan struct{})
	s.Cancel(func() { close(answered) })
	<-answered
	s.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range sink.got {
		body, _, _ := strings.Cut(m, " ")
		w.delivered[body] = true
	}
}
