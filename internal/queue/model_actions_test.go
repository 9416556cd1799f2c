package queue

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: 1000, machine: &Machine{}, config: drawConfig(t)}
		w.ahead = rapid.SampledFrom([]record.Offset{2, 5, ahead}).Draw(t, "ahead")
		w.lead()
		t.Repeat(w.actions())
	})
}

func drawConfig(t *rapid.T) Config {
	c := Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}
	if rapid.IntRange(0, 3).Draw(t, "queue ttl") == 0 {
		c.MessageTTL = time.Duration(rapid.IntRange(0, 40).Draw(t, "ttl")) * time.Millisecond
	}
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		c.MaxLength = int64(rapid.IntRange(0, 10).Draw(t, "max length"))
	}
	if rapid.IntRange(0, 3).Draw(t, "limited bytes") == 0 {
		c.MaxBytes = int64(rapid.IntRange(0, 100).Draw(t, "max bytes"))
	}
	c.SingleActive = rapid.IntRange(0, 3).Draw(t, "single active") == 0
	c.DeadLetter = rapid.IntRange(0, 3).Draw(t, "dead letter") == 0
	return c
}

func (w *world) actions() map[string]func(*rapid.T) {
	t := w.t
	settle := func(op func(*Sub, []record.Offset), to where, why Reason) func(*rapid.T) {
		return func(*rapid.T) {
			s := rapid.SampledFrom(append(w.subs, &msub{w: w})).Draw(t, "sub")
			offsets := w.hold(s)
			w.place(offsets, to, why)
			op(&s.Sub, append(offsets, offsets[0], 1<<40)) // twice, and one that is unknown
			w.run()
		}
	}
	return map[string]func(*rapid.T){
		"": func(*rapid.T) { w.check() },
		"build": func(*rapid.T) {
			w.build(rapid.IntRange(0, 6).Draw(t, "messages"))
		},
		"apply": func(*rapid.T) {
			if len(w.built) == 0 {
				t.Skip("nothing is built")
			}
			w.apply(true)
			w.run()
		},
		"subscribe": func(*rapid.T) {
			s := &msub{w: w, window: rapid.IntRange(0, 8).Draw(t, "window")}
			s.Consumer = s
			s.NoAck = rapid.IntRange(0, 5).Draw(t, "no ack") == 0
			s.Priority = rapid.IntRange(0, 2).Draw(t, "priority")
			s.Exclusive = rapid.IntRange(0, 5).Draw(t, "exclusive") == 0
			if s.NoAck {
				s.window = 1
			}
			if err := w.leader.Subscribe(&s.Sub); err == nil {
				w.subs = append(w.subs, s)
			}
			w.run()
		},
		"pull": func(*rapid.T) {
			s := &msub{w: w}
			s.Puller = s
			if i := slices.IndexFunc(w.subs, func(s *msub) bool { return s.Puller != nil }); i >= 0 {
				s = w.subs[i]
			}
			if err := w.leader.Pull(&s.Sub); err == nil {
				s.pulls++
				if !slices.Contains(w.subs, s) {
					w.subs = append(w.subs, s)
				}
			}
			w.run()
		},
		"accept":  settle(func(s *Sub, o []record.Offset) { w.leader.Accept(s, o) }, settling, Accepted),
		"requeue": settle(func(s *Sub, o []record.Offset) { w.leader.Requeue(s, o) }, inReady, 0),
		"discard": func(*rapid.T) {
			to := settling
			if w.config.DeadLetter {
				to = inGrave
			}
			settle(func(s *Sub, o []record.Offset) { w.leader.Discard(s, o) }, to, Discarded)(t)
		},
		"buried": func(*rapid.T) {
			if len(w.graves) == 0 {
				t.Skip("no grave")
			}
			g := w.graves[0]
			w.graves = w.graves[1:]
			w.place([]record.Offset{g.Offset}, settling, g.Reason)
			w.leader.Buried(g)
		},
		"purge": func(*rapid.T) {
			n := w.leader.Ready()
			for _, m := range w.msgs[:w.machine.Next()] {
				if m.where == inReady {
					m.where, m.reason = settling, Purged
				}
			}
			if got := w.leader.Purge(); got != n {
				t.Fatalf("purged %d of %d", got, n)
			}
			w.run()
		},
		"resume": func(*rapid.T) {
			s := w.sub(false)
			s.window++
			s.parked = false
			w.leader.Resume(&s.Sub)
			w.run()
		},
		"cancel": func(*rapid.T) {
			w.leader.Cancel(&w.sub(false).Sub)
			w.run()
		},
		"close": func(*rapid.T) {
			s := w.sub(false)
			w.place(s.holds, inReady, 0)
			s.holds = nil
			w.leader.Close(&s.Sub)
			w.subs = slices.DeleteFunc(w.subs, func(o *msub) bool { return o == s })
			w.run()
		},
		"wait": func(*rapid.T) {
			w.now += int64(rapid.IntRange(1, 20).Draw(t, "ms"))
			w.run()
		},
		"cool": func(*rapid.T) {
			w.cold = !w.cold
			w.run()
		},
		"snapshot": func(*rapid.T) { w.snap, w.snapAt = w.machine.Snapshot(nil), len(w.log) },
		"crash":    func(*rapid.T) { w.crash() },
	}
}
