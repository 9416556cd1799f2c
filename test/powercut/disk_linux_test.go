package powercut_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

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

// The disk must lose what a writer does not sync, and keep what it does.
func TestDiskLosesWhatIsNotSynced(t *testing.T) {
	needDisk(t)
	disk := powercut.NewDisk(t, 64<<20)
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	write := func(name string, sync bool) {
		f, err := os.Create(filepath.Join(disk.Dir, name))
		must(t, err)
		defer f.Close()
		for i := 0; i < len(data); i += 1024 {
			_, err := f.Write(data[i : i+1024])
			must(t, err)
			if sync {
				must(t, f.Sync())
			}
		}
	}
	write("synced", true)
	write("unsynced", false)
	disk.Cut()
	if f, err := os.OpenFile(filepath.Join(disk.Dir, "synced"), os.O_WRONLY, 0); err == nil {
		_, werr := f.Write(data)
		if serr := f.Sync(); werr == nil && serr == nil {
			t.Error("a write and its sync succeed after the cut")
		}
		f.Close()
	}
	disk.Unmount()
	disk.Mount()
	got, err := os.ReadFile(filepath.Join(disk.Dir, "synced"))
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("%d of %d synced bytes are there", len(got), len(data))
	}
	if got, _ := os.ReadFile(filepath.Join(disk.Dir, "unsynced")); bytes.Equal(got, data) {
		t.Error("what was not synced survives the cut")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file system that shuts down while a sync is under way may call that a success, although what was written
// into allocated space is not there after the next mount. The broker's own sync does not.
func TestSyncTellsTheTruth(t *testing.T) {
	needDisk(t)
	disk := powercut.NewDisk(t, 256<<20)
	const block, blocks = 64 << 10, 256
	for round := range 60 {
		name := filepath.Join(disk.Dir, fmt.Sprint(round))
		f, err := vfs.OS{}.Create(name)
		must(t, err)
		must(t, errors.Join(f.Allocate(0, block*blocks), f.Sync(), vfs.OS{}.SyncDir(disk.Dir)))
		synced := make(chan byte, blocks)
		go func() {
			defer close(synced)
			for n := range blocks - 1 {
				if _, err := f.WriteAt(bytes.Repeat([]byte{byte(n + 1)}, block), int64(n)*block); err != nil {
					return
				}
				if f.SyncData() != nil {
					return
				}
				synced <- byte(n + 1)
			}
		}()
		var last byte
		for range 1 + round%20 { // then the power fails, while the next sync is somewhere
			last = <-synced
		}
		disk.Cut()
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
