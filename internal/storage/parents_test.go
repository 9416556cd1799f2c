package storage

import (
	"testing"

	"waybill/internal/vfs"
)

// Directories above the store that were made for it are as durable as it is.
func TestParentDirectoriesAreDurable(t *testing.T) {
	fs := vfs.NewMem()
	open := func(fs vfs.FS) *Store {
		s, err := Open(fs, "srv/broker/data", Options{Logger: quiet(), WALFileSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s := open(fs)
	want := fill(t, s, s.Log(1), 3, 100)
	same(t, open(fs.StrictClone()).Log(1), want)
}
