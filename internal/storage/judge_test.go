package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// life is a WAL file in the making.
type life struct {
	img *walImage
	f   *walFile
	w   batchWriter
}

func newLife(id uint64, size int) *life {
	l := &life{img: newWALImage(fmt.Sprint(id, ".wal"), "store", id), f: newWALFile("store", id, nil, int64(size))}
	l.img.buf = make([]byte, size)
	return l
}

// write adds a batch and returns where it is.
func (l *life) write(seq, durable uint64) int64 {
	l.w.reset(seq)
	l.w.entries(newLog(nil, 3), []*raftpb.Entry{entry(seq+1, 1, record.Offset(seq), 1, strings.Repeat("x", 700))}, nil)
	b := bytes.Clone(l.w.seal(l.f, durable, 0))
	at := l.f.pos
	copy(l.img.buf[at:], b)
	l.f.pos += int64(len(b))
	return at
}

// rot changes a bit of the batch there.
func (l *life) rot(at int64) { l.img.buf[at+200] ^= 1 }

// unreadable loses a sector.
func (l *life) unreadable(at int64) {
	clear(l.img.buf[at : at+sector])
	l.img.bad = append(l.img.bad, span{at, at + sector, syscall.EIO})
}

// judge returns what a replay of these files finds.
func judge(lives ...*life) error {
	s := &Store{logs: make(map[record.LogID]*Log), opts: Options{Logger: quiet()}, cold: new(coldCache)}
	s.segs = &segments{dir: "data/seg"}
	s.metrics, _ = newMetrics(nil)
	r := replay{store: s, hurt: make(map[uint64]string)}
	for _, l := range lives {
		r.file(l.img)
	}
	r.end()
	r.check()
	return s.Log(3).Damaged()
}

// TestJudgements: what is missing among batches that were written ahead is torn when nothing proves that it
// was synced, and nothing that could is beyond reading.
func TestJudgements(t *testing.T) {
	group := func(n uint64) (*life, []int64) { // batch 1, then n written together
		l := newLife(1, 32<<10)
		at := []int64{l.write(1, 0)}
		for i := range n {
			at = append(at, l.write(2+i, 1))
		}
		return l, at
	}
	for name, c := range map[string]struct {
		damage bool
		make   func() []*life
	}{
		"the last is unreadable":                     {true, func() []*life { l, at := group(1); l.unreadable(at[1]); return []*life{l} }},
		"one among is unreadable":                    {true, func() []*life { l, at := group(3); l.unreadable(at[2]); return []*life{l} }},
		"one among is rotten, and nothing proves it": {false, func() []*life { l, at := group(3); l.rot(at[2]); return []*life{l} }},
		"one among is rotten, a later one proves it": {true, func() []*life { l, at := group(3); l.rot(at[2]); l.write(5, 4); return []*life{l} }},
		"one among is rotten, the next file proves it": {true, func() []*life {
			l, at := group(3)
			l.rot(at[2])
			n := newLife(2, 4096)
			n.write(5, 4)
			return []*life{l, n}
		}},
		"one among is rotten, the next file is blank": {false, func() []*life { l, at := group(3); l.rot(at[2]); return []*life{l, newLife(2, 4096)} }},
		"one among is rotten, the next file is unreadable": {true, func() []*life {
			l, at := group(3)
			l.rot(at[2])
			n := newLife(2, 4096)
			n.write(5, 4)
			n.unreadable(0)
			return []*life{l, n}
		}},
		"the last is rotten, the next file is unreadable": {true, func() []*life {
			l, at := group(3)
			l.rot(at[3])
			n := newLife(2, 4096)
			n.write(5, 4)
			n.unreadable(0)
			return []*life{l, n}
		}},
		"one among is rotten, the next file is cut off": {true, func() []*life {
			l, at := group(3)
			l.rot(at[2])
			n := newLife(2, 4096)
			n.write(5, 4)
			n.img.buf = n.img.buf[:100]
			return []*life{l, n}
		}},
		"the first of a file is rotten, and the file cut off": {true, func() []*life {
			l, _ := group(1)
			l.write(3, 2)
			n := newLife(2, 8192)
			at := n.write(4, 3)
			n.write(5, 3)
			n.rot(at)
			n.img.buf = n.img.buf[:n.f.pos]
			return []*life{l, n}
		}},
		"the first of a file is torn": {false, func() []*life {
			l, _ := group(1)
			l.write(3, 2)
			n := newLife(2, 8192)
			at := n.write(4, 3)
			n.write(5, 3)
			n.rot(at)
			return []*life{l, n}
		}},
		"the first of a file is unreadable": {true, func() []*life {
			l, _ := group(1)
			l.write(3, 2)
			n := newLife(2, 8192)
			at := n.write(4, 3)
			n.write(5, 3)
			n.unreadable(at)
			return []*life{l, n}
		}},
		"the last of a file is rotten, so is the first of the next": {true, func() []*life {
			l, at := group(3)
			l.rot(at[3])
			n := newLife(2, 8192)
			first := n.write(5, 4)
			n.write(6, 4)
			n.rot(first)
			return []*life{l, n}
		}},
		"a torn one, and one that is unreadable before it among the written ahead": {true, func() []*life {
			l, at := group(4)
			l.unreadable(at[1])
			l.rot(at[2])
			return []*life{l}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := judge(c.make()...); errors.Is(err, ErrDamaged) != c.damage {
				t.Errorf("damage: %v", err)
			}
		})
	}
}
