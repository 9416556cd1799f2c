package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// deletion is a call of prepareDelete that is under way.
type deletion struct {
	decided atomic.Bool
	answer  chan error
}

func (n *rigNode) beginDelete(ifUnused, ifEmpty bool) *deletion {
	d := &deletion{answer: make(chan error, 1)}
	go func() {
		_, err := n.queue.prepareDelete(context.Background(), ifUnused, ifEmpty, func() { d.decided.Store(true) })
		d.answer <- err
	}()
	synctest.Wait()
	return d
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
				d := at.beginDelete(ifUnused, !ifUnused)
				told()
				var e *Error
				if err := <-d.answer; !errors.As(err, &e) || e.Kind != PreconditionFailed {
					t.Errorf("node %d, if-unused %v: got %v", asked, ifUnused, err)
				}
				synctest.Wait()
				if d.decided.Load() || r.nodes[0].queue.decided || r.nodes[1].queue.sealed {
					t.Errorf("node %d, if-unused %v: the end is decided", asked, ifUnused)
				}
			})
		}
	}
}

// A queue that could not be made certain of goes on: what was published meanwhile is confirmed.
func TestDeleteThatNobodyDecides(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		raft := r.nodes[0].raft
		raft.ask(rigStick{true})
		d := r.nodes[0].beginDelete(false, true)
		confirmed := make(confirms, 1)
		r.nodes[0].put(t, "q", confirmed, 1, []byte("kept"))
		raft.ask(rigGiveUp{})
		raft.ask(rigStick{false})
		var e *Error
		if err := <-d.answer; !errors.As(err, &e) || e.Kind != Unavailable || d.decided.Load() {
			t.Fatalf("got %v, decided %v", err, d.decided.Load())
		}
		raft.ask(rigApply{})
		if err := <-confirmed; err != nil {
			t.Error(err)
		}
		r.expectDepth(t, 1, 1, 0, 4)
		d = r.nodes[0].beginDelete(true, false)
		if err := <-d.answer; err != nil || !d.decided.Load() {
			t.Errorf("asked again: %v, decided %v", err, d.decided.Load())
		}
	})
}
