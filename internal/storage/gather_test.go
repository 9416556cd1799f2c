package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// sharingStore is a Manual store with WAL files of 512 KiB.
func sharingStore(t testing.TB, fs vfs.FS, o *owners) *Store {
	t.Helper()
	return manualStore(t, fs, o, 512<<10)
}

// fan gives each of the logs of a Manual store entries that hold the same bodies, one message after the other, in batches
// of several messages, and adds them to want.
func fan(t testing.TB, s *Store, want map[record.LogID][]*raftpb.Entry, ids []record.LogID, messages, batch, size int) {
	t.Helper()
	for n := 0; n < messages; n += batch {
		bodies := make([][]byte, batch)
		for i := range bodies {
			bodies[i] = []byte(strings.Repeat(fmt.Sprintf("%d,%d;", n+i, ids[0]), size/4)[:size])
		}
		var waiters []waiter
		for _, id := range ids {
			a := &Append{Log: s.Log(id), Done: make(waiter, 1)}
			index := uint64(s.Log(id).LastIndex()) + 1
			for i, body := range bodies {
				e := entry(index+uint64(i), 1, record.Offset(index-2)+record.Offset(i), 1, fmt.Sprintf("to %d:", id))
				from := len(e.Data)
				e.Data = append(append(e.Data, body...), '.')
				a.Entries = append(a.Entries, e)
				a.Shared = append(a.Shared, []Span{{from, from + len(body), &body[0]}})
			}
			want[id] = append(want[id], a.Entries...)
			s.Append(a)
			waiters = append(waiters, a.Done.(waiter))
		}
		for s.Step() {
		}
		for _, w := range waiters {
			if a := <-w; a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
}

// readRandomly reads by offset, in pieces of any size, with and without a loan, and by index.
func readRandomly(t testing.TB, l *Log, want []*raftpb.Entry) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(l.id), 1))
	for range 100 {
		off, limit := rng.IntN(len(want)), 1<<rng.IntN(20)
		got, err := l.ReadFrom(record.Offset(off), record.Offset(len(want)), limit, true)
		if err == nil && len(got) == 0 {
			err = errors.New("nothing")
		}
		if err == nil {
			err = equalEntries(got, want[off:off+len(got)])
		}
		if err != nil {
			t.Fatalf("log %d, from offset %d: %v", l.id, off, err)
		}
		loan, err := l.Borrow(record.Offset(off), record.Offset(len(want)), limit)
		if err == nil {
			err = equalEntries(loan.Entries, want[off:off+len(loan.Entries)])
			loan.Release(record.Offset(off + len(loan.Entries)))
		}
		if err != nil {
			t.Fatalf("log %d, borrowed from offset %d: %v", l.id, off, err)
		}
	}
}

// TestKeepShared: messages that went to several queues stay in the file once for all of these, and are read
// from there, by the next life of the store, too; until so little of the file is needed that it is written to
// segments, for each of the queues.
func TestKeepShared(t *testing.T) {
	for _, batch := range []int{1, 7} {
		fs := vfs.NewMem()
		var o owners
		s := sharingStore(t, fs, &o)
		ids := []record.LogID{1, 2, 3, 4, 5}
		want := make(map[record.LogID][]*raftpb.Entry)
		free := freeOf(t, fs)
		fan(t, s, want, ids, 490, batch, 1500)
		grow(t, s, s.Log(9), 200, 6000) // so that most of it is not in memory any more
		o.set(9, Checkpoint{Applied: s.Log(9).LastIndex(), Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}}})
		if names, err := fs.List("data/seg"); err != nil || len(names) > 0 {
			t.Fatal(names, err)
		}
		bodies := int64(490 * 1500)
		if took := free - freeOf(t, fs); took > 2*bodies+2*512<<10 {
			t.Errorf("%d bytes on the disk for bodies of %d", took, bodies)
		}
		check := func() {
			t.Helper()
			for _, id := range ids {
				if wals, others := keptIn(s.Log(id)); len(wals) < 2 || others > 0 {
					t.Fatalf("log %d: WAL files %v are kept, %d chunks are elsewhere", id, wals, others)
				}
				same(t, s.Log(id), want[id])
				readRandomly(t, s.Log(id), want[id])
			}
		}
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = fs.StrictClone()
		s = sharingStore(t, fs, &o)
		check()
		if err := allListed(s); err != nil {
			t.Fatal(err)
		}

		// The queue that has the bodies is empty, and deleted; the others need them still.
		conf := &raftpb.ConfState{Voters: []uint64{1}}
		o.set(1, Checkpoint{Applied: s.Log(1).LastIndex(), Term: 1, ConfState: conf})
		s.Append(&Append{Log: s.Log(2), deletion: true})
		grow(t, s, s.Log(9), 200, 6000)
		o.set(9, Checkpoint{Applied: s.Log(9).LastIndex(), Term: 1, ConfState: conf})
		for _, id := range ids[2:] {
			if wals, _ := keptIn(s.Log(id)); len(wals) < 2 {
				t.Fatalf("log %d: WAL files %v are kept", id, wals)
			}
			same(t, s.Log(id), want[id])
		}

		// Two messages are left of each queue.
		two := func(from, to record.Offset) bool { return from <= 17 && 17 < to || from <= 80 && 80 < to }
		for _, id := range ids[2:] {
			o.set(id, Checkpoint{Applied: s.Log(id).LastIndex(), Term: 1, ConfState: conf, Live: two})
			live, _, err := s.Log(id).LiveEntries(1, s.Log(id).LastIndex(), two, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := equalEntries(live, []*raftpb.Entry{want[id][17], want[id][80]}); err != nil {
				t.Fatal(err)
			}
		}
		grow(t, s, s.Log(9), 400, 6000)
		for _, id := range ids[2:] {
			if wals, others := keptIn(s.Log(id)); len(wals) > 0 || others == 0 {
				t.Errorf("log %d: WAL files %v are kept for two messages, %d chunks are elsewhere", id, wals, others)
			}
			for _, off := range []record.Offset{17, 80} {
				got, err := s.Log(id).ReadFrom(off, off+1, 1, true)
				if err == nil {
					err = equalEntries(got, want[id][off:off+1])
				}
				if err != nil {
					t.Errorf("log %d, offset %d: %v", id, off, err)
				}
			}
		}
	}
}

// TestKeepSharedOverwritten: of a request only the first entries count any more. They are written
// elsewhere, because the file says nothing of where they end.
func TestKeepSharedOverwritten(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := sharingStore(t, fs, &o)
	want := make(map[record.LogID][]*raftpb.Entry)
	for range 100 {
		fan(t, s, want, []record.LogID{1, 2}, 5, 5, 1500)
		l := s.Log(1)
		from := uint64(l.LastIndex()) - 1 // of the last two
		step(t, s, l, entry(from, 2, record.Offset(from-2), 1, "another"))
		want[1] = append(want[1][:from-2], entry(from, 2, record.Offset(from-2), 1, "another"))
	}
	grow(t, s, s.Log(9), 200, 6000)
	if len(s.Log(1).tables) > 0 || len(s.Log(2).tables) > 0 {
		t.Fatal("entries are in memory")
	}
	for id := range want {
		same(t, s.Log(id), want[id])
		readRandomly(t, s.Log(id), want[id])
	}
	if wals, _ := keptIn(s.Log(2)); len(wals) == 0 {
		t.Error("no WAL file is kept for the log of which all counts")
	}
}

// TestKeepSharedDamage: a damaged body hurts the entries of all logs that hold it, and no other; a record
// of a log hurts the entries that it is of.
func TestKeepSharedDamage(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := sharingStore(t, fs, &o)
	ids := []record.LogID{1, 2, 3}
	want := make(map[record.LogID][]*raftpb.Entry)
	fan(t, s, want, ids, 600, 4, 1500)
	grow(t, s, s.Log(9), 200, 6000)
	wals, _ := keptIn(s.Log(1))
	name := s.preparer.path(wals[1], walSuffix)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(what string) *vfs.Mem {
		at := strings.Index(string(file), what)
		if at < 0 {
			t.Fatalf("%s does not hold %q", name, what)
		}
		c := fs.Clone()
		if err := c.Flip(name, int64(at), 1); err != nil {
			t.Fatal(err)
		}
		return c
	}
	number := 0 // of a message in that file
	for !strings.Contains(string(file), fmt.Sprintf("%d,1;%d,1;", number, number)) || number%4 != 2 {
		number++
	}
	hurt := func(c *vfs.Mem) map[record.LogID][]int {
		s := sharingStore(t, c, &o)
		defer s.Close()
		out := make(map[record.LogID][]int)
		for _, id := range ids {
			for off := range want[id] {
				got, err := s.Log(id).ReadFrom(record.Offset(off), record.Offset(off+1), 1, true)
				switch {
				case errors.Is(err, ErrDamaged):
					out[id] = append(out[id], off)
				case err != nil:
					t.Fatal(err)
				default:
					if err := equalEntries(got, want[id][off:off+1]); err != nil {
						t.Fatalf("log %d, offset %d: %v", id, off, err)
					}
				}
			}
		}
		return out
	}
	// What follows a damaged entry in its block cannot be read by offset, as in a segment.
	rest := []int{number, number + 1}
	if got := hurt(flip(fmt.Sprintf("%d,1;%d,1;", number, number))); !maps.EqualFunc(got, map[record.LogID][]int{1: rest, 2: rest, 3: rest}, slices.Equal) {
		t.Errorf("a body: %v, not %v of each", got, rest)
	}
	if got := hurt(flip("to 3:")); len(got) != 1 || len(got[3]) == 0 || len(got[3]) > 4 {
		t.Errorf("a record of log 3: %v", got)
	}
}

// TestAssembleRefuses: records that are not as they were written make no entries.
func TestAssembleRefuses(t *testing.T) {
	head := make([]byte, entryHeader)
	head[4] = 4 // bytes of data
	for name, x := range map[string]struct {
		parts string
		len   int
	}{
		"nothing":           {"", 29},
		"cut off":           {"\x08ab", 29},
		"too long":          {"\x0aabcde", 29},
		"an empty part":     {"\x00", 29},
		"beyond the file":   {"\x09\x07", 29},
		"a position of 2⁶³": {"\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 29},
		"no position":       {"\x09", 29},
		"more than is left": {"\x08abcd", 28},
		"less than is left": {"\x08abcd", 30},
		"part of a header":  {"\x08abcd\x01", 29},
		"a second one":      {"\x08abcd" + string(head), 29},
	} {
		if _, err := assemble(make([]byte, x.len), append(head[:entryHeader:entryHeader], x.parts...), 9, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	out := make([]byte, 29)
	parts, err := assemble(out, append(head[:entryHeader:entryHeader], "\x04ab\x05\x03"...), 9, nil)
	if err != nil || len(parts) != 1 || parts[0].at != 3 || &parts[0].to[0] != &out[27] || len(parts[0].to) != 2 || string(out[25:27]) != "ab" {
		t.Errorf("%q, %v, %v", out, parts, err)
	}
}

// TestKeepSharedOverlap: a flipped bit in what says where a body lies makes it overlap another one, larger than what is
// read at once.
func TestKeepSharedOverlap(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := manualStore(t, fs, &o, 8<<20)
	want := make(map[record.LogID][]*raftpb.Entry)
	var large, small []byte
	for range 4 {
		large, small = bytes.Repeat([]byte("L"), 1500<<10), bytes.Repeat([]byte("s"), 1000)
		for id := record.LogID(1); id <= 2; id++ {
			a := &Append{Log: s.Log(id)}
			for _, body := range [][]byte{large, small} {
				index := uint64(len(want[id])) + 2
				e := entry(index, 1, record.Offset(index-2), 1, "x")
				from := len(e.Data)
				e.Data = append(e.Data, body...)
				a.Entries, a.Shared = append(a.Entries, e), append(a.Shared, []Span{{from, len(e.Data), &body[0]}})
				want[id] = append(want[id], e)
			}
			s.Append(a)
			for s.Step() {
			}
		}
	}
	grow(t, s, s.Log(9), 30, 600_000)
	wals, _ := keptIn(s.Log(2))
	if len(wals) == 0 {
		t.Fatal("no WAL file is kept")
	}
	name := s.preparer.path(wals[0], walSuffix)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	// The position follows the length, 1000 × 2 + 1. A bit of it less, and the small body lies in the large one before it.
	flips := 0
	for pos := 0; pos+8 < len(file); pos++ {
		if n, k := binary.Uvarint(file[pos:]); n != 2001 || k != 2 {
			continue
		}
		at, k := binary.Uvarint(file[pos+2:])
		if k <= 0 || at+1000 > uint64(len(file)) || !bytes.Equal(file[at:at+1000], small) {
			continue
		}
		for bit := range 7 * k {
			if to := at ^ 1<<bit; to > at || at-to < 600<<10 || at-to > 1400<<10 {
				continue
			}
			flips++
			c := fs.Clone()
			if err := c.Flip(name, int64(pos+2+bit/7), 1<<(bit%7)); err != nil {
				t.Fatal(err)
			}
			s := manualStore(t, c, &o, 8<<20)
			if _, err := s.Log(2).ReadFrom(0, record.Offset(len(want[2])), 1<<30, true); !errors.Is(err, ErrDamaged) {
				for off := range want[2] {
					if _, err = s.Log(2).ReadFrom(record.Offset(off), record.Offset(off+1), 1<<20, true); err != nil {
						break
					}
				}
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("bit %d at %d: %v", bit, pos, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if flips == 0 {
		t.Fatal("no bit to flip")
	}
}

// TestKeepMixed: a queue that is bound to one exchange with others, and to another one alone, has both kinds
// of blocks in a chunk.
func TestKeepMixed(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := sharingStore(t, fs, &o)
	want := make(map[record.LogID][]*raftpb.Entry)
	for range 300 {
		fan(t, s, want, []record.LogID{1, 2}, 1, 1, 2500)
		want[1] = append(want[1], grow(t, s, s.Log(1), 1, 2500)...)
	}
	for range 2 {
		grow(t, s, s.Log(9), 200, 6000)
		for id := range want {
			l := s.Log(id)
			if wals, others := keptIn(l); len(wals) < 2 || others > 0 || len(l.chunks) > len(wals) {
				t.Errorf("log %d: %d chunks in the WAL files %v, %d elsewhere", id, len(l.chunks), wals, others)
			}
			same(t, l, want[id])
			readRandomly(t, l, want[id])
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = sharingStore(t, fs, &o)
	}
}

// TestShortIsNotUsedAgain: a file of which the end is being cut off does not become the WAL's, where what
// is written to it would be cut off, too; and the files after it are made only as large as they have to be.
func TestShortIsNotUsedAgain(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := manualStore(t, fs, &o, 64<<20)
	ids := []record.LogID{1, 2, 3, 4, 5, 6}
	want := make(map[record.LogID][]*raftpb.Entry)
	for range 8 {
		fan(t, s, want, ids, 120, 8, 100<<10)
	}
	wals, _ := keptIn(s.Log(1))
	if len(wals) < 3 {
		t.Fatalf("WAL files %v are kept", wals)
	}
	for _, n := range wals[1:] {
		fi, err := fs.Stat(s.preparer.path(n, walSuffix))
		if err != nil || fi.Size() > 30<<20 {
			t.Errorf("WAL file %d: %v bytes, %v", n, fi.Size(), err)
		}
	}
	if size := s.wal.file.size; size > 32<<20 {
		t.Errorf("the file that is written has %d bytes", size)
	}
	for _, id := range ids {
		o.set(id, Checkpoint{Applied: s.Log(id).LastIndex(), Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}}})
	}
	var short *segment
	for _, seg := range s.flusher.segments {
		if seg.wal == wals[0] {
			short = seg
		}
	}
	if short == nil || !short.short {
		t.Fatalf("%v", short)
	}
	f, err := fs.Open(short.name())
	if err == nil {
		err = f.Truncate(64 << 20) // as if that were not done yet
	}
	if err != nil {
		t.Fatal(err)
	}
	recycle := s.segs.recycle
	s.segs.recycle = func(name string, size int64) error {
		if name == short.name() {
			t.Errorf("%s is to be used again", name)
		}
		return recycle(name, size)
	}
	for range 8 {
		fan(t, s, want, []record.LogID{9}, 120, 8, 100<<10)
	}
	if _, err := fs.Stat(s.preparer.path(wals[0], walSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", short.name(), err)
	}
}
