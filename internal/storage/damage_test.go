package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// damaged builds a store of some logs with entries in segments and WAL, one of which
// was staged, and returns its files, closed, and what each log holds.
func damaged(t testing.TB) (*vfs.Mem, Options, map[record.LogID][]*raftpb.Entry) {
	t.Helper()
	fs := vfs.NewMem()
	opts := Options{WALFileSize: 32 << 10, SegmentSize: 1 << 20}
	s := openStore(t, fs, opts)
	s.Start()
	want := make(map[record.LogID][]*raftpb.Entry)
	for round := range 12 {
		for id := record.LogID(1); id <= 4; id++ {
			count, size := 3, 1500
			if id > 2 {
				count, size = 1, 20
			}
			want[id] = append(want[id], fill(t, s, s.Log(id), count, size)...)
		}
		fanOut(t, s, want, 1, 4, strings.Repeat(fmt.Sprint("body ", round), 100))
		if round == 9 || round == 11 {
			// The first is in a checkpoint, the last in the WAL alone.
			want[5] = stageAll(t, s, 5, 2+round/11, 11+round)
		}
		if round == 9 {
			l := s.Log(1)
			eventually(t, "a flush", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return len(l.chunks) > 0 })
		}
	}
	eventually(t, "the flusher to rest", func() bool { return len(s.sealed) == 0 && s.Log(1).flushed(s.active.Load()) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs.StrictClone(), opts, want
}

// flushed reports whether the log is in memory for one WAL file only.
func (l *Log) flushed(active uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.tables) == 0 || l.tables[0].wal == active
}

// verdict opens a store that was damaged and reads every log. Each must hold
// exactly what it held, or say that it is damaged. It returns how many do.
func verdict(t testing.TB, fs *vfs.Mem, opts Options, want map[record.LogID][]*raftpb.Entry) (hurt int, err error) {
	opts.Logger, opts.Fatal = quiet(), func(err error) { t.Errorf("fatal: %v", err) }
	for range 2 { // the second opening must not have forgotten
		s, err := Open(fs, "data", opts)
		if err != nil {
			if errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) {
				return len(want), nil
			}
			return 0, err
		}
		hurt = 0
		for id, entries := range want {
			err := readAll(s.Log(id), entries)
			if errors.Is(err, ErrDamaged) {
				if s.Log(id).Damaged() != nil {
					hurt++
					continue
				}
				err = fmt.Errorf("reads fail, but it is not damaged: %w", err)
			}
			if err != nil {
				s.Close()
				return 0, fmt.Errorf("log %d: %w", id, err)
			}
		}
		if err := s.Close(); err != nil {
			return 0, err
		}
		fs = fs.StrictClone()
	}
	return hurt, nil
}

// readAll compares all of a log, by index and by offset.
func readAll(l *Log, want []*raftpb.Entry) error {
	if err := l.Damaged(); err != nil {
		return err
	}
	if int(l.LastIndex()) != len(want)+1 {
		return fmt.Errorf("it ends at %d, not %d", l.LastIndex(), len(want)+1)
	}
	for n := int(l.FirstIndex()) - 2; n < len(want); {
		ents, err := l.Entries(record.Index(n+2), l.LastIndex()+1, 4000, true)
		if err != nil {
			return err
		}
		if err := equalEntries(ents, want[n:n+len(ents)]); err != nil {
			return err
		}
		n += len(ents)
	}
	for n := 0; n < len(want); {
		ents, err := l.ReadFrom(record.Offset(n), 1<<40, 4000, true)
		if err != nil {
			return err
		}
		if len(ents) == 0 {
			return fmt.Errorf("no offset %d", n)
		}
		if err := equalEntries(ents, want[n:n+len(ents)]); err != nil {
			return err
		}
		n += len(ents)
	}
	return nil
}

// dataFiles lists the files that hold data, with their sizes.
func dataFiles(t testing.TB, fs *vfs.Mem) map[string]int64 {
	t.Helper()
	files := make(map[string]int64)
	for _, dir := range []string{"data/wal", "data/seg", "data/checkpoint", "data"} {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			name = dir + "/" + name
			if fi, err := fs.Stat(name); err == nil && !fi.IsDir() && fi.Size() > 0 {
				files[name] = fi.Size()
			}
		}
	}
	return files
}

// TestFlipEveryRegion flips bits at random places of every file. No log may
// ever hold anything else than what was stored, unless it says so; and what was acknowledged
// may only be missing where nothing can prove that it was: in the last batch.
func TestFlipEveryRegion(t *testing.T) {
	base, opts, want := damaged(t)
	for name, size := range dataFiles(t, base) {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(name, "data/"), "/", "_"), func(t *testing.T) {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 1))
			seen := make(map[int]int)
			step := max(1, size/150)
			for at := int64(0); at < size; at += step {
				off := min(size-1, at+rng.Int64N(step))
				mask := byte(1) << rng.IntN(8)
				fs := base.Clone()
				if err := fs.Flip(name, off, mask); err != nil {
					t.Fatal(err)
				}
				hurt, err := verdict(t, fs, opts, want)
				if err != nil {
					t.Fatalf("seed %d: %s, byte %d, mask %#x: %v", seed, name, off, mask, err)
				}
				seen[hurt]++
			}
			t.Logf("damaged logs → flips: %v", seen)
		})
	}
}

// TestTruncate cuts files off at random places.
func TestTruncate(t *testing.T) {
	base, opts, want := damaged(t)
	for name, size := range dataFiles(t, base) {
		for range 12 {
			at := rand.Int64N(size)
			fs := base.Clone()
			f, err := fs.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(at); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if _, err := verdict(t, fs, opts, want); err != nil {
				t.Fatalf("%s of %d bytes cut at %d: %v", name, size, at, err)
			}
		}
	}
}

// unflushed builds a store with one log, whose entries are in several WAL
// files that no checkpoint knows of: one batch in the last one, and a file that
// was not used yet.
func unflushed(t testing.TB) (fs *vfs.Mem, opts Options, want map[record.LogID][]*raftpb.Entry, last uint64) {
	t.Helper()
	fs = vfs.NewMem()
	opts = Options{WALFileSize: 16 << 10}
	s := openStore(t, fs, opts) // and not started: nothing is flushed
	l := s.Log(1)
	for first := s.active.Load(); s.active.Load() < first+2; {
		want = map[record.LogID][]*raftpb.Entry{1: append(want[1], fill(t, s, l, 1, 3000)...)}
	}
	last = s.active.Load()
	eventually(t, "the next file", func() bool { return len(s.preparer.next) > 0 || exists(fs, s.preparer.path(last+1, walSuffix)) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs.StrictClone(), opts, want, last
}

func exists(fs vfs.FS, name string) bool {
	_, err := fs.Stat(name)
	return err == nil
}

// TestTruncateFirstBatch cuts the last WAL file off within its first batch, so
// that no whole batch in it tells how long it was. No checkpoint proves that there was one.
func TestTruncateFirstBatch(t *testing.T) {
	base, opts, want, last := unflushed(t)
	name := "data/wal/" + fileName(last, walSuffix)
	for _, at := range []int64{0, 1, 47, 48, 100, 511, 512, 908, 3000, 3584} {
		fs := base.Clone()
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if hurt, err := verdict(t, fs, opts, want); err != nil || hurt == 0 {
			t.Errorf("cut at %d: %d damaged logs, %v", at, hurt, err)
		}
	}
}

// TestMissingUnflushedFile takes away each WAL file that no checkpoint covers.
func TestMissingUnflushedFile(t *testing.T) {
	base, opts, want, last := unflushed(t)
	for id := last - 2; id <= last; id++ {
		fs := base.Clone()
		if err := fs.Remove("data/wal/" + fileName(id, walSuffix)); err != nil {
			t.Fatal(err)
		}
		if hurt, err := verdict(t, fs, opts, want); err != nil || hurt == 0 {
			t.Errorf("without file %d: %d damaged logs, %v", id, hurt, err)
		}
	}
}

// TestMissingFile takes each file away.
func TestMissingFile(t *testing.T) {
	base, opts, want := damaged(t)
	for name := range dataFiles(t, base) {
		fs := base.Clone()
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := verdict(t, fs, opts, want); err != nil {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestReadErrors lets reads of each kind of file fail.
func TestReadErrors(t *testing.T) {
	base, opts, want := damaged(t)
	for _, kind := range []string{".wal", ".seg", ".ckpt", "STORE"} {
		for after := range 6 {
			fs := base.Clone()
			fs.Inject(vfs.Fault{Op: vfs.OpRead, Name: kind, After: after, Times: 1, Err: syscall.EIO})
			s, err := Open(fs, "data", Options{WALFileSize: opts.WALFileSize, Logger: quiet()})
			if err != nil {
				continue // refused: nothing is served
			}
			for id, entries := range want {
				if err := readAll(s.Log(id), entries); err != nil && !errors.Is(err, ErrDamaged) {
					t.Errorf("%s, read %d: log %d: %v", kind, after, id, err)
				}
			}
			s.Close()
		}
	}
}

// TestOnlyTheHurtLog: a flipped bit in an entry of the WAL hurts its log alone.
func TestOnlyTheHurtLog(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	for id := record.LogID(1); id <= 3; id++ {
		put(t, s, s.Log(id), entry(2, 1, 0, 1, fmt.Sprintf("needle %d", id)))
	}
	s.Close()
	name := "data/wal/000000000001.wal"
	b, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Flip(name, int64(bytes.Index(b, []byte("needle 2"))), 4); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s = openStore(t, fs, Options{})
		for id := record.LogID(1); id <= 3; id++ {
			l := s.Log(id)
			_, err := l.Entries(2, 3, 1, true)
			if id != 2 && (err != nil || l.Damaged() != nil) {
				t.Fatal(id, err, l.Damaged())
			}
			if id == 2 && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name)) {
				t.Fatal(err)
			}
		}
		w := make(waiter, 1)
		s.Append(&Append{Log: s.Log(2), Sync: true, HardState: hard(5, 5, 5), Done: w})
		if a := <-w; !errors.Is(a.Err, ErrDamaged) {
			t.Fatal(a.Err)
		}
		s.Close()
		fs = fs.StrictClone()
	}
	if names, _ := fs.List("data/damaged"); len(names) != 1 {
		t.Fatal(names)
	}
	s = openStore(t, fs, Options{})
	s.Delete(2)
	s.Close()
	s = openStore(t, fs.StrictClone(), Options{})
	if err := s.Log(2).Damaged(); err != nil {
		t.Fatal(err)
	}
}

// TestTornTail: what is left of a batch that was never acknowledged is cut off.
func TestTornTail(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{proveAfter: time.Hour})
	want := fill(t, s, s.Log(1), 5, 2000)
	clone := fs.Clone() // before the batch of Close, which proves the one before it
	b, err := readFile(clone, "data/wal/000000000001.wal")
	if err != nil {
		t.Fatal(err)
	}
	at := int64(bytes.LastIndex(b, []byte("xxx")))
	if err := clone.Flip("data/wal/000000000001.wal", at, 1); err != nil {
		t.Fatal(err)
	}
	s2 := openStore(t, clone, Options{})
	same(t, s2.Log(1), want[:4])
	if err := s2.Log(1).Damaged(); err != nil {
		t.Fatal(err)
	}
	// After Close the same flip is damage.
	s.Close()
	if err := fs.Flip("data/wal/000000000001.wal", at, 1); err != nil {
		t.Fatal(err)
	}
	s3 := openStore(t, fs, Options{})
	if err := s3.Log(1).Damaged(); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestIdleWALProvesItsLastBatch: damage of the last acknowledged batch is told
// from a torn one after a crash too, once the WAL was idle for a moment.
func TestIdleWALProvesItsLastBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s := openStore(t, fs, Options{})
		fill(t, s, s.Log(1), 3, 2000)
		for _, idle := range []bool{false, true} {
			if idle {
				time.Sleep(2 * time.Second) // of the bubble
			}
			clone := fs.StrictClone() // the power goes
			const name = "data/wal/000000000001.wal"
			b, err := readFile(clone, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := clone.Flip(name, int64(bytes.LastIndex(b, []byte("xxx"))), 1); err != nil {
				t.Fatal(err)
			}
			if err := openStore(t, clone, Options{}).Log(1).Damaged(); errors.Is(err, ErrDamaged) != idle {
				t.Errorf("idle %v: %v", idle, err)
			}
		}
	})
}

func TestForeignDirectory(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("data/photos"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fs, "data", Options{}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "photos") {
		t.Fatal(err)
	}
	if names, _ := fs.List("data"); len(names) != 2 {
		t.Fatal(names) // photos and LOCK
	}
}

func TestDump(t *testing.T) {
	fs, _, _ := damaged(t)
	var out strings.Builder
	for name := range dataFiles(t, fs) {
		var err error
		switch {
		case strings.HasSuffix(name, walSuffix):
			err = DumpWAL(&out, fs, name)
		case strings.HasSuffix(name, segSuffix):
			err = DumpSegment(&out, fs, name)
		case strings.HasSuffix(name, checkpointSuffix):
			err = DumpCheckpoint(&out, fs, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"batch ", "entries", "hard-state", "chunk of log 1", "mark: index 2", "checkpoint, ", "offsets [0, 1)", "install, ", "from index 1 on; applied 23"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the dump", want)
		}
	}
	if strings.Contains(out.String(), "BAD") {
		t.Error(out.String())
	}
}

// A damaged WAL file in which nothing is whole is evidence all the same, and
// a recovery that is interrupted must find it again.
func TestDamagedFileIsNotUsedAgain(t *testing.T) {
	fs := vfs.NewMem()
	opts := Options{WALFileSize: 64 << 10} // a batch each
	s := openStore(t, fs, opts)
	l := s.Log(1)
	for i := range uint64(3) {
		put(t, s, l, entry(2+i, 1, record.Offset(i), 1, strings.Repeat("x", 40<<10)))
	}
	id := s.active.Load() - 1
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	base := fileName(id, walSuffix)
	if err := fs.Flip("data/wal/"+base, 20<<10, 1); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, opts)
	if err := s.Log(1).Damaged(); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	if names, err := fs.List("data/damaged"); err != nil || !slices.Contains(names, base) {
		t.Fatalf("%s is not among those set aside: %v, %v", base, names, err)
	}
}
