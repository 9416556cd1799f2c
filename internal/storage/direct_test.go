package storage

import (
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// directFS counts what is written to WAL files past the page cache, in bytes.
type directFS struct {
	*vfs.Mem
	direct, cached int
}

// Create implements [vfs.FS].
func (d *directFS) Create(name string) (vfs.File, error) {
	f, err := d.Mem.Create(name)
	return directFile{f, d}, err
}

// Open implements [vfs.FS].
func (d *directFS) Open(name string) (vfs.File, error) {
	f, err := d.Mem.Open(name)
	return directFile{f, d}, err
}

type directFile struct {
	vfs.File
	fs *directFS
}

// WriteAt implements [vfs.File].
func (f directFile) WriteAt(b []byte, off int64) (int, error) {
	if strings.Contains(f.Name(), walSuffix) {
		f.fs.cached += len(b)
	}
	return f.File.WriteAt(b, off)
}

// WriteDirect implements [vfs.File].
func (f directFile) WriteDirect(b []byte, off int64) (int, error) {
	f.fs.direct += len(b)
	return f.File.WriteDirect(b, off)
}

// follower is a consumer of a log.
type follower struct {
	log  *Log
	next record.Offset
}

// read takes all that is new, from memory.
func (c *follower) read(t *testing.T) {
	t.Helper()
	entries, err := c.log.ReadFrom(c.next, 1<<40, 1<<30, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		base, count := offsets(e, c.next)
		c.next = base + record.Offset(count)
	}
}

// TestFollowed: WAL files are written past the page cache while consumers read what is in memory, and only then; and
// nothing else depends on it.
func TestFollowed(t *testing.T) {
	fs := &directFS{Mem: vfs.NewMem()}
	var o owners
	s := keptStore(t, fs, &o)
	l, m := s.Log(1), s.Log(2)
	follow := follower{log: l}
	var want, other []*raftpb.Entry
	// During some files, phase is called after each entry. What counts is how the last of them is written.
	during := func(name string, direct bool, phase func()) {
		t.Helper()
		for file := s.wal.file.id + 4; s.wal.file.id < file; {
			want = append(want, grow(t, s, l, 1, 3000)...)
			phase()
		}
		if s.wal.file.direct != direct {
			t.Fatalf("%s: past the page cache: %t", name, s.wal.file.direct)
		}
		before := *fs
		want = append(want, grow(t, s, l, 1, 3000)...)
		phase()
		if wrote := fs.direct - before.direct; direct != (wrote > 2000) || direct == (fs.cached > before.cached+2000) {
			t.Fatalf("%s: %d bytes are written past the page cache, %d through it", name, wrote, fs.cached-before.cached)
		}
	}
	during("nobody reads", false, func() {})
	if _, err := l.ReadFrom(0, 1<<40, 1<<30, true); err != nil {
		t.Fatal(err)
	}
	follow.next = l.next
	during("a consumer keeps up", true, func() { follow.read(t) })
	again := follow.next
	during("one more, who reads the same again", true, func() {
		follow.read(t)
		second := follower{log: l, next: again}
		second.read(t)
		again = second.next
	})
	behind := record.Offset(0)
	during("one keeps up, one is behind", false, func() {
		follow.read(t)
		s.cold = new(coldCache)
		entries, err := l.ReadFrom(behind, behind+1, 1<<20, true)
		if err != nil || len(entries) == 0 {
			t.Fatal(len(entries), err)
		}
		behind++
	})
	during("only the one that keeps up is left", true, func() { follow.read(t) })
	during("of two logs one is read", false, func() {
		other = append(other, grow(t, s, m, 1, 3000)...)
		follow.read(t)
	})
	during("the consumer is back", true, func() { follow.read(t) })
	large := entry(uint64(l.LastIndex())+1, 1, follow.next, 1, strings.Repeat("large", 40<<10))
	want = append(want, large) // which needs a longer file than there is
	step(t, s, l, large)
	follow.read(t)
	during("an entry that was larger than a file", true, func() { follow.read(t) })
	during("the consumer is gone", false, func() {})

	for _, again := range []vfs.FS{fs.StrictClone(), fs.CrashClone(7)} {
		s := keptStore(t, again, &o)
		wantLog(t, s.Log(1), want)
		wantLog(t, s.Log(2), other)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// wantLog compares all that consumers can read of a log.
func wantLog(t *testing.T, l *Log, want []*raftpb.Entry) {
	t.Helper()
	got, err := l.ReadFrom(0, 1<<40, 1<<30, true)
	if err != nil || len(got) != len(want) {
		t.Fatalf("log %d: %d entries of %d, %v", l.id, len(got), len(want), err)
	}
	for i, e := range got {
		if e.GetIndex() != want[i].GetIndex() || string(e.Data) != string(want[i].Data) {
			t.Fatalf("log %d: entry %d of %d", l.id, e.GetIndex(), want[i].GetIndex())
		}
	}
}
