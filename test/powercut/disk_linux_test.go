package powercut_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

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
