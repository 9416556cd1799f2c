package broker

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// inRig runs f with a cluster of three nodes, of which the first two hold the
// queue and the first leads it, in a bubble of time.
func inRig(t *testing.T, args record.Table, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, 2, args)
		r.lead(1)
		defer r.stop()
		f(t, r)
	})
}

func (n *rigNode) subscribe(t testing.TB, o SubscribeOptions, window int) (*Subscription, *taker) {
	t.Helper()
	if o.Queue == "" {
		o.Queue = "q"
	}
	sink := &taker{window: window}
	s, err := n.session.Subscribe(context.Background(), o, sink, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, sink
}

func (r *rig) expectDepth(t testing.TB, node int, ready, unacked, bytes int64) {
	t.Helper()
	time.Sleep(10 * settleDelay)
	r.nodes[node-1].queue.expectDepth(t, ready, unacked, bytes)
}

// Whatever is done to a queue can be done from any node.
func TestForwardedQueue(t *testing.T) {
	for _, name := range []string{"q", "memory"} {
		inRig(t, nil, func(t *testing.T, r *rig) {
			ctx := context.Background()
			confirmed := make(confirms, 10)
			for _, n := range r.nodes {
				n.put(t, name, confirmed, 1, []byte{'0' + byte(n.id)})
				if err := <-confirmed; err != nil {
					t.Fatal(err)
				}
			}
			a, b := r.nodes[1], r.nodes[2]
			if s, err := b.session.CheckQueue(ctx, name); err != nil || s.Ready != 3 || s.Consumers != 0 {
				t.Fatalf("status %+v, %v", s, err)
			}
			s, sink := a.subscribe(t, SubscribeOptions{Queue: name}, 2)
			sink.expect(t, "1", "2")
			if s, err := b.session.CheckQueue(ctx, name); err != nil || s.Ready != 1 || s.Consumers != 1 {
				t.Fatalf("status %+v, %v", s, err)
			}
			settled := make(chan error, 1)
			s.Settle(Accept, []record.Offset{sink.offsets[0]}, func(err error) { settled <- err })
			if err := <-settled; err != nil {
				t.Fatal(err)
			}
			s.Settle(Requeue, []record.Offset{sink.offsets[1]}, nil)
			sink.window = 1
			s.Resume()
			sink.expect(t, "2 again")
			s.Close()
			synctest.Wait()
			pull, err := b.session.Subscribe(ctx, SubscribeOptions{Queue: name, Pull: true}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			d, remaining, ok, err := pull.Get(ctx)
			if err != nil || !ok || string(d.Message.Body) != "2" || remaining != 1 || !d.Redelivered {
				t.Fatalf("get: %v %d %v %v", d, remaining, ok, err)
			}
			pull.Close()
			var e *Error
			q, err := a.session.queue(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := q.prepareDelete(ctx, false, true); !errors.As(err, &e) || e.Kind != PreconditionFailed {
				t.Fatalf("delete of a queue that is not empty: %v", err)
			}
			if n, err := b.session.PurgeQueue(ctx, name); n != 2 || err != nil {
				t.Fatalf("purged %d, %v", n, err)
			}
			_, first := a.subscribe(t, SubscribeOptions{Queue: name, Exclusive: true}, 1)
			if _, err := b.session.Subscribe(ctx, SubscribeOptions{Queue: name}, &taker{}, nil); !errors.As(err, &e) || e.Kind != AccessRefused {
				t.Fatalf("a second consumer beside an exclusive one: %v", err)
			}
			first.expect(t)
		})
	}
}

// With a prefetch window of N no more than N messages are taken from the queue.
func TestForwardedConsumerTakesNoMoreThanItsWindow(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for i := range 10 {
			r.nodes[0].put(t, "q", nil, 0, []byte{'0' + byte(i)})
		}
		s, sink := r.nodes[2].subscribe(t, SubscribeOptions{}, 3)
		sink.expect(t, "0", "1", "2")
		r.expectDepth(t, 1, 7, 3, 10)
		for range 7 {
			s.Settle(Accept, []record.Offset{sink.offsets[0]}, nil)
			sink.offsets = sink.offsets[1:]
			synctest.Wait()
			sink.window++
			s.Resume()
			synctest.Wait()
			if d := r.nodes[0].queue.Depth(); d.Unacked != 3 {
				t.Fatalf("%d messages are unacked, with a window of 3", d.Unacked)
			}
		}
		canceled := false
		s.Cancel(func() { canceled = true })
		synctest.Wait()
		r.expectDepth(t, 1, 0, 3, 3)
		s.Close()
		r.expectDepth(t, 1, 3, 0, 3)
		if !canceled {
			t.Fatal("the cancellation was not answered")
		}
	})
}

// liar is a taker that says it has room and then has none.
type liar struct{ taker }

func (l *liar) Room(*Subscription) (messages, bytes int) { return 100, 1 << 20 }

// What a sink has no room for goes back at once, as if it had never been away.
func TestForwardedConsumerGivesBack(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for i := range 10 {
			r.nodes[0].put(t, "q", nil, 0, []byte{'0' + byte(i)})
		}
		sink := &liar{taker{window: 2}}
		s, err := r.nodes[1].session.Subscribe(context.Background(), SubscribeOptions{Queue: "q"}, sink, nil)
		if err != nil {
			t.Fatal(err)
		}
		sink.expect(t, "0", "1")
		r.expectDepth(t, 1, 8, 2, 10)
		sink.window = 3
		s.Resume()
		sink.expect(t, "2", "3", "4")
		r.expectDepth(t, 1, 5, 5, 10)
		_, other := r.nodes[0].subscribe(t, SubscribeOptions{}, 9)
		other.expect(t, "5", "6", "7", "8", "9")
	})
}

// A consumer without acks has what reached it, and the rest stays.
func TestForwardedConsumerWithoutAcks(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for i := range 5 {
			r.nodes[0].put(t, "q", nil, 0, []byte{'0' + byte(i)})
		}
		sink := &liar{taker{window: 3}}
		if _, err := r.nodes[2].session.Subscribe(context.Background(), SubscribeOptions{Queue: "q", NoAck: true}, sink, nil); err != nil {
			t.Fatal(err)
		}
		sink.expect(t, "0", "1", "2")
		r.expectDepth(t, 1, 2, 0, 2)
	})
}

// lossy is a taker that hears of losses.
type lossy struct {
	taker
	lost int
}

func (l *lossy) Lost(*Subscription) { l.lost++ }

// Consumers do not notice that the leader changes, from any place to any other;
// what was unacked comes again, flagged.
func TestSubscriptionsFollowTheLeader(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		var sinks []*lossy
		var subs []*Subscription
		for _, n := range r.nodes {
			sink := &lossy{taker: taker{window: 1}}
			s, err := n.session.Subscribe(context.Background(), SubscribeOptions{Queue: "q"}, sink, nil)
			if err != nil {
				t.Fatal(err)
			}
			sinks, subs = append(sinks, sink), append(subs, s)
		}
		for i, body := range []string{"a", "b", "c"} {
			r.nodes[i].put(t, "q", nil, 0, []byte(body))
		}
		synctest.Wait()
		for round, leader := range []uint64{2, 1, 0, 2} {
			r.lead(0)
			time.Sleep(time.Second)
			for _, s := range sinks {
				s.window, s.got, s.offsets = 1, nil, nil
			}
			r.lead(leader)
			for _, s := range subs {
				s.Resume()
			}
			time.Sleep(time.Second)
			synctest.Wait()
			var got []string
			for i, s := range sinks {
				got = append(got, s.got...)
				if s.lost != round+1 && round < 3 {
					t.Fatalf("round %d: sink %d has heard of %d losses", round, i, s.lost)
				}
			}
			if leader != 0 && len(got) != 3 {
				t.Fatalf("round %d: got %v", round, got)
			}
			for _, g := range got {
				if len(g) < 2 {
					t.Fatalf("round %d: %s is not flagged", round, g)
				}
			}
		}
		// A settle of what the last leader does not know changes nothing, and says so.
		answer := make(chan error, 1)
		subs[2].Settle(Accept, []record.Offset{77}, func(err error) { answer <- err })
		if err := <-answer; err == nil {
			t.Fatal("a settle of what is not held succeeds")
		}
		for i, s := range subs {
			s.Settle(Accept, sinks[i].offsets, func(err error) { answer <- err })
			if err := <-answer; err != nil {
				t.Fatal(err)
			}
		}
		r.expectDepth(t, 2, 0, 0, 0)
	})
}

// A leader that gets no copies made, as the others are alive and have no room, does not leave its publishers
// waiting: after ten seconds they are nacked. What they have published may be in the queue later, once.
func TestPublishesWaitForCopies(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.lead(1)
		r.nodes[0].raft.ask(rigStick{true})
		confirmed := make(confirms, 100)
		start := time.Now()
		for range 5 { // more than are built at a time
			for _, n := range r.nodes {
				n.put(t, "q", confirmed, 0, []byte("late"))
			}
			synctest.Wait()
		}
		for range 5 * len(r.nodes) {
			if err := <-confirmed; !errors.Is(err, replica.ErrUnknown) {
				t.Fatalf("answered with %v", err)
			}
		}
		if waited := time.Since(start); waited < copiesWait || waited > 2*copiesWait+time.Second {
			t.Fatalf("nacked after %v", waited)
		}
		r.nodes[0].raft.ask(rigStick{false})
		r.nodes[0].raft.ask(rigApply{})
		synctest.Wait()
		if len(confirmed) > 0 {
			t.Fatalf("answered again: %v", <-confirmed)
		}
		all := int64(5 * len(r.nodes))
		r.expectDepth(t, 1, all, 0, 4*all)
		_, sink := r.nodes[2].subscribe(t, SubscribeOptions{NoAck: true}, 100)
		synctest.Wait()
		if len(sink.got) != 5*len(r.nodes) {
			t.Fatalf("%d messages are there", len(sink.got))
		}
	})
}

// Without a leader publishes wait for one, in order, and are nacked after ten seconds.
func TestForwardedPublishesWaitForALeader(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.lead(0)
		confirmed := make(confirms, 100)
		for i := range 5 {
			for _, n := range r.nodes {
				n.put(t, "q", confirmed, 0, []byte{'a' + byte(5*n.id) + byte(i)})
			}
		}
		time.Sleep(9 * time.Second)
		if len(confirmed) != 0 {
			t.Fatal("answered without a leader")
		}
		r.lead(2)
		for range 15 {
			if err := <-confirmed; err != nil {
				t.Fatal(err)
			}
		}
		_, sink := r.nodes[2].subscribe(t, SubscribeOptions{NoAck: true}, 100)
		synctest.Wait()
		last := map[byte]byte{}
		for _, body := range sink.got {
			from := (body[0] - 'a') / 5
			if last[from] >= body[0] {
				t.Fatalf("out of order: %v", sink.got)
			}
			last[from] = body[0]
		}
		r.lead(0)
		start := time.Now()
		for _, n := range r.nodes {
			n.put(t, "q", confirmed, 0, []byte("late"))
		}
		for range r.nodes {
			if err := <-confirmed; err == nil {
				t.Fatal("confirmed without a leader")
			}
		}
		if waited := time.Since(start); waited < awayWait || waited > awayWait+time.Second {
			t.Fatalf("nacked after %v", waited)
		}
		if _, err := r.nodes[2].session.CheckQueue(context.Background(), "q"); err == nil || time.Since(start) > 3*awayWait {
			t.Fatalf("a verb without a leader: %v after %v", err, time.Since(start))
		}
	})
}

// What was sent over a connection that is cut has an unknown outcome: it is nacked. The
// rest, and the consumers, go on when there is a connection again.
func TestForwardingSurvivesCuts(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		n := r.nodes[2]
		s, sink := n.subscribe(t, SubscribeOptions{}, 100)
		confirmed := make(confirms, 100)
		n.put(t, "q", confirmed, 0, []byte("a"))
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
		sink.expect(t, "a")
		r.hangUp(1, 3, true)
		synctest.Wait()
		n.put(t, "q", confirmed, 0, []byte("b"))
		time.Sleep(5 * time.Second)
		r.hangUp(1, 3, false)
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		sink.expect(t, "a again", "b")
		r.expectDepth(t, 1, 0, 2, 2)
		s.Close()
		r.expectDepth(t, 1, 2, 0, 2)
	})
}

// TestNewConnectionEndsTheOneBefore: what is under way on a connection that its node has given up
// would come behind what that node sends on the next one, and change the order. (sim, seed 455724397706)
func TestNewConnectionEndsTheOneBefore(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		ping := []byte{2, 0, 0, 0, byte(framePing), 0}
		var near [3]net.Conn
		for i := range near {
			var far net.Conn
			near[i], far = net.Pipe()
			go r.nodes[0].serveQueues(3, far)
			if _, err := near[i].Write(ping); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				continue
			}
			if _, err := near[i-1].Write(ping); err == nil {
				t.Errorf("connection %d takes frames beside its successor", i-1)
			}
		}
		other, far := net.Pipe()
		go r.nodes[0].serveQueues(2, far)
		for _, c := range []net.Conn{near[2], other} {
			if _, err := c.Write(ping); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}
		synctest.Wait()
	})
}

// A queue in memory has gone with its node.
func TestForwardedMemoryQueueIsLost(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		n := r.nodes[1]
		_, sink := n.subscribe(t, SubscribeOptions{Queue: "memory"}, 100)
		r.hangUp(1, 2, true)
		confirmed := make(confirms, 1)
		n.put(t, "memory", confirmed, 0, []byte("a"))
		if err := <-confirmed; err == nil {
			t.Fatal("confirmed by a node that is gone")
		}
		time.Sleep(awayWait + time.Second)
		synctest.Wait()
		if !sink.canceled {
			t.Fatal("the consumer was not told")
		}
	})
}

// While the leader's node is short of disk, publishes wait for as long as it takes.
func TestForwardedPublishesWaitForTheAlarm(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.nodes[0].SetAlarm("short of disk")
		confirmed := make(confirms, 3)
		for i := range 3 {
			r.nodes[1].put(t, "q", confirmed, 0, []byte{'a' + byte(i)})
		}
		time.Sleep(time.Minute)
		if len(confirmed) > 0 {
			t.Fatalf("answered: %v", <-confirmed)
		}
		r.nodes[0].SetAlarm("")
		for range 3 {
			if err := <-confirmed; err != nil {
				t.Fatal(err)
			}
		}
		_, sink := r.nodes[2].subscribe(t, SubscribeOptions{NoAck: true}, 9)
		sink.expect(t, "a", "b", "c")
	})
}

// A get that the leader did not answer is asked of the next one.
func TestForwardedGetGoesOn(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for _, n := range r.nodes {
			pull, err := n.session.Subscribe(context.Background(), SubscribeOptions{Queue: "q", Pull: true}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.lead(0)
			go func() {
				time.Sleep(3 * time.Second)
				r.lead(2)
			}()
			if _, _, ok, err := pull.Get(context.Background()); ok || err != nil {
				t.Fatalf("get from an empty queue: %v, %v", ok, err)
			}
			n.put(t, "q", nil, 0, []byte("x"))
			if d, _, ok, err := pull.Get(context.Background()); !ok || err != nil || string(d.Message.Body) != "x" {
				t.Fatalf("get: %v, %v", ok, err)
			}
			r.lead(1)
			time.Sleep(time.Second)
			d, _, ok, err := pull.Get(context.Background())
			if !ok || err != nil || !d.Redelivered {
				t.Fatalf("get: %v, %v", ok, err)
			}
			pull.Settle(Accept, []record.Offset{d.Offset}, nil)
			r.expectDepth(t, 1, 0, 0, 0)
			pull.Close()
		}
		r.expectDepth(t, 1, 0, 0, 0)
	})
}

// An answer to a request goes to the client of another node without a queue.
func TestDirectMessages(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		got := make(chan string, 1)
		r.nodes[2].OnDirect(func(address string, stored []byte) { got <- address + string(stored) })
		stored := storedMessage("answer", record.NoTTL)
		if !r.nodes[0].SendDirect(3, "address", stored) {
			t.Fatal("not sent")
		}
		if text := <-got; text != "address"+string(stored) {
			t.Fatalf("got %q", text)
		}
		if r.nodes[0].SendDirect(9, "address", stored) {
			t.Fatal("sent to a node that does not exist")
		}
	})
}

// Consumers that are on their way to a new leader keep the queue alive.
func TestQueueWaitsForItsConsumersToComeBack(t *testing.T) {
	inRig(t, record.Table{"x-expires": int32(100)}, func(t *testing.T, r *rig) {
		n := r.nodes[2]
		_, sink := n.subscribe(t, SubscribeOptions{}, 9)
		n.put(t, "q", nil, 0, []byte("a"))
		sink.expect(t, "a")
		r.hangUp(2, 3, true)
		r.lead(2)
		time.Sleep(awayWait / 2)
		r.hangUp(2, 3, false)
		time.Sleep(time.Second)
		sink.expect(t, "a again")
		if _, err := n.session.CheckQueue(context.Background(), "q"); err != nil {
			t.Fatal(err)
		}
	})
}
