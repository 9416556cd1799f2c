package queue

import (
	"testing"

	"waybill/internal/record"
)

// cellar is a Source whose messages are on disk until it is lit.
type cellar struct {
	shelf
	lit bool
}

func (c *cellar) Read(off record.Offset, m *record.Message) int {
	if !c.lit {
		return 0
	}
	return c.shelf.Read(off, m)
}

// puller counts the answers to its pulls.
type puller struct {
	Sub
	answers, messages int
}

func (p *puller) Pulled(d *Delivery, _ int64, _ error) {
	p.answers++
	if d != nil {
		p.messages++
	}
}

// A subscription that ends while its pull waits for the disk must not be given
// the message: nobody would ever put it back.
func TestClosedPullTakesNoMessage(t *testing.T) {
	m, src := &Machine{}, &cellar{}
	l := NewLeader(m, Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}, src)
	gone, stays := &puller{}, &puller{}
	gone.Puller, stays.Puller = gone, stays
	for _, p := range []*puller{gone, stays, gone} {
		if err := l.Pull(&p.Sub); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, m, l, 2, nil)
	l.Run(0, 0)
	l.Close(&gone.Sub)
	if gone.answers != 2 || gone.messages != 0 {
		t.Fatalf("the closed one was answered %d times, with %d messages; want 2 and 0", gone.answers, gone.messages)
	}
	src.lit = true
	l.Run(0, 0)
	if stays.messages != 1 || gone.answers != 2 || l.Ready() != 1 || l.Unacked() != 1 {
		t.Fatalf("%d messages, %d answers, %d ready, %d unacked; want 1, 2, 1, 1", stays.messages, gone.answers, l.Ready(), l.Unacked())
	}
}
