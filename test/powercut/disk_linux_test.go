package powercut_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"waybill/internal/vfs"
	"waybill/test/powercut"
)

// needDisk skips the test where the power cannot be cut.
func needDisk(t *testing.T) {
	t.Helper()
	err := powercut.Unavailable()
	switch {
	case err != nil && os.Getenv("POWERCUTS") != "":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
}

// kinds of power cuts.
var kinds = map[string]func(*powercut.Disk){"disk": (*powercut.Disk).Cut, "file system": (*powercut.Disk).CutFS}

// The disk must lose what a writer does not sync, and keep what it does. What is written past the page cache is
// lost only with the disk's own.
func TestDiskLosesWhatIsNotSynced(t *testing.T) {
	needDisk(t)
	for kind, cut := range kinds {
		t.Run(kind, func(t *testing.T) {
			disk := powercut.NewDisk(t, 64<<20)
			data := vfs.Aligned(64 << 10)
			copy(data, bytes.Repeat([]byte("0123456789abcdef"), len(data)/16))
			files := map[string]vfs.File{}
			for _, name := range []string{"synced", "direct synced", "direct", "unsynced"} {
				f, err := vfs.OS{}.Create(filepath.Join(disk.Dir, name))
				must(t, err)
				defer f.Close()
				files[name] = f
				if name != "unsynced" { // it has its blocks already: its data alone is lost or not
					_, err = f.WriteAt(make([]byte, len(data)), 0)
					must(t, errors.Join(err, f.Sync(), vfs.OS{}.SyncDir(disk.Dir)))
				}
			}
			const part = 1024
			write := func(name string, write func([]byte, int64) (int, error), sync func() error) {
				for i := 0; i < len(data); i += part {
					_, err := write(data[i:i+part], int64(i))
					must(t, errors.Join(err, sync()))
				}
			}
			notSynced := func() error { return nil }
			write("synced", files["synced"].WriteAt, files["synced"].SyncData)
			must(t, errors.Join(files["direct synced"].SetDirect(true), files["direct"].SetDirect(true)))
			write("direct synced", files["direct synced"].WriteAt, files["direct synced"].SyncData)
			write("direct", files["direct"].WriteAt, notSynced) // a sync would take it along
			write("unsynced", files["unsynced"].WriteAt, notSynced)
			cut(disk)
			for name, f := range files {
				if err := f.SyncData(); err == nil {
					t.Errorf("%s: a sync succeeds after the cut", name)
				}
				if _, err := f.WriteAt(data, 0); err == nil && f.SyncData() == nil {
					t.Errorf("%s: a write and its sync succeed after the cut", name)
				}
				must(t, f.Close())
			}
			disk.Unmount()
			disk.Mount()
			for name := range files {
				got, err := os.ReadFile(filepath.Join(disk.Dir, name))
				if name != "unsynced" {
					must(t, err)
				}
				want := name == "synced" || name == "direct synced" || name == "direct" && kind == "file system"
				if there := bytes.Equal(got, data); there != want {
					t.Errorf("%s: that it is there after the cut is %t", name, there)
				}
			}
		})
	}
}

// What a disk has in its cache when its power fails may be there afterwards, in part.
func TestDiskKeepsSomeOfItsCache(t *testing.T) {
	needDisk(t)
	disk := powercut.NewDisk(t, 64<<20)
	name := filepath.Join(disk.Dir, "file")
	f, err := vfs.OS{}.Create(name)
	must(t, err)
	const pages, page = 256, 4096
	_, err = f.WriteAt(make([]byte, pages*page), 0)
	must(t, errors.Join(err, f.Sync(), f.Close(), vfs.OS{}.SyncDir(disk.Dir)))
	disk.Unmount() // and with it what is in the cache, in large pieces
	disk.Mount()
	f, err = vfs.OS{}.Open(name)
	must(t, err)
	buf := vfs.Aligned(page)
	copy(buf, bytes.Repeat([]byte{1}, page))
	must(t, f.SetDirect(true))
	for n := range int64(pages) {
		_, err := f.WriteAt(buf, n*page)
		must(t, err)
	}
	disk.Spill(rand.New(rand.NewPCG(1, 1)))
	disk.Cut()
	must(t, f.Close())
	disk.Unmount()
	disk.Mount()
	got, err := os.ReadFile(name)
	must(t, err)
	if there := bytes.Count(got, buf); there < pages/4 || there > pages*3/4 {
		t.Errorf("%d of %d pages are there", there, pages)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file system that shuts down while a sync is under way may call that a success, although what was written
// into allocated space is not there after the next mount. The broker's own sync does not. A disk that loses its power
// does not either, whoever asks for the sync: else the tests would find what is none of the broker's mistakes.
func TestSyncTellsTheTruth(t *testing.T) {
	needDisk(t)
	broker := func(f vfs.File) error { return f.SyncData() }
	plain := func(f vfs.File) error {
		fd, err := unix.Open(f.Name(), unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Fdatasync(fd)
	}
	for _, c := range []struct {
		kind   string
		direct bool
		sync   func(vfs.File) error
	}{{"file system", false, broker}, {"file system", true, broker}, {"disk", false, plain}, {"disk", true, plain}} {
		t.Run(fmt.Sprintf("%s, direct %t", c.kind, c.direct), func(t *testing.T) {
			syncAndCut(t, c.direct, c.sync, kinds[c.kind])
		})
	}
}

func syncAndCut(t *testing.T, direct bool, sync func(vfs.File) error, cut func(*powercut.Disk)) {
	disk := powercut.NewDisk(t, 256<<20)
	const block, blocks, rounds = 64 << 10, 256, 40
	for round := range rounds {
		name := filepath.Join(disk.Dir, fmt.Sprint(round))
		f, err := vfs.OS{}.Create(name)
		must(t, err)
		must(t, errors.Join(f.Allocate(0, block*blocks), f.Sync(), vfs.OS{}.SyncDir(disk.Dir)))
		must(t, f.SetDirect(direct))
		synced := make(chan byte, blocks)
		go func() {
			defer close(synced)
			buf := vfs.Aligned(block)
			for n := range blocks - 1 {
				copy(buf, bytes.Repeat([]byte{byte(n + 1)}, block))
				if _, err := f.WriteAt(buf, int64(n)*block); err != nil {
					return
				}
				if sync(f) != nil {
					return
				}
				synced <- byte(n + 1)
			}
		}()
		var last byte
		for range 1 + round%20 { // then the power fails, while the next sync is somewhere
			last = <-synced
		}
		cut(disk)
		for n := range synced {
			last = n
		}
		must(t, f.Close())
		disk.Unmount()
		disk.Mount()
		got, err := os.ReadFile(name)
		must(t, err)
		for n := range last {
			if at := int(n) * block; got[at] != n+1 || got[at+block-1] != n+1 {
				t.Fatalf("round %d: block %d of %d that were synced is lost", round, n+1, last)
			}
		}
		must(t, os.Remove(name))
	}
}
