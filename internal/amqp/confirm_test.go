package amqp

import (
	"testing"

	"pgregory.net/rapid"
)

// TestConfirms plays random publications, outcomes in any order, and tellings
// against a client that keeps a plain set, as a client library does.
func TestConfirms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c confirms
		open := map[uint64]bool{}     // published, outcome not known
		outcomes := map[uint64]bool{} // known, not told
		outstanding := map[uint64]bool{}
		tell := func() {
			c.tell(func(tag uint64, multiple, nack bool) {
				told := []uint64{tag}
				if multiple {
					told = nil
					for other := range outstanding {
						if other <= tag {
							told = append(told, other)
						}
					}
				}
				for _, tag := range told {
					ok, known := outcomes[tag]
					if !known || !outstanding[tag] || ok == nack {
						t.Fatalf("tag %d: told (nack %v), known %v, ok %v", tag, nack, known, ok)
					}
					delete(outcomes, tag)
					delete(outstanding, tag)
				}
			})
			if len(outcomes) > 0 {
				t.Fatalf("not told: %v", outcomes)
			}
		}
		next := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				for range rapid.IntRange(1, 10).Draw(t, "n") {
					if tag := c.add(); tag != next {
						t.Fatalf("tag %d, want %d", tag, next)
					}
					open[next], outstanding[next] = true, true
					next++
				}
			},
			"resolve": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nothing is open")
				}
				tag := rapid.Uint64Range(1, next-1).Filter(func(n uint64) bool { return open[n] }).Draw(t, "tag")
				ok := rapid.IntRange(0, 9).Draw(t, "ok") > 0
				delete(open, tag)
				outcomes[tag] = ok
				c.resolve(tag, ok)
			},
			"oldest": func(t *rapid.T) {
				for tag := c.base; tag < next && tag > 0; tag++ {
					if open[tag] {
						delete(open, tag)
						outcomes[tag] = true
						c.resolve(tag, true)
						return
					}
				}
			},
			"tell": func(*rapid.T) { tell() },
		})
		for tag := range open {
			outcomes[tag] = true
			c.resolve(tag, true)
		}
		tell()
		if len(outstanding) > 0 || c.outstanding() != 0 {
			t.Fatalf("left over: %v, %d states", outstanding, c.outstanding())
		}
	})
}

// inOrder is a client that gives confirms out in the order of their tags, as
// amqp091-go does: what comes too early waits, and an ack of many overrules it.
type inOrder struct {
	next  uint64
	early map[uint64]bool // tag: acked
	out   map[uint64]bool
}

func (c *inOrder) confirm(tag uint64, multiple, nack bool) {
	give := func(ok bool) {
		c.out[c.next] = ok
		delete(c.early, c.next)
		c.next++
	}
	if multiple || tag == c.next {
		for c.next <= tag {
			give(!nack)
		}
	} else {
		c.early[tag] = !nack
	}
	for ok, waits := c.early[c.next]; waits; ok, waits = c.early[c.next] {
		give(ok)
	}
}

// TestConfirmsStayNacked: a nack that a client keeps until those before it are
// known is a nack still when they are acked.
func TestConfirmsStayNacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c confirms
		client := inOrder{next: 1, early: map[uint64]bool{}, out: map[uint64]bool{}}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		var tags []uint64
		for range n {
			tags = append(tags, c.add())
		}
		want := map[uint64]bool{}
		for _, tag := range rapid.Permutation(tags).Draw(t, "order") {
			want[tag] = rapid.IntRange(0, 3).Draw(t, "ok") > 0
			c.resolve(tag, want[tag])
			if rapid.Bool().Draw(t, "tell") {
				c.tell(client.confirm)
			}
		}
		c.tell(client.confirm)
		for tag, ok := range want {
			if got, given := client.out[tag]; !given || got != ok {
				t.Fatalf("tag %d: acked %v, and the client was told %v (%v)", tag, ok, got, given)
			}
		}
	})
}

func TestConfirmsInOrderDoNotAllocate(t *testing.T) {
	var c confirms
	ack := func(uint64, bool, bool) {}
	round := func() {
		for range 100 {
			c.resolve(c.add(), true)
		}
		c.tell(ack)
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
