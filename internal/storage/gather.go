package storage

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// Of entries that share parts with those of other logs a WAL file that is kept has each part once (shared.go). They
// are put together when they are read: first what the log's own records say, then the
// parts that lie elsewhere. Those of messages that went to several queues lie one behind the other in the records of one of
// them, so that many are read at once.

// hole is memory that is filled from a position of a file.
type hole struct {
	to []byte
	at int64
}

func (h *hole) end() int64 { return h.at + int64(len(h.to)) }

// gather reads the blocks [b, to) of a chunk with shared parts into buf, as frames.
func (l *Log) gather(c *chunk, marks []mark, b, to int, buf []byte) (*piece, error) {
	raw, err := l.readRaw(c, marks[b:to], buf)
	if err != nil {
		return nil, err
	}
	var parts []hole
	var bad error
	whole, out := b, buf
	for ; whole < to; whole++ {
		m := &marks[whole]
		if m.raw > 0 {
			parts, bad = assemble(out[:m.len], raw[whole-b], c.pos, parts)
		}
		if bad != nil {
			break
		}
		out = out[m.len:]
	}
	slices.SortFunc(parts, func(a, b hole) int { return cmp.Compare(a.at, b.at) })
	if err := l.readHoles(c, parts); err != nil {
		return nil, err
	}
	p := l.newPiece(c, marks, b, whole, buf[:len(buf)-len(out)])
	if bad != nil && p.err == nil {
		p.to, p.err = whole+1, l.damaged(c, marks[whole].pos, bad)
	}
	p.buf = buf
	return p, nil
}

// assemble writes the frames that raw makes to out, but for what lies elsewhere, before position end of the file: that
// is added to parts.
func assemble(out, raw []byte, end int64, parts []hole) ([]hole, error) {
	for len(raw) > 0 {
		if len(raw) < entryHeader || len(out) < entryHeader {
			return parts, errFrame
		}
		left := uint64(le.Uint32(raw[4:]))
		copy(out, raw[:entryHeader])
		raw, out = raw[entryHeader:], out[entryHeader:]
		if left > uint64(len(out)) {
			return parts, errFrame
		}
		for left > 0 {
			p, rest, err := splitPart(raw, uint64(end))
			if err != nil {
				return parts, err
			}
			if p.len == 0 || p.len > left {
				return parts, fmt.Errorf("%w: a part of %d bytes, %d are left", errRecord, p.len, left)
			}
			if p.here == nil {
				parts = append(parts, hole{out[:p.len], int64(p.at)})
			} else {
				copy(out, p.here)
			}
			raw, out, left = rest, out[p.len:], left-p.len
		}
	}
	if len(out) > 0 {
		return parts, fmt.Errorf("%w: %d bytes are missing", errFrame, len(out))
	}
	return parts, nil
}

// readRaw reads blocks as they lie in the file. Those that are frames are read to where they belong in out.
func (l *Log) readRaw(c *chunk, marks []mark, out []byte) (raw [][]byte, err error) {
	total := int64(0)
	for i := range marks {
		total += marks[i].raw
	}
	buf := make([]byte, total)
	holes := make([]hole, len(marks))
	for i := range marks {
		m := &marks[i]
		raw = append(raw, buf[:m.raw:m.raw])
		holes[i], buf = hole{raw[i], m.pos}, buf[m.raw:]
		if m.raw == 0 {
			holes[i].to = out[:m.len]
		}
		out = out[m.len:]
	}
	return raw, l.readHoles(c, holes)
}

// readHoles fills holes. What lies near each other is read at once; they are in the order of their positions. When that fails, each by
// itself: what lies between them is not wanted.
func (l *Log) readHoles(c *chunk, holes []hole) error {
	for len(holes) > 0 {
		n, start, end := 1, holes[0].at, holes[0].end()
		for ; n < len(holes) && holes[n].at <= end+bridged; n++ {
			last := max(end, holes[n].end()) // they may overlap, where one of them is damaged
			if last > start+maxRead {
				break
			}
			end = last
		}
		if err := l.readNear(c, holes[:n], start, end); err != nil {
			return err
		}
		holes = holes[n:]
	}
	return nil
}

// runs are buffers for what is read at once.
var runs = sync.Pool{New: func() any { return new([maxRead]byte) }}

func (l *Log) readNear(c *chunk, holes []hole, start, end int64) error {
	if len(holes) > 1 {
		run := runs.Get().(*[maxRead]byte)
		defer runs.Put(run)
		if f, err := c.seg.handle(); err == nil {
			if _, err := f.ReadAt(run[:end-start], start); err == nil {
				for _, h := range holes {
					copy(h.to, run[h.at-start:])
				}
				return nil
			}
		}
	}
	for _, h := range holes {
		if err := l.readAt(c.seg, h.to, h.at); err != nil {
			return err
		}
	}
	return nil
}
