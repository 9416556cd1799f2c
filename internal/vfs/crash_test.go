package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/vfs"
)

const sector = 512

// synced makes a file that is durable by contents and name.
func synced(t testing.TB, fs vfs.FS, name, data string) vfs.File {
	t.Helper()
	f := create(t, fs, name, data)
	must(t, f.Sync())
	must(t, fs.SyncDir("/"))
	return f
}

func TestStrictCloneLosesAllThatIsNotSynced(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, m *vfs.Mem)
		want    map[string]string // "" for what must be gone
	}{
		{"a synced file", func(t *testing.T, m *vfs.Mem) {
			synced(t, m, "a", "x")
		}, map[string]string{"a": "x"}},
		{"a file whose name is not synced", func(t *testing.T, m *vfs.Mem) {
			must(t, create(t, m, "a", "x").Sync())
		}, map[string]string{"a": ""}},
		{"a write after the sync", func(t *testing.T, m *vfs.Mem) {
			write(t, synced(t, m, "a", "xx"), "y", 0)
		}, map[string]string{"a": "xx"}},
		{"a datasync is a sync", func(t *testing.T, m *vfs.Mem) {
			f := synced(t, m, "a", "xx")
			write(t, f, "yyyy", 0)
			must(t, f.SyncData())
		}, map[string]string{"a": "yyyy"}},
		{"a truncation", func(t *testing.T, m *vfs.Mem) {
			must(t, synced(t, m, "a", "xx").Truncate(1))
		}, map[string]string{"a": "xx"}},
		{"a removal", func(t *testing.T, m *vfs.Mem) {
			synced(t, m, "a", "x")
			must(t, m.Remove("a"))
		}, map[string]string{"a": "x"}},
		{"a removal that is synced", func(t *testing.T, m *vfs.Mem) {
			synced(t, m, "a", "x")
			must(t, m.Remove("a"))
			must(t, m.SyncDir("."))
		}, map[string]string{"a": ""}},
		{"a rename", func(t *testing.T, m *vfs.Mem) {
			synced(t, m, "a", "x")
			synced(t, m, "b", "y")
			must(t, m.Rename("a", "b"))
		}, map[string]string{"a": "x", "b": "y"}},
		{"a rename that is synced", func(t *testing.T, m *vfs.Mem) {
			synced(t, m, "a", "x")
			synced(t, m, "b", "y")
			must(t, m.Rename("a", "b"))
			must(t, m.SyncDir("/"))
		}, map[string]string{"a": "", "b": "x"}},
		{"a synced name in a directory whose name is not synced", func(t *testing.T, m *vfs.Mem) {
			must(t, m.MkdirAll("d/e"))
			must(t, create(t, m, "d/e/a", "x").Sync())
			must(t, m.SyncDir("d/e"))
			must(t, m.SyncDir("/"))
		}, map[string]string{"d/e/a": ""}},
		{"a directory synced on all levels", func(t *testing.T, m *vfs.Mem) {
			must(t, m.MkdirAll("d/e"))
			must(t, create(t, m, "d/e/a", "x").Sync())
			for _, dir := range []string{"d/e", "d", "/"} {
				must(t, m.SyncDir(dir))
			}
		}, map[string]string{"d/e/a": "x"}},
		{"a rename across directories takes along what it needs", func(t *testing.T, m *vfs.Mem) {
			must(t, m.MkdirAll("d"))
			must(t, m.SyncDir("/"))
			must(t, create(t, m, "d/a", "x").Sync())
			must(t, m.Rename("d/a", "b"))
			must(t, create(t, m, "d/other", "y").Sync())
			must(t, m.SyncDir("/"))
		}, map[string]string{"b": "x", "d/a": "", "d/other": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := vfs.NewMem()
			c.prepare(t, m)
			after := m.StrictClone()
			for name, want := range c.want {
				if got, ok := content(t, after, name); got != want || ok != (want != "") {
					t.Errorf("%s holds %q (exists: %v) after the cut, want %q", name, got, ok, want)
				}
			}
		})
	}
}

// A random cut must be able to do everything that a disk may do.
func TestCrashCloneOutcomes(t *testing.T) {
	m := vfs.NewMem()
	f := synced(t, m, "a", strings.Repeat("o", 4*sector))
	write(t, f, strings.Repeat("1", 2*sector), 0)
	write(t, f, strings.Repeat("2", 2*sector), sector)
	write(t, f, strings.Repeat("3", sector), 4*sector)
	create(t, m, "b", "b").Close()
	must(t, m.Rename("b", "c"))
	create(t, m, "d", "d").Close()

	seen := make(map[string]bool)
	for seed := range uint64(2000) {
		c := m.CrashClone(seed)
		data, ok := content(t, c, "a")
		if !ok {
			t.Fatalf("seed %d: the synced name is gone", seed)
		}
		sectors := ""
		for len(data) > 0 {
			n := min(len(data), sector)
			if data[:n] != strings.Repeat(data[:1], n) {
				t.Fatalf("seed %d: a sector of %d bytes is torn", seed, n)
			}
			sectors += strings.ReplaceAll(data[:1], "\x00", "-")
			data = data[n:]
		}
		seen[sectors] = true
		names, err := c.List("/")
		must(t, err)
		seen[strings.Join(names, "")] = true
	}
	for what, want := range map[string]string{
		"nothing written":                 "oooo",
		"all written":                     "12" + "2o3",
		"in order, torn":                  "1o" + "oo",
		"second write without the first":  "o2" + "2o",
		"a sector as it was in between":   "11" + "oo",
		"the size without the contents":   "oooo-",
		"the contents without the size":   "122o",
		"the last write alone":            "oooo3",
		"no names":                        "a",
		"created, not renamed":            "ab",
		"renamed":                         "ac",
		"another name alone":              "ad",
		"all names":                       "acd",
		"first name kept, not the rename": "abd",
	} {
		if !seen[want] {
			t.Errorf("never seen: %s, %q", what, want)
		}
	}
	if seen["abc"] || seen["abcd"] {
		t.Error("a rename was torn")
	}
}

// What is durable stays, and every sector holds what it held at some time since.
func TestCrashCloneKeepsHistory(t *testing.T) {
	const sectors = 6
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem()
		f, err := m.Create("f")
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		check(err)
		check(f.Truncate(sectors * sector))
		check(f.Sync())
		check(m.SyncDir("/"))
		history := [sectors]map[byte]bool{}
		now := [sectors]byte{}
		forget := func() {
			for s := range history {
				history[s] = map[byte]bool{now[s]: true}
			}
		}
		forget()
		for version := byte(1); version < 12; version++ {
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				check(f.SyncData())
				forget()
			case 1:
				m = m.CrashClone(rapid.Uint64().Draw(t, "seed"))
				f, err = m.Open("f")
				check(err)
				for s := range history {
					p := make([]byte, sector)
					_, err := f.ReadAt(p, int64(s)*sector)
					check(err)
					if !bytes.Equal(p, bytes.Repeat(p[:1], sector)) || !history[s][p[0]] {
						t.Fatalf("sector %d holds %d, want one of %v", s, p[0], history[s])
					}
					now[s] = p[0]
				}
				forget()
			default:
				from := rapid.IntRange(0, sectors-1).Draw(t, "from")
				n := rapid.IntRange(1, sectors-from).Draw(t, "n")
				_, err := f.WriteAt(bytes.Repeat([]byte{version}, n*sector), int64(from)*sector)
				check(err)
				for s := from; s < from+n; s++ {
					now[s] = version
					history[s][version] = true
				}
			}
		}
	})
}

// Every name leads to what it led to at some time since it was synced, and a
// file that was only renamed has exactly one of its names.
func TestCrashCloneKeepsNames(t *testing.T) {
	all := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		m := vfs.NewMem()
		now := make(map[string]string)              // name → file; "" for none
		history := make(map[string]map[string]bool) // name → files since the last sync
		kept := make(map[string]bool)               // files that are durable and were not removed since
		note := func(name, file string) {
			now[name] = file
			history[name][file] = true
		}
		settle := func() {
			clear(kept)
			for _, name := range all {
				history[name] = map[string]bool{now[name]: true}
				if now[name] != "" {
					kept[now[name]] = true
				}
			}
		}
		settle()
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			name, other := rapid.SampledFrom(all).Draw(t, "name"), rapid.SampledFrom(all).Draw(t, "other")
			switch op := rapid.IntRange(0, 4).Draw(t, "op"); {
			case op == 0 && now[name] == "":
				f, err := m.Create(name)
				check(err)
				_, err = f.WriteAt(fmt.Append(nil, i), 0)
				check(err)
				check(f.Sync())
				note(name, fmt.Sprint(i))
			case op == 1 && now[name] != "":
				check(m.Remove(name))
				delete(kept, now[name])
				note(name, "")
			case op == 2 && now[name] != "" && name != other:
				check(m.Rename(name, other))
				delete(kept, now[other])
				note(other, now[name])
				note(name, "")
			case op == 3:
				check(m.SyncDir("/"))
				settle()
			case op == 4:
				m = m.CrashClone(rapid.Uint64().Draw(t, "seed"))
				times := make(map[string]int)
				for _, name := range all {
					got, _ := content(t, m, name)
					if !history[name][got] {
						t.Fatalf("%s holds %q, want one of %v", name, got, history[name])
					}
					now[name] = got
					if times[got]++; got != "" && times[got] > 1 {
						t.Fatalf("file %s has two names", got)
					}
				}
				for file := range kept {
					if times[file] == 0 {
						t.Fatalf("file %s is gone", file)
					}
				}
				settle()
			}
		}
	})
}

func TestCrashCloneIsDeterministic(t *testing.T) {
	build := func() *vfs.Mem {
		m := vfs.NewMem()
		for i := range 10 {
			write(t, create(t, m, fmt.Sprint("f", i), strings.Repeat("x", 5000)), "y", 4000)
		}
		return m
	}
	for seed := range uint64(50) {
		a, b := build().CrashClone(seed), build().CrashClone(seed)
		names, err := a.List("/")
		must(t, err)
		others, err := b.List("/")
		must(t, err)
		if fmt.Sprint(names) != fmt.Sprint(others) {
			t.Fatalf("seed %d: %v and %v", seed, names, others)
		}
		for _, name := range names {
			x, _ := content(t, a, name)
			if y, _ := content(t, b, name); x != y {
				t.Fatalf("seed %d: %s differs", seed, name)
			}
		}
	}
}

func TestCloneKeepsEverything(t *testing.T) {
	m := vfs.NewMem()
	f := synced(t, m, "a", "old")
	write(t, f, "new", 0)
	create(t, m, "b", "b")
	c := m.Clone()
	write(t, f, "xxx", 0) // must not be seen in the clone
	if got, _ := content(t, c, "a"); got != "new" {
		t.Errorf("a holds %q after a kill", got)
	}
	if got, _ := content(t, c, "b"); got != "b" {
		t.Errorf("b holds %q after a kill", got)
	}
	c = c.StrictClone() // what was not durable still is not
	if got, _ := content(t, c, "a"); got != "old" {
		t.Errorf("a holds %q after a kill and a cut", got)
	}
	if _, ok := content(t, c, "b"); ok {
		t.Error("b exists after a kill and a cut")
	}
}

func TestOnSync(t *testing.T) {
	m := vfs.NewMem()
	var got []string
	m.OnSync(func(p vfs.SyncPoint) {
		data, ok := content(t, m.StrictClone(), "a")
		got = append(got, fmt.Sprint(p.Op, " ", p.Name, " ", p.Done, ": ", data, " ", ok))
	})
	f := create(t, m, "a", "x")
	must(t, f.SyncData())
	must(t, m.SyncDir("/"))
	write(t, f, "y", 0)
	must(t, f.Sync())
	want := []string{
		"syncdata a false:  false", "syncdata a true:  false",
		"syncdir / false:  false", "syncdir / true: x true",
		"sync a false: x true", "sync a true: y true",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sync points:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// After a failed sync a second one says ok, and the data is lost all the same.
func TestFailedSyncMarksPagesClean(t *testing.T) {
	m := vfs.NewMem()
	f := synced(t, m, "a", "old")
	m.Inject(vfs.Fault{Op: vfs.OpSyncData, Times: 1, Err: syscall.EIO})
	write(t, f, "new", 0)
	if err := f.SyncData(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	must(t, f.SyncData())
	if got, _ := content(t, m, "a"); got != "new" {
		t.Errorf("a holds %q before the cut", got)
	}
	for seed := range uint64(20) {
		if got, _ := content(t, m.CrashClone(seed), "a"); got != "old" {
			t.Errorf("a holds %q after the cut", got)
		}
	}

	m.Inject(vfs.Fault{Op: vfs.OpSyncDir, Times: 1, Err: syscall.EIO})
	create(t, m, "b", "")
	if err := m.SyncDir("/"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("directory sync: %v", err)
	}
	must(t, m.SyncDir("/"))
	if _, ok := content(t, m.StrictClone(), "b"); ok {
		t.Error("a name outlives its failed sync")
	}
}

func TestInject(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "wal-1", "")
	other := create(t, m, "other", "")
	m.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "wal", After: 2, Times: 1, Err: syscall.EIO})
	var failed []int
	for i := range 5 {
		write(t, other, "x", 0)
		if n, err := f.WriteAt(make([]byte, 4*sector), int64(i)*4*sector); err != nil {
			if !errors.Is(err, syscall.EIO) || n != 2*sector {
				t.Errorf("write %d: %d, %v", i, n, err)
			}
			failed = append(failed, i)
		}
	}
	if fmt.Sprint(failed) != "[2]" {
		t.Errorf("failed writes: %v", failed)
	}

	calls := map[vfs.Op]func() error{
		vfs.OpCreate:   func() error { _, err := m.Create("new"); return err },
		vfs.OpOpen:     func() error { _, err := m.OpenRead("other"); return err },
		vfs.OpRead:     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		vfs.OpTruncate: func() error { return f.Truncate(1) },
		vfs.OpSync:     f.Sync,
		vfs.OpSyncDir:  func() error { return m.SyncDir("/") },
		vfs.OpRename:   func() error { return m.Rename("other", "another") },
		vfs.OpMkdir:    func() error { return m.MkdirAll("d") },
		vfs.OpList:     func() error { _, err := m.List("/"); return err },
		vfs.OpRemove:   func() error { return m.Remove("new") },
	}
	for op := range calls {
		m.Inject(vfs.Fault{Op: op, Err: syscall.EIO})
	}
	for op, call := range calls {
		if err := call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
	}
	m.Heal()
	for op := vfs.OpCreate; op <= vfs.OpList; op++ {
		if call := calls[op]; call != nil {
			if err := call(); err != nil {
				t.Errorf("%v after healing: %v", op, err)
			}
		}
	}
}

func TestCapacity(t *testing.T) {
	const pageSize = 4096
	m := vfs.NewMem()
	m.SetCapacity(4 * pageSize)
	freePages := func() int {
		free, total, err := m.Free("/")
		must(t, err)
		if total != 4*pageSize {
			t.Errorf("total %d", total)
		}
		return int(free / pageSize)
	}
	f := create(t, m, "a", strings.Repeat("x", 2*pageSize))
	g := create(t, m, "b", "")
	n, err := g.WriteAt(make([]byte, 3*pageSize), 100)
	if n != 2*pageSize-100 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write beyond the capacity: %d, %v", n, err)
	}
	if n, err := g.WriteAt(make([]byte, 1), 4*pageSize); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write to a full disk: %d, %v", n, err)
	}
	if freePages() != 0 {
		t.Errorf("%d pages free", freePages())
	}
	write(t, f, strings.Repeat("y", 2*pageSize), 0) // in place
	must(t, f.Truncate(pageSize))
	write(t, g, strings.Repeat("y", pageSize), 2*pageSize)
	must(t, m.Remove("b"))
	if freePages() != 0 {
		t.Error("an open file's space was freed")
	}
	must(t, g.Close())
	if freePages() != 3 {
		t.Errorf("%d pages free after a removal, want 3", freePages())
	}
	must(t, m.Rename("a", "b"))
	must(t, f.Close())
	must(t, m.Flip("b", 0, 1))
	if freePages() != 3 {
		t.Errorf("%d pages free after a rename, want 3", freePages())
	}
	create(t, m, "c", "c").Close()
	must(t, m.Rename("c", "b"))
	if c := m.Clone(); freePages() != 3 {
		free, _, _ := c.Free("/")
		t.Errorf("%d pages free, %d bytes in the clone, want 3 pages", freePages(), free)
	}
	m.SetCapacity(0)
	if freePages := func() uint64 { free, _, _ := m.Free("/"); return free }(); freePages != 0 {
		t.Errorf("%d bytes free of nothing", freePages)
	}
}

func TestRot(t *testing.T) {
	m := vfs.NewMem()
	data := strings.Repeat("\x00", 5000)
	synced(t, m, "a", data).Close()
	must(t, m.Flip("a", 4999, 0x81))
	for _, fs := range []*vfs.Mem{m, m.StrictClone()} {
		if got, _ := content(t, fs, "a"); got != data[1:]+"\x81" {
			t.Error("the flipped bits are not there")
		}
	}
	if m.Flip("a", 5000, 1) == nil {
		t.Error("a flip beyond the end succeeds")
	}
	must(t, m.Rot("a", 7, 3))
	got, _ := content(t, m.StrictClone(), "a")
	bits := 0
	for i := range got {
		for b := got[i]; b != 0; b &= b - 1 {
			bits++
		}
	}
	if bits != 5 {
		t.Errorf("%d bits are set, want 2 + 3", bits)
	}
}

func BenchmarkCrashClone(b *testing.B) {
	m := vfs.NewMem()
	f := synced(b, m, "a", strings.Repeat("x", 1<<20))
	write(b, f, strings.Repeat("y", 1<<16), 1<<19)
	for b.Loop() {
		m.CrashClone(uint64(b.N))
	}
}
