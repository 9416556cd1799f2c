package sim

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"

	"waybill/internal/vfs"
)

// lyingDisk is the planted bug of a broker that acknowledges before the sync
// of its write-ahead log: the sync says it is done, and is not.
type lyingDisk struct{ *vfs.Mem }

// Open implements vfs.FS.
func (d lyingDisk) Open(name string) (vfs.File, error) {
	f, err := d.Mem.Open(name)
	return lyingFile{f}, err
}

// Create implements vfs.FS.
func (d lyingDisk) Create(name string) (vfs.File, error) {
	f, err := d.Mem.Create(name)
	return lyingFile{f}, err
}

type lyingFile struct{ vfs.File }

// SyncData implements vfs.File.
func (f lyingFile) SyncData() error {
	if strings.HasSuffix(f.Name(), ".wal") {
		return nil
	}
	return f.File.SyncData()
}

// rotFile flips a bit in a file of the node's kind: of the WAL one that lies before the
// last two batches, because of the last one nobody can know whether it was acknowledged
// before it was damaged. It reports whether there was anything to damage.
func (n *node) rotFile(dir string) bool {
	w := n.w
	names, err := n.disk.List("data/" + dir)
	if err != nil || len(names) == 0 {
		return false
	}
	name := "data/" + dir + "/" + names[w.rng.IntN(len(names))]
	size := int64(0)
	if dir == "wal" {
		size = n.beforeLastBatches(name)
	} else if fi, err := n.disk.Stat(name); err == nil {
		size = fi.Size()
	}
	if size <= 0 {
		return false
	}
	off := w.rng.Int64N(size)
	if dir == "wal" {
		if w.rng.IntN(2) == 0 { // what is older is in segments by now, or in a file that is kept as one
			off = max(off, size-1-w.rng.Int64N(8<<10))
		}
		off = min(off, size-1)
	}
	if err := n.disk.Flip(name, off, 1<<w.rng.IntN(8)); err != nil {
		w.fail("flip: %v", err)
		return false
	}
	w.trace("n%d: byte %d of %s rots", n.id, off, name)
	n.rotten = append(n.rotten, rot{name, off})
	return true
}

const batchMagic = 0x4c415757 // see storage's batch.go

// beforeLastBatches is where the last but one batch of a WAL file begins. What is left of the
// file's former life, behind them, has another key and does not count.
func (n *node) beforeLastBatches(name string) int64 {
	b := n.read(name)
	last, before := int64(0), int64(0)
	for at := int64(0); at+512 <= int64(len(b)); at += 512 {
		if binary.LittleEndian.Uint32(b[at:]) == batchMagic && bytes.Equal(b[at+8:at+16], b[8:16]) {
			last, before = at, last
		}
	}
	return before
}

func (n *node) read(name string) []byte {
	f, err := n.disk.OpenRead(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	if err != nil {
		return nil
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil
	}
	return b
}

// truncateRot is the planted bug of a recovery that takes the first batch with a
// wrong checksum for the end of the log.
func (n *node) truncateRot() {
	for _, r := range n.rotten {
		if !strings.HasSuffix(r.file, ".wal") {
			continue
		}
		b := n.read(r.file)
		from := r.off &^ 511
		for from > 0 && binary.LittleEndian.Uint32(b[from:]) != batchMagic {
			from -= 512
		}
		n.zero(r.file, from, int64(len(b)))
		names, _ := n.disk.List("data/wal")
		for _, name := range names {
			if name = "data/wal/" + name; name > r.file {
				n.zero(name, 0, int64(len(n.read(name))))
			}
		}
	}
	n.rotten = nil
}

func (n *node) zero(name string, from, to int64) {
	f, err := n.disk.Open(name)
	if err != nil || from >= to {
		return
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0}, int(to-from)), from); err == nil {
		_ = f.Sync()
	}
}
