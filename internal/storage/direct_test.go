package storage

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// directFS counts the bytes that are written to WAL files, past the page cache and through it.
type directFS struct {
	*vfs.Mem
	direct, cached int
	refuse         error // of SetDirect
	sector         int   // a larger one: what is not a multiple of it is refused when it is written
}

// Create implements [vfs.FS].
func (d *directFS) Create(name string) (vfs.File, error) {
	f, err := d.Mem.Create(name)
	return &directFile{File: f, fs: d}, err
}

// Open implements [vfs.FS].
func (d *directFS) Open(name string) (vfs.File, error) {
	f, err := d.Mem.Open(name)
	return &directFile{File: f, fs: d}, err
}

type directFile struct {
	vfs.File
	fs     *directFS
	direct bool
}

// SetDirect implements [vfs.File].
func (f *directFile) SetDirect(on bool) error {
	if on && f.fs.refuse != nil {
		return f.fs.refuse
	}
	f.direct = on
	return f.File.SetDirect(on)
}

// WriteAt implements [vfs.File].
func (f *directFile) WriteAt(b []byte, off int64) (int, error) {
	switch {
	case f.direct && f.fs.sector > 0 && len(b)%f.fs.sector != 0:
		return 0, syscall.EINVAL
	case f.direct:
		f.fs.direct += len(b)
	case strings.Contains(f.Name(), walSuffix):
		f.fs.cached += len(b)
	}
	return f.File.WriteAt(b, off)
}

// followRig is a Manual store with WAL files of 64 KiB and a log that grows.
type followRig struct {
	t    *testing.T
	fs   *directFS
	s    *Store
	log  *Log
	want []*raftpb.Entry
	now  time.Time
}

func newFollowRig(t *testing.T, opts Options) *followRig {
	r := &followRig{t: t, fs: &directFS{Mem: vfs.NewMem()}, now: time.Unix(1e9, 0)}
	opts.WALFileSize, opts.SegmentSize, opts.Manual, opts.Reserve = 64<<10, 256<<10, true, 1
	opts.Checkpoint = new(owners).checkpoint
	opts.Now = func() time.Time { return r.now }
	r.s = openStore(t, r.fs, opts)
	r.s.Start()
	r.log = r.s.Log(1)
	t.Cleanup(func() {
		if err := r.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *followRig) grow() { r.want = append(r.want, grow(r.t, r.s, r.log, 1, 3000)...) }

// during fills some files, with phase after each entry. What counts is how the last of them is written.
func (r *followRig) during(what string, direct bool, phase func()) {
	r.t.Helper()
	for file := r.s.wal.file.id + 4; r.s.wal.file.id < file; {
		r.grow()
		phase()
	}
	before := *r.fs
	r.grow()
	phase()
	past, through := r.fs.direct-before.direct, r.fs.cached-before.cached
	if r.s.wal.file.direct != direct || direct && (past < 2000 || through > 0) || !direct && (past > 0 || through < 2000) {
		r.t.Fatalf("%s: %d bytes are written past the page cache, %d through it", what, past, through)
	}
}

// consumer reads a log from memory.
func (r *followRig) consumer() *follower {
	return &follower{r.t, r.log, r.log.next}
}

type follower struct {
	t    *testing.T
	log  *Log
	next record.Offset
}

// read takes all that is new.
func (c *follower) read() {
	c.t.Helper()
	entries, err := c.log.ReadFrom(c.next, 1<<40, 1<<30, false)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		base, count := offsets(e, c.next)
		c.next = base + record.Offset(count)
	}
}

// TestFollowed: WAL files are written past the page cache while consumers read what is in memory, and only then; and
// nothing else depends on it.
func TestFollowed(t *testing.T) {
	r := newFollowRig(t, Options{})
	l, m := r.log, r.s.Log(2)
	r.during("nobody reads", false, func() {})
	consumer := r.consumer()
	r.during("a consumer keeps up", true, consumer.read)
	second := r.consumer()
	turn := 0
	half := func() { // of the entries are read, each of them by both
		if turn++; turn%4 < 2 {
			consumer.next, second.next = l.next, l.next
		}
		consumer.read()
		second.read()
	}
	r.during("two consumers read the same half", false, half)
	r.during("both keep up", true, func() { consumer.read(); second.read() })
	var other []*raftpb.Entry
	r.during("of two logs one is read", false, func() {
		other = append(other, grow(t, r.s, m, 1, 3000)...)
		consumer.read()
	})
	r.during("the consumer is back", true, consumer.read)
	r.during("another replica reads what is in memory", false, func() {
		if _, err := l.Entries(l.LastIndex(), l.LastIndex()+1, 1<<30, false); err != nil {
			t.Fatal(err)
		}
	})
	consumer.next = l.next
	r.during("entries without messages do not count", true, func() {
		consumer.read()
		n := uint64(m.LastIndex()) + 1
		e := entry(n, 1, m.next, 0, strings.Repeat("no message", 400))
		step(t, r.s, m, e)
	})
	large := entry(uint64(l.LastIndex())+1, 1, l.next, 1, strings.Repeat("large", 40<<10))
	r.want = append(r.want, large) // which needs a longer file than there is
	step(t, r.s, l, large)
	consumer.read()
	r.during("an entry that was larger than a file", true, consumer.read)
	if r.s.metrics.memBytes.Load() == 0 || len(other) == 0 {
		t.Fatal("nothing is in memory")
	}
	r.during("the consumer is gone", false, func() {})

	for _, again := range []vfs.FS{r.fs.StrictClone(), r.fs.CrashClone(7)} {
		s := keptStore(t, again, new(owners))
		wantLog(t, s.Log(1), r.want)
		wantLog(t, s.Log(2), other)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBehind: where something is read from files, by a consumer or by another replica, all is written through the page cache,
// and for an hour after.
func TestBehind(t *testing.T) {
	for who, read := range map[string]func(l *Log, n uint64) error{
		"consumer": func(l *Log, n uint64) error {
			_, err := l.ReadFrom(record.Offset(n), record.Offset(n+1), 1, true)
			return err
		},
		"replica": func(l *Log, n uint64) error {
			_, err := l.Entries(record.Index(n+2), record.Index(n+3), 1, true)
			return err
		},
	} {
		t.Run(who, func(t *testing.T) {
			r := newFollowRig(t, Options{})
			consumer := r.consumer()
			r.during("a consumer keeps up", true, consumer.read)
			n := uint64(0)
			r.during("somebody is behind", false, func() {
				consumer.read()
				r.s.cold = new(coldCache) // what is in memory need not be in the page cache
				if err := read(r.log, n); err != nil {
					t.Fatal(err)
				}
				n++
			})
			r.during("he has come as far", false, consumer.read)
			r.now = r.now.Add(behindTime - time.Second)
			r.during("he may come again", false, consumer.read)
			r.now = r.now.Add(2 * time.Second)
			r.during("he did not", true, consumer.read)
		})
	}
}

// TestFarBehind: who lags by more than the page cache can hold is no reason to write through it, whether others keep up or not; once he has come
// closer, he is.
func TestFarBehind(t *testing.T) {
	r := newFollowRig(t, Options{CacheBytes: 400 << 10})
	l := r.log
	next := record.Offset(0)
	lag := func() {
		r.s.cold = new(coldCache)
		if _, err := l.ReadFrom(next, next+1, 1, true); err != nil {
			t.Fatal(err)
		}
		next++
	}
	r.during("nobody reads", false, func() {})
	for range 400 {
		r.grow()
	}
	r.during("a consumer is far behind", true, lag)
	consumer := r.consumer()
	r.during("another one keeps up", true, func() { consumer.read(); lag() })
	m := r.s.Log(2)
	r.during("a log besides that nobody reads", false, func() { consumer.read(); grow(t, r.s, m, 1, 3000); lag() })
	r.during("the one behind is gone", false, func() {})
	consumer.next = l.next
	r.during("the other one is back", true, consumer.read)
	r.during("another replica is far behind", true, func() {
		r.s.cold = new(coldCache)
		if _, err := l.Entries(2, 3, 1, true); err != nil {
			t.Fatal(err)
		}
	})
	next = l.next - 40
	r.during("a consumer is behind", false, lag)
	consumer.next = l.next
	r.during("he has come as far", false, consumer.read)
}

// TestLittleBehind: a single look at what is old changes nothing.
func TestLittleBehind(t *testing.T) {
	now := time.Unix(1e9, 0)
	for behind, direct := range map[int64]bool{0: true, 124: true, 126: false, 2000: false} {
		f := following{appended: 1000}
		f.read.Store(751)
		f.behind.Store(behind)
		if f.decide(now) != direct {
			t.Errorf("%d of 1000 were read from files: direct I/O is not %t", behind, direct)
		}
	}
	f := following{appended: 1000}
	if f.read.Store(749); f.decide(now) {
		t.Error("a quarter was not read")
	}
	if f.decide(now) {
		t.Error("nothing was written")
	}
}

// TestWithoutDirectIO: where it is not wanted, or cannot be done, all goes through the page cache.
func TestWithoutDirectIO(t *testing.T) {
	t.Run("not wanted", func(t *testing.T) {
		r := newFollowRig(t, Options{DirectIO: NeverDirect})
		r.during("", false, r.consumer().read)
	})
	t.Run("always wanted", func(t *testing.T) {
		r := newFollowRig(t, Options{DirectIO: AlwaysDirect})
		r.during("nobody reads", true, func() {})
		r.fs.refuse = errors.ErrUnsupported
		r.during("refused", false, func() {})
		wantLog(t, r.log, r.want)
	})
	t.Run("refused", func(t *testing.T) {
		r := newFollowRig(t, Options{})
		r.fs.refuse = errors.ErrUnsupported
		r.during("", false, r.consumer().read)
		r.fs.refuse = nil
		r.during("it is not tried again", false, r.consumer().read)
	})
	t.Run("larger sectors", func(t *testing.T) {
		r := newFollowRig(t, Options{})
		r.fs.sector = 64 << 10
		r.during("", false, r.consumer().read)
		wantLog(t, r.log, r.want)
	})
	t.Run("not allowed", func(t *testing.T) {
		r := newFollowRig(t, Options{})
		r.fs.refuse = syscall.EPERM
		r.during("", false, r.consumer().read)
	})
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

// TestBatchMemory: a batch is encoded where direct I/O can take it from, whatever the buffer was before.
func TestBatchMemory(t *testing.T) {
	for _, before := range [][]byte{nil, make([]byte, 10, 5000)[1:], vfs.Aligned(5000)[8:], vfs.Aligned(5000)} {
		for _, n := range []int{512, 4096, 10_000, 2 * maxBatch} {
			w := batchWriter{buf: before}
			w.grow(n)
			w.reset(1)
			if !vfs.IsAligned(w.buf) || cap(w.buf) < n {
				t.Errorf("memory for %d bytes, %d before: %d bytes, aligned: %t", n, cap(before), cap(w.buf), vfs.IsAligned(w.buf))
			}
		}
	}
}
