package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// lent makes a store with one log: entries of all sizes, from a few bytes to more
// than a read brings, in many segments, and some in memory only.
func lent(t testing.TB, fs *vfs.Mem) (*Store, *Log, []*raftpb.Entry) {
	t.Helper()
	s := openStore(t, fs, Options{WALFileSize: 1 << 20, SegmentSize: 4 << 20, Manual: true})
	s.Start()
	l := s.Log(1)
	var want []*raftpb.Entry
	next := record.Offset(0)
	for i := range 200 {
		size := []int{10, 1000, 20 << 10, 300 << 10}[i%4]
		if i == 100 {
			size = mostBuffer + 1
		}
		n := uint32(1 + i%3)
		e := entry(uint64(i+2), 1, next, n, strings.Repeat(fmt.Sprintf("%03d,", i), size/4))
		step(t, s, l, e)
		want = append(want, e)
		next += record.Offset(n)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.chunks) < 4 || len(l.tables) == 0 {
		t.Fatalf("%d chunks, %d tables", len(l.chunks), len(l.tables))
	}
	return s, l, want
}

// step appends an entry to a log of a Manual store, and makes the checkpoint that is due.
func step(t testing.TB, s *Store, l *Log, e *raftpb.Entry) {
	t.Helper()
	w := make(waiter, 1)
	s.Append(&Append{Log: l, Entries: []*raftpb.Entry{e}, Done: w})
	for s.Step() {
	}
	if a := <-w; a.Err != nil {
		t.Fatal(a.Err)
	}
}

// holding returns the index of the entry that holds an offset.
func holding(want []*raftpb.Entry, off record.Offset) int {
	for i, e := range want {
		if base, n := offsets(e, 0); off < base+record.Offset(n) {
			return i
		}
	}
	return len(want)
}

func endOf(entries []*raftpb.Entry) record.Offset {
	base, n := offsets(entries[len(entries)-1], 0)
	return base + record.Offset(n)
}

// balanced checks what the cache counts, and its bound.
func (cc *coldCache) balanced() error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	var pieces, free int64
	for _, p := range cc.pieces {
		pieces += int64(cap(p.buf))
	}
	for _, b := range cc.free {
		free += int64(cap(b))
	}
	if cc.bytes != pieces+free || cc.freeBytes != free || cc.bytes > coldPieces {
		return fmt.Errorf("%d bytes of pieces and %d free ones are counted as %d and %d", pieces, free, cc.bytes, cc.freeBytes)
	}
	return nil
}

// TestBorrow: many who borrow, some of them for long, and who read for good beside them: each
// sees what was written for as long as he may look.
func TestBorrow(t *testing.T) {
	s, l, want := lent(t, vfs.NewMem())
	end := endOf(want)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			type held struct {
				*Loan
				first int
			}
			var loans []held
			giveBack := func(n int) {
				h := loans[n]
				loans = append(loans[:n], loans[n+1:]...)
				if err := equalEntries(h.Entries, want[h.first:h.first+len(h.Entries)]); err != nil {
					t.Error(err)
				}
				h.Release(record.Offset(rng.Int64N(int64(end))))
				h.Release(end) // does no harm
			}
			off := record.Offset(0)
			for range 400 {
				loan, err := l.Borrow(off, end, 1<<rng.IntN(22))
				if err != nil || len(loan.Entries) == 0 {
					t.Errorf("at %d: %v", off, err)
					return
				}
				loans = append(loans, held{loan, holding(want, off)})
				if off = endOf(loan.Entries); off == end || rng.IntN(30) == 0 {
					off = record.Offset(rng.Int64N(int64(end)))
				}
				for len(loans) > 3 || len(loans) > 0 && rng.IntN(2) == 0 {
					giveBack(rng.IntN(len(loans)))
				}
				if err := s.cold.balanced(); err != nil {
					t.Error(err)
				}
			}
			for len(loans) > 0 {
				giveBack(0)
			}
		})
	}
	wg.Go(func() {
		var kept []*raftpb.Entry
		for off := record.Offset(0); off < end; {
			ents, err := l.ReadFrom(off, end, 100_000, true)
			if err != nil {
				t.Error(err)
				return
			}
			kept, off = append(kept, ents...), endOf(ents)
		}
		wg.Go(func() { // after all the others have read into what was theirs
			if err := equalEntries(kept, want); err != nil {
				t.Error("read for good:", err)
			}
		})
	})
	wg.Wait()
	if err := s.cold.balanced(); err != nil {
		t.Error(err)
	}
}

// TestTruncationDuringALoan: what is on loan stays as it was when the log is cut
// before it and written anew, and the next one gets what counts then.
func TestTruncationDuringALoan(t *testing.T) {
	s, l, want := lent(t, vfs.NewMem())
	end := endOf(want)
	const cut = 150 // in a segment
	from, _ := offsets(want[cut-3], 0)
	base, n := offsets(want[cut], 0)
	loan, err := l.Borrow(from, end, 1<<20)
	if err != nil || len(loan.Entries) < 5 || loan.Held() == 0 {
		t.Fatal(loan, err)
	}
	anew := entry(uint64(cut+2), 2, base, n, "another leader's")
	step(t, s, l, anew)
	if err := equalEntries(loan.Entries, want[cut-3:][:len(loan.Entries)]); err != nil {
		t.Error("on loan:", err)
	}
	loan.Release(end)
	if loan, err = l.Borrow(from, end, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := equalEntries(loan.Entries, append(want[cut-3:cut:cut], anew)); err != nil {
		t.Error("after it:", err)
	}
	loan.Release(end)
}

// TestForGood: what was read for good out of a borrowed piece is not written over.
func TestForGood(t *testing.T) {
	s, l, want := lent(t, vfs.NewMem())
	end := endOf(want)
	loan, err := l.Borrow(0, end, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := l.ReadFrom(0, end, 1<<20, true)
	if err != nil || len(loan.pieces) == 0 || &kept[0].Data[0] != &loan.Entries[0].Data[0] {
		t.Fatal("they do not share a piece", err)
	}
	p := loan.pieces[0]
	loan.Release(endOf(loan.Entries))
	s.cold.mu.Lock()
	for len(s.cold.pieces) > 0 {
		s.cold.drop(0)
	}
	s.cold.mu.Unlock()
	if p.buf == nil || p.cached || p.loans != 0 {
		t.Errorf("its buffer was given away: %+v", p)
	}
	readThrough(t, l, end, 1<<20)
	if err := equalEntries(kept, want[:len(kept)]); err != nil {
		t.Error(err)
	}
}

// readThrough borrows all of a log, and returns the buffers that it saw.
func readThrough(t testing.TB, l *Log, end record.Offset, limit int) map[*byte]int {
	t.Helper()
	seen := make(map[*byte]int)
	for off := record.Offset(0); off < end; {
		loan, err := l.Borrow(off, end, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range loan.pieces {
			seen[&p.buf[0]]++
		}
		off = endOf(loan.Entries)
		loan.Release(off)
	}
	return seen
}

// TestBuffersAreUsedAgain: one who reads a backlog goes through a few buffers,
// and reads nothing twice.
func TestBuffersAreUsedAgain(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{WALFileSize: 16 << 20, Manual: true})
	s.Start()
	l := s.Log(1)
	const count, size = 800, 50_000
	for i := range count {
		step(t, s, l, entry(uint64(i+2), 1, record.Offset(i), 1, strings.Repeat("x", size)))
	}
	l.mu.RLock()
	chunks, data := len(l.chunks), int64(0)
	for _, c := range l.chunks {
		data += c.data
	}
	l.mu.RUnlock()
	buffers, uses := readThrough(t, l, count, 1<<20), 0
	for _, n := range buffers {
		uses += n
	}
	if most := int(data/(900<<10)) + 2*chunks; len(buffers) > 4 || uses < len(buffers) || uses > most {
		t.Errorf("%d buffers were read into %d times for %d bytes in %d chunks, at most %d were expected", len(buffers), uses, data, chunks, most)
	}
	if data < 16<<20 {
		t.Error("only", data)
	}
}

// TestRotInALoan: a flipped bit in the middle of what is read at once. All before it is
// lent, nothing from it on, and the next one learns why, every time.
func TestRotInALoan(t *testing.T) {
	fs := vfs.NewMem()
	s, l, want := lent(t, fs)
	end := endOf(want)
	readThrough(t, l, end, 1<<20) // there are buffers with what was good
	bad := 42
	l.mu.RLock()
	c := l.chunks[0]
	for _, d := range l.chunks {
		if d.first <= record.Index(bad+2) && record.Index(bad+2) <= d.last {
			c = d
		}
	}
	l.mu.RUnlock()
	s.cold.mu.Lock()
	s.cold.pieces, s.cold.bytes = nil, s.cold.freeBytes // it rots on the disk, so none may be in memory
	s.cold.mu.Unlock()
	marks, err := l.chunkMarks(c, true)
	if err != nil {
		t.Fatal(err)
	}
	m := marks[firstBlock(marks, &query{from: uint64(bad + 2)}, 0)]
	pos := c.dataPos() + m.pos
	for i := int(m.index) - 2; i < bad; i++ {
		pos += int64(entryLen(want[i]))
	}
	if err := fs.Flip(c.seg.name(), pos+entryHeader+5, 0x10); err != nil {
		t.Fatal(err)
	}
	base, _ := offsets(want[bad], 0)
	first, _ := offsets(want[bad-2], 0)
	for range 3 {
		loan, err := l.Borrow(first, end, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := equalEntries(loan.Entries, want[bad-2:bad]); err != nil {
			t.Fatal(err)
		}
		loan.Release(base)
		if loan, err := l.Borrow(base, end, 1<<20); !errors.Is(err, ErrDamaged) {
			t.Fatal(loan, err)
		}
	}
	if l.Damaged() == nil {
		t.Error("nobody knows of the damage")
	}
}
