package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/vfs"
)

// onBoth runs a test over both file systems, each with an empty directory.
func onBoth(t *testing.T, test func(t *testing.T, fs vfs.FS, dir string)) {
	t.Run("OS", func(t *testing.T) { test(t, vfs.OS{}, t.TempDir()) })
	t.Run("Mem", func(t *testing.T) {
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("/data"))
		test(t, fs, "/data")
	})
}

// fataler is a *testing.T, *testing.B or *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, fs vfs.FS, name, data string) vfs.File {
	t.Helper()
	f, err := fs.Create(name)
	must(t, err)
	write(t, f, data, 0)
	return f
}

func write(t testing.TB, f vfs.File, data string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(data), off)
	must(t, err)
}

// content returns what the file holds; ok is false when there is none.
func content(t fataler, fs vfs.FS, name string) (data string, ok bool) {
	t.Helper()
	f, err := fs.OpenRead(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", false
	}
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	must(t, err)
	return string(b), true
}

func TestModel(t *testing.T) {
	onBoth(t, func(t *testing.T, fs vfs.FS, dir string) {
		run := 0
		rapid.Check(t, func(rt *rapid.T) {
			run++
			m := &model{fs: fs, dir: path.Join(dir, fmt.Sprint("run", run)), files: map[string][]byte{}}
			if err := fs.MkdirAll(m.dir); err != nil {
				rt.Fatal(err)
			}
			defer m.clear(rt)
			rt.Repeat(rapid.StateMachineActions(m))
		})
	})
}

// model is what a file system with two directories should hold.
type model struct {
	fs    vfs.FS
	dir   string
	files map[string][]byte
}

var modelNames = rapid.SampledFrom([]string{"a", "b", "c", "sub/a", "sub/b"})

func (m *model) clear(t *rapid.T) {
	for name := range m.files {
		if err := m.fs.Remove(path.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *model) open(t *rapid.T, name string) vfs.File {
	f, err := m.fs.Open(path.Join(m.dir, name))
	_, exists := m.files[name]
	switch {
	case exists && err != nil:
		t.Fatalf("open %s: %v", name, err)
	case !exists && !errors.Is(err, os.ErrNotExist):
		t.Fatalf("open %s, which does not exist: %v", name, err)
	case !exists:
		t.Skip("no such file")
	}
	return f
}

func (m *model) Mkdir(t *rapid.T) {
	if err := m.fs.MkdirAll(path.Join(m.dir, "sub")); err != nil {
		t.Fatal(err)
	}
}

func (m *model) subExists() bool {
	fi, err := m.fs.Stat(path.Join(m.dir, "sub"))
	return err == nil && fi.IsDir()
}

func (m *model) Create(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f, err := m.fs.Create(path.Join(m.dir, name))
	_, exists := m.files[name]
	switch {
	case exists && errors.Is(err, os.ErrExist):
	case path.Dir(name) == "sub" && !m.subExists() && errors.Is(err, os.ErrNotExist):
	case exists || err != nil:
		t.Fatalf("create %s (exists: %v): %v", name, exists, err)
	default:
		m.files[name] = nil
		f.Close()
	}
}

func (m *model) Write(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := m.open(t, name)
	defer f.Close()
	off := rapid.IntRange(0, 10_000).Draw(t, "off")
	data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 9_000).Draw(t, "len"))
	if n, err := f.WriteAt(data, int64(off)); n != len(data) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	if len(data) == 0 {
		return
	}
	m.files[name] = resize(m.files[name], max(len(m.files[name]), off+len(data)))
	copy(m.files[name][off:], data)
}

// WriteDirectly goes past the page cache, between writes that do not.
func (m *model) WriteDirectly(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := m.open(t, name)
	defer f.Close()
	off := vfs.DirectUnit * rapid.IntRange(0, 20).Draw(t, "off")
	skip := vfs.DirectUnit * rapid.IntRange(0, 3).Draw(t, "skip")
	data := vfs.Aligned(skip + vfs.DirectUnit*rapid.IntRange(1, 18).Draw(t, "len"))[skip:]
	for i, b := 0, rapid.Byte().Draw(t, "byte"); i < len(data); i++ {
		data[i] = b
	}
	if err := f.SetDirect(true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(data, int64(off)); n != len(data) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	if err := f.SetDirect(false); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(data[:1], int64(off+1)); n != 1 || err != nil { // as ever
		t.Fatalf("write: %d, %v", n, err)
	}
	m.files[name] = resize(m.files[name], max(len(m.files[name]), off+len(data)))
	copy(m.files[name][off:], data)
}

func (m *model) Truncate(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := m.open(t, name)
	defer f.Close()
	size := rapid.IntRange(0, 20_000).Draw(t, "size")
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	m.files[name] = resize(m.files[name], size)
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (m *model) Read(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := m.open(t, name)
	defer f.Close()
	off := rapid.IntRange(0, 25_000).Draw(t, "off")
	p := make([]byte, rapid.IntRange(1, 9_000).Draw(t, "len"))
	n, err := f.ReadAt(p, int64(off))
	want := m.files[name][min(off, len(m.files[name])):]
	want = want[:min(len(want), len(p))]
	if !bytes.Equal(p[:n], want) || n == len(p) && err != nil || n < len(p) && !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes of %s at %d: %d, %v; want %d bytes", len(p), name, off, n, err, len(want))
	}
}

func (m *model) Rename(t *rapid.T) {
	from, to := modelNames.Draw(t, "from"), modelNames.Draw(t, "to")
	err := m.fs.Rename(path.Join(m.dir, from), path.Join(m.dir, to))
	_, exists := m.files[from]
	if !exists || path.Dir(to) == "sub" && !m.subExists() {
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("rename %s (exists: %v) to %s: %v", from, exists, to, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if from != to {
		m.files[to] = m.files[from]
		delete(m.files, from)
	}
}

func (m *model) Remove(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	err := m.fs.Remove(path.Join(m.dir, name))
	if _, exists := m.files[name]; exists != (err == nil) || !exists && !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("remove %s (exists: %v): %v", name, exists, err)
	}
	delete(m.files, name)
}

func (m *model) Sync(t *rapid.T) {
	f := m.open(t, modelNames.Draw(t, "name"))
	defer f.Close()
	if err := errors.Join(f.WriteOut(0, 1<<20), f.SyncData(), f.Sync(), m.fs.SyncDir(m.dir)); err != nil {
		t.Fatal(err)
	}
}

// Check compares all that can be seen.
func (m *model) Check(t *rapid.T) {
	var want []string
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if path.Dir(name) == "." {
			want = append(want, name)
		}
		fi, err := m.fs.Stat(path.Join(m.dir, name))
		if err != nil || fi.Size() != int64(len(m.files[name])) || fi.IsDir() || fi.Name() != path.Base(name) {
			t.Fatalf("stat %s: %v, %v; want %d bytes", name, fi, err, len(m.files[name]))
		}
	}
	if m.subExists() {
		want = append(want, "sub")
	}
	if got, err := m.fs.List(m.dir); err != nil || !slices.Equal(got, want) {
		t.Fatalf("list: %v, %v; want %v", got, err, want)
	}
}

// TestMisalignedDirect: a [vfs.Mem] finds what some disk would refuse.
func TestMisalignedDirect(t *testing.T) {
	m := vfs.NewMem()
	must(t, m.MkdirAll("dir"))
	f := create(t, m, "dir/file", "")
	defer f.Close()
	must(t, f.SetDirect(true))
	mem := vfs.Aligned(4 * vfs.DirectUnit)
	for what, do := range map[string]func(){
		"length": func() { _, _ = f.WriteAt(mem[:100], 0) },
		"memory": func() { _, _ = f.WriteAt(mem[8:][:vfs.DirectUnit], 0) },
		"offset": func() { _, _ = f.WriteAt(mem, 100) },
		"read":   func() { _, _ = f.ReadAt(mem, 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			do()
		}()
	}
}

func TestErrors(t *testing.T) {
	onBoth(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := path.Join(dir, "file")
		f := create(t, fs, name, "x")
		if f.Name() != name {
			t.Errorf("Name() = %q, want %q", f.Name(), name)
		}
		must(t, fs.MkdirAll(path.Join(dir, "full")))
		create(t, fs, path.Join(dir, "full/file"), "").Close()
		r, err := fs.OpenRead(name)
		must(t, err)
		_, writeErr := r.WriteAt([]byte("y"), 0)
		_, readErr := f.ReadAt(make([]byte, 1), -1)
		_, listErr := fs.List(name)
		_, nowhere := fs.List(path.Join(dir, "none"))
		_, _, freeErr := fs.Free(path.Join(dir, "none"))
		_, below := fs.Create(path.Join(name, "below"))
		must(t, r.Close())
		must(t, f.Close())
		_, closedErr := f.ReadAt(make([]byte, 1), 0)
		for what, err := range map[string]error{
			"write to a file opened for reading": writeErr,
			"read at a negative offset":          readErr,
			"list of a file":                     listErr,
			"list of nothing":                    nowhere,
			"free space of nothing":              freeErr,
			"create below a file":                below,
			"read of a closed file":              closedErr,
			"direct I/O of a closed file":        f.SetDirect(true),
			"sync of a closed file":              f.Sync(),
			"datasync of a closed file":          f.SyncData(),
			"write-out of a closed file":         f.WriteOut(0, 1),
			"second close":                       f.Close(),
			"mkdir over a file":                  fs.MkdirAll(name),
			"remove of a full directory":         fs.Remove(path.Join(dir, "full")),
			"rename to a directory":              fs.Rename(name, path.Join(dir, "full")),
			"rename of a directory into itself":  fs.Rename(path.Join(dir, "full"), path.Join(dir, "full/sub")),
			"rename of a directory to a file":    fs.Rename(path.Join(dir, "full"), name),
			"sync of no directory":               fs.SyncDir(path.Join(dir, "none")),
		} {
			if err == nil {
				t.Errorf("%s succeeds", what)
			}
		}
		if !errors.Is(closedErr, os.ErrClosed) {
			t.Errorf("read of a closed file: %v", closedErr)
		}
	})
}

func TestLock(t *testing.T) {
	onBoth(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := path.Join(dir, "lock")
		l, err := fs.Lock(name)
		must(t, err)
		if _, err := fs.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		if l.Close() == nil {
			t.Error("second close succeeds")
		}
		l, err = fs.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

func TestFree(t *testing.T) {
	onBoth(t, func(t *testing.T, fs vfs.FS, dir string) {
		free, total, err := fs.Free(dir)
		if err != nil || free == 0 || free > total {
			t.Fatalf("free %d of %d, %v", free, total, err)
		}
	})
}

// An open file outlives its name, as the reader of a removed segment needs.
func TestRemovedWhileOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, fs vfs.FS, dir string) {
		f := create(t, fs, path.Join(dir, "a"), "old")
		must(t, fs.Remove(path.Join(dir, "a")))
		create(t, fs, path.Join(dir, "a"), "new").Close()
		p := make([]byte, 3)
		_, err := f.ReadAt(p, 0)
		must(t, err)
		if string(p) != "old" {
			t.Errorf("read %q", p)
		}
		must(t, f.Close())
	})
}
