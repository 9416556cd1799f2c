package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

const (
	segSuffix = ".seg"
	maxOpen   = 256 // open segment files that nobody uses
)

// segment is a file of chunks, append-only, of one log or shared by the remnants
// of many; or a WAL file that is kept (keep.go), which is shared, too.
type segment struct {
	set    *segments
	number uint64
	wal    uint64       // id of the WAL file, which stays where it is; 0: a file of chunks
	owner  record.LogID // whose chunks it holds, if !shared
	shared bool
	short  bool // it is a WAL file that is being cut off, or was: it is not used again

	// Owned by the flusher.
	size   int64 // bytes that chunks of the last checkpoint, or the next, take
	live   int64 // bytes of size that were needed, when a checkpoint looked last
	spared int   // checkpoints in a row that did not rewrite it because it is being drained
	stuck  bool  // it holds damage, and is not rewritten

	// Protected by segments.mu.
	file  vfs.File // nil: not open
	refs  int
	gone  bool // no checkpoint lists it: to be removed when refs is 0
	inUse uint64
}

// drains notes how many bytes are needed, and reports whether a quarter of those that were is not any more: so it is where a queue is
// being drained.
func (s *segment) drains(live int64) bool {
	was := s.live
	s.live = live
	return was-live > was/4
}

// segments are the segment files of a store.
type segments struct {
	fs      vfs.FS
	dir     string
	walDir  string
	fail    func(error)
	remove  func(name string) error             // takes a file that is not needed any more
	recycle func(name string, size int64) error // takes a WAL file that is not kept any more

	walBatch atomic.Int64 // bytes of the last batch of the WAL

	mu     sync.Mutex
	next   uint64     // number of the next segment
	open   []*segment // with a file
	clock  uint64
	closed bool

	installed []*segment // with chunks that a stage brought; the flusher has not taken note yet
}

// make makes a segment: its file is durable after a sync of it and of the directory.
func (s *segments) make(owner record.LogID, shared bool) (*segment, error) {
	s.mu.Lock()
	seg := &segment{set: s, number: s.next, owner: owner, shared: shared}
	s.next++
	s.mu.Unlock()
	return seg, seg.create()
}

// keep makes a segment of a WAL file, which is cut off if it is short. The file is another's until a checkpoint lists the segment.
func (s *segments) keep(wal uint64, short bool) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := &segment{set: s, number: s.next, wal: wal, shared: true, short: short}
	s.next++
	return seg
}

// install tells the flusher of segments that a log uses from now on.
func (s *segments) install(segs []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.installed = append(s.installed, segs...)
}

// takeInstalled returns what install was told since the last call.
func (s *segments) takeInstalled() []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	segs := s.installed
	s.installed = nil
	return segs
}

// nextNumber is higher than that of any segment.
func (s *segments) nextNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (s *segment) name() string {
	if s.wal != 0 {
		return path.Join(s.set.walDir, fileName(s.wal, walSuffix))
	}
	return path.Join(s.set.dir, fileName(s.number, segSuffix))
}

// seed starts the CRCs of the file's chunks.
func (s *segment) seed() uint32 {
	if s.wal != 0 {
		return seed64(s.wal)
	}
	return seed64(s.number)
}

// retain keeps the file until release. The caller holds a lock under
// which the segment is known not to be gone.
func (s *segment) retain() {
	s.set.mu.Lock()
	s.refs++
	s.set.mu.Unlock()
}

func (s *segment) release() {
	s.set.mu.Lock()
	s.refs--
	last := s.isOver()
	s.set.mu.Unlock()
	if last {
		s.remove()
	}
}

// drop removes the file as soon as nobody reads it.
func (s *segment) drop() {
	s.set.mu.Lock()
	s.gone = true
	last := s.isOver()
	s.set.mu.Unlock()
	if last {
		s.remove()
	}
}

// isOver closes a segment that nobody needs any more, and reports whether its file is to be removed.
func (s *segment) isOver() bool {
	if !s.gone || s.refs > 0 {
		return false
	}
	s.close()
	return !s.set.closed // else the directory may be another store's, and that has tidied it
}

// remove is called once, without a lock: readers do not wait for the disk.
func (s *segment) remove() {
	// One that is missing was reported when the store was opened.
	if err := s.letGo(); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.set.fail(fmt.Errorf("remove a segment: %w", err))
	}
}

// letGo removes the file, or gives it back to the WAL.
func (s *segment) letGo() error {
	if s.wal == 0 || s.short { // what is cut off is removed when that is done
		return s.set.remove(s.name())
	}
	fi, err := s.set.fs.Stat(s.name())
	if err != nil {
		return err
	}
	return s.set.recycle(s.name(), fi.Size())
}

func (s *segment) close() {
	if s.file == nil {
		return
	}
	closeClean(s.file)
	s.file = nil
	if i := slices.Index(s.set.open, s); i >= 0 {
		s.set.open = slices.Delete(s.set.open, i, i+1)
	}
}

// handle returns the open file of a segment that is retained.
func (s *segment) handle() (vfs.File, error) {
	set := s.set
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.closed {
		return nil, ErrClosed
	}
	set.clock++
	s.inUse = set.clock
	if s.file != nil {
		return s.file, nil
	}
	f, err := set.fs.Open(s.name())
	if err != nil {
		return nil, err
	}
	set.opened(s, f)
	return f, nil
}

// create makes the file of a new segment.
func (s *segment) create() error {
	f, err := s.set.fs.Create(s.name())
	if err != nil {
		return err
	}
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	s.set.opened(s, f)
	return nil
}

// opened notes an open file, and closes the one that was not used for the
// longest time when there are too many.
func (s *segments) opened(seg *segment, f vfs.File) {
	seg.file = f
	if len(s.open) >= maxOpen {
		var oldest *segment
		for _, o := range s.open {
			if o.refs == 0 && (oldest == nil || o.inUse < oldest.inUse) {
				oldest = o
			}
		}
		if oldest != nil {
			oldest.close()
		}
	}
	s.open = append(s.open, seg)
}

// closeAll closes the files at the end.
func (s *segments) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for len(s.open) > 0 {
		s.open[len(s.open)-1].close()
	}
}
