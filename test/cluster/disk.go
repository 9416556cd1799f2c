package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// PowerCut cuts the power of a node with a disk of its own: what it has not synced is
// gone. The node is to be started again after Repower.
func (n *Node) PowerCut() {
	n.Disk.Cut()
	n.Kill()
}

// settle is how long nodes run on after their disks were cut: time to
// acknowledge what is lost, if they would.
const settle = 3 * time.Millisecond

// PowerCut cuts the power of nodes together, all disks before any process and at the same time: a node
// must not sync what another one has lost.
func PowerCut(nodes ...*Node) {
	var cuts sync.WaitGroup
	for _, n := range nodes {
		cuts.Go(n.Disk.Cut)
	}
	cuts.Wait()
	time.Sleep(settle) // part of the fault, not a wait for anything
	for _, n := range nodes {
		n.Kill()
	}
}

// Repower mounts the disk again.
func (n *Node) Repower() {
	n.Disk.Unmount()
	n.Disk.Mount()
}

// FillDisk fills the disk of a node to the last block.
func (n *Node) FillDisk() error {
	n.filler = filepath.Join(n.Disk.Dir, "filler")
	f, err := os.Create(n.filler)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the file counts, not what is in it
	for size := int64(64 << 20); size >= 4096; {
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		switch err := syscall.Fallocate(int(f.Fd()), 0, end, size); {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case !errors.Is(err, syscall.EINTR):
			return err
		}
	}
	return nil
}

// FreeDisk takes away what FillDisk made.
func (n *Node) FreeDisk() error {
	if n.filler == "" {
		return nil
	}
	name := n.filler
	n.filler = ""
	return os.Remove(name)
}

// tracer is an strace that makes system calls of a node fail.
type tracer struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// FailSyncs makes every sync of the node fail with EIO from now on, which ends it. It needs strace.
func (n *Node) FailSyncs() error {
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", fmt.Sprint(n.Pid()),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	if err := cmd.Start(); err != nil {
		return err
	}
	n.strace = &tracer{cmd, make(chan struct{})}
	go func(t *tracer) {
		_ = t.cmd.Wait() // it ends with the node
		close(t.exited)
	}(n.strace)
	return nil
}

// HealSyncs ends the tracer, with the node when that has not ended by itself.
func (n *Node) HealSyncs() {
	if n.strace == nil {
		return
	}
	n.Kill()
	select {
	case <-n.strace.exited:
	case <-time.After(5 * time.Second):
		_ = n.strace.cmd.Process.Kill()
		<-n.strace.exited
	}
	n.strace = nil
}

// Kinds of files in a data directory: the name of the directory below it that they are
// in, "" for the files at its top. A WAL file that is kept as a segment is of the segments' kind, wherever
// it lies: when it is damaged it behaves like one.
const (
	KindWAL        = "wal"
	KindCheckpoint = "checkpoint"
	KindSegment    = "seg"
	KindTop        = ""
)

// Files lists the files of a kind, by name. Kinds that do not exist have none. The node must not run:
// which WAL files are kept changes under way.
func (n *Node) Files(kind string) ([]string, error) {
	files, err := n.within(kind)
	if err != nil || kind != KindWAL && kind != KindSegment {
		return files, err
	}
	wal := files
	if kind == KindSegment {
		if wal, err = n.within(KindWAL); err != nil {
			return nil, err
		}
	}
	kept, err := n.Kept()
	if err != nil {
		return nil, err
	}
	isKept := func(name string) bool {
		number, _ := strings.CutSuffix(strings.TrimLeft(filepath.Base(name), "0"), ".wal")
		return slices.Contains(kept, number)
	}
	if kind == KindWAL {
		return slices.DeleteFunc(files, isKept), nil
	}
	return append(files, slices.DeleteFunc(wal, func(name string) bool { return !isKept(name) })...), nil
}

var keptFile = regexp.MustCompile(`(?m)^segment \d+: .*, WAL file (\d+)$`)

// Kept lists the numbers of the WAL files that are kept. The checkpoint says which; the node will read the
// newest that is whole, and so does this. Without one nothing is kept. The node may run: then they may
// be others a moment later.
func (n *Node) Kept() ([]string, error) {
	checkpoints, err := n.within(KindCheckpoint)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(checkpoints) {
		out, err := exec.Command(n.c.opts.Binary, "debug", "checkpoint", name).Output()
		if errors.As(err, new(*exec.ExitError)) {
			continue // it is damaged, is not finished, or is gone
		}
		if err != nil {
			return nil, err
		}
		var kept []string
		for _, m := range keptFile.FindAllSubmatch(out, -1) {
			kept = append(kept, string(m[1]))
		}
		return kept, nil
	}
	return nil, nil
}

// within lists the files below a directory of the data directory, by name.
func (n *Node) within(kind string) ([]string, error) {
	var files []string
	root := filepath.Join(n.data, kind)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && kind == KindTop && name != root:
			return fs.SkipDir
		case d.Type().IsRegular() && !strings.HasSuffix(strings.ToUpper(name), "LOCK"):
			files = append(files, name)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// rotEvery is how many bytes of a file have one bit more that flips.
const rotEvery = 64 << 10

// Rot flips a few bits in every file of a kind, where something is written, more in a large one. The node must not run. It
// returns the names of the files that it damaged.
func (n *Node) Rot(kind string, rng *rand.Rand) ([]string, error) {
	return n.damage(kind, func(f *os.File, size int64) error {
		for range 3 + size/rotEvery {
			if err := flip(f, rng.Int64N(size), rng); err != nil {
				return err
			}
		}
		return nil
	})
}

// Truncate cuts off the last third of every file of a kind, and returns their names. The node must not run.
func (n *Node) Truncate(kind string) ([]string, error) {
	return n.damage(kind, func(f *os.File, size int64) error { return f.Truncate(size * 2 / 3) })
}

// damage does something to the written part of every file of a kind.
func (n *Node) damage(kind string, do func(f *os.File, written int64) error) (damaged []string, err error) {
	files, err := n.Files(kind)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return damaged, err
		}
		written, err := writtenLength(f)
		if err == nil && written > 0 {
			err = do(f, written)
			damaged = append(damaged, name)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// writtenLength is the length of a file without the zeros at its end, of which
// files that are made in advance have many.
func writtenLength(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := st.Size(); end > 0; {
		from := max(0, end-int64(len(buf)))
		part := buf[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != 0 {
				return from + int64(i) + 1, nil
			}
		}
		end = from
	}
	return 0, nil
}

func flip(f *os.File, at int64, rng *rand.Rand) error {
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << rng.IntN(8)
	_, err := f.WriteAt(b[:], at)
	return err
}

// DamageBytes flips a bit of the last byte in every place of the data directory where
// text stands, and returns in how many. The node must not run.
func (n *Node) DamageBytes(text []byte) (int, error) {
	places := 0
	err := filepath.WalkDir(n.data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		before := places
		for at := 0; ; {
			i := bytes.Index(data[at:], text)
			if i < 0 {
				break
			}
			data[at+i+len(text)-1] ^= 1
			at += i + len(text)
			places++
		}
		if places == before {
			return nil
		}
		return os.WriteFile(name, data, 0o600)
	})
	return places, err
}

// Wipe removes everything that the node has. It must not run.
func (n *Node) Wipe() error { return os.RemoveAll(n.data) }
