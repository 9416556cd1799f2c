package storage

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

func payload(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return string(b)
}

// consumed lets all that is written die at once.
func consumed(logs func(record.LogID) *Log) func(record.LogID) (Checkpoint, bool) {
	return func(id record.LogID) (Checkpoint, bool) {
		l := logs(id)
		last := l.LastIndex()
		term, err := l.Term(last)
		return Checkpoint{Applied: last, Term: term, ConfState: &raftpb.ConfState{Voters: []uint64{1}}}, err == nil && last > 1
	}
}

func benchStore(b *testing.B, opts Options) *Store {
	b.Helper()
	opts.Logger = quiet()
	var s *Store
	if opts.Checkpoint == nil {
		opts.Checkpoint = consumed(func(id record.LogID) *Log { return s.Log(id) })
	}
	opts.Fatal = func(err error) { panic(err) }
	s, err := Open(vfs.OS{}, filepath.ToSlash(b.TempDir()), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	s.Start()
	return s
}

// producer appends one entry after the other to a log of its own.
type producer struct {
	log    *Log
	data   string
	index  uint64
	append Append
	done   chan struct{}
}

func (p *producer) AppendDone(*Append) { p.done <- struct{}{} }

func (p *producer) next() {
	p.index++
	p.append = Append{Log: p.log, Sync: true, Done: p,
		Entries: []*raftpb.Entry{entry(p.index, 1, record.Offset(p.index-2), 1, p.data)}}
}

// BenchmarkGroupCommit: closed-loop producers of 1 KiB, each with a log of its
// own, each waiting for its sync before the next.
func BenchmarkGroupCommit(b *testing.B) {
	for _, producers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) {
			s := benchStore(b, Options{})
			warmUp(s)
			data := payload(1024)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.SetBytes(1024)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range producers {
				wg.Go(func() {
					p := &producer{log: s.Log(record.LogID(i + 10)), data: data, index: 1, done: make(chan struct{}, 1)}
					for left.Add(-1) >= 0 {
						p.next()
						s.Append(&p.append)
						<-p.done
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// warmUp writes until the WAL files have their full size.
func warmUp(s *Store) {
	p := &producer{log: s.Log(9), data: payload(256 << 10), index: 1, done: make(chan struct{}, 1)}
	for range 2400 {
		p.next()
		s.Append(&p.append)
		<-p.done
	}
}

// BenchmarkRawSync is the same without a store: one WriteAt and one fdatasync
// into a file that was zeroed before.
func BenchmarkRawSync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			const room = 128 << 20
			f, err := vfs.OS{}.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := zero(f, 0, room); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			buf := []byte(payload(size))
			b.SetBytes(int64(size))
			for pos := int64(0); b.Loop(); pos = (pos + int64(size)) % room {
				if _, err := f.WriteAt(buf, pos); err != nil {
					b.Fatal(err)
				}
				if err := f.SyncData(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend is the processor's share of an append: the disk is one that
// does nothing, and many requests wait at once.
func BenchmarkAppend(b *testing.B) {
	var s *Store
	s, err := Open(nullFS{vfs.NewMem()}, "data", Options{
		Logger: quiet(), WALFileSize: 16 << 20,
		Checkpoint: consumed(func(id record.LogID) *Log { return s.Log(id) }),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.Start()
	const batch = 64
	data := payload(1024)
	done := make(waiter, batch)
	reqs := make([]Append, batch)
	entries := make([]*raftpb.Entry, b.N)
	for i := range entries {
		entries[i] = entry(uint64(i+2), 1, record.Offset(i), 1, data)
	}
	l := s.Log(1)
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		n := min(batch, b.N-i)
		for k := range n {
			reqs[k] = Append{Log: l, Entries: entries[i+k : i+k+1], Sync: true, Done: done}
			s.Append(&reqs[k])
		}
		for range n {
			<-done
		}
	}
}

// nullFS keeps files, but writing a batch and syncing it costs nothing.
type nullFS struct{ vfs.FS }

func (f nullFS) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return nullFile{file}, err
}

func (f nullFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return nullFile{file}, err
}

type nullFile struct{ vfs.File }

func (f nullFile) WriteAt(b []byte, off int64) (int, error) {
	if le.Uint32(b) == batchMagic {
		return len(b), nil
	}
	return f.File.WriteAt(b, off)
}

func (f nullFile) SyncData() error { return nil }

// BenchmarkReadSegments reads a backlog from the first offset to the last.
func BenchmarkReadSegments(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			total := 256 << 20
			s := benchStore(b, Options{WALFileSize: 16 << 20, Checkpoint: func(record.LogID) (Checkpoint, bool) { return Checkpoint{}, false }})
			l, end := backlog(b, s, total/size, size)
			b.SetBytes(int64(size) * int64(end))
			b.ReportAllocs()
			for b.Loop() {
				for off := record.Offset(0); off < end; {
					ents, err := l.ReadFrom(off, end, 256<<10, true)
					if err != nil || len(ents) == 0 {
						b.Fatal(off, len(ents), err)
					}
					h, _, err := record.ParseHeader(ents[len(ents)-1].Data)
					if err != nil {
						b.Fatal(err)
					}
					off = h.End()
				}
			}
		})
	}
}

// backlog appends count messages and waits until they are in segments; it
// returns the offset up to which they are.
func backlog(b *testing.B, s *Store, count, size int) (*Log, record.Offset) {
	b.Helper()
	l, data := s.Log(1), payload(size)
	const batch = 256
	for i := 0; i < count; i += batch {
		var ents []*raftpb.Entry
		for k := i; k < i+batch; k++ {
			ents = append(ents, entry(uint64(k+2), 1, record.Offset(k), 1, data))
		}
		put(b, s, l, ents...)
	}
	active := s.active.Load()
	for end := time.Now().Add(time.Minute); !l.flushed(active); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("never flushed")
		}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l, l.chunks[len(l.chunks)-1].end
}

// BenchmarkRecovery opens a store with a tail of 64 MiB.
func BenchmarkRecovery(b *testing.B) {
	dir := filepath.ToSlash(b.TempDir())
	opts := Options{WALFileSize: 256 << 20, Logger: quiet()}
	s, err := Open(vfs.OS{}, dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	const tail = 64 << 20
	var ents []*raftpb.Entry
	for n := range 64 << 10 {
		ents = append(ents, entry(uint64(n+2), 1, record.Offset(n), 1, payload(1011)))
	}
	put(b, s, s.Log(1), ents...)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(tail)
	for b.Loop() {
		s, err := Open(vfs.OS{}, dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if s.Log(1).LastIndex() != 64*1024+1 {
			b.Fatal(s.Log(1).LastIndex())
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkBacklogMemory reports the memory that a waiting message costs once it is in segments.
func BenchmarkBacklogMemory(b *testing.B) {
	s := benchStore(b, Options{WALFileSize: 16 << 20, Checkpoint: func(record.LogID) (Checkpoint, bool) { return Checkpoint{}, false }})
	l, end := backlog(b, s, 256<<10, 1<<10)
	l.mu.RLock()
	chunks := len(l.chunks)
	l.mu.RUnlock()
	for b.Loop() {
	}
	const chunkBytes = 144 // unsafe.Sizeof(chunk{}) and the pointer to it
	b.ReportMetric(float64(chunks*chunkBytes)/float64(end), "B/message")
	b.ReportMetric(0, "ns/op")

}
