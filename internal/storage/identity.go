package storage

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strings"

	"waybill/internal/vfs"
)

const (
	lockName   = "LOCK"
	markerName = "STORE"

	// markerNew is there from before the first file of a new store until after
	// the last: a power cut in between leaves a directory that may be begun anew.
	markerNew = markerName + newSuffix

	// The marker is these lines and the CRC32C of the first two: a wrong id
	// would make every WAL file look empty.
	markerFormat = "waybill store, format 3\nid %s\n"
	markerSum    = "crc %08x\n"
)

// claim takes the lock on the directory and reads who it is. fresh is true
// when it is empty: then it has an identity now, and no more.
func (s *Store) claim() (fresh bool, err error) {
	if err := vfs.MakeDirs(s.fs, s.dir); err != nil {
		return false, err
	}
	if s.lock, err = s.fs.Lock(s.path(lockName)); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return false, fmt.Errorf("%w: is another process using this directory? %s", vfs.ErrLocked, s.path(lockName))
		}
		return false, err
	}
	fresh, err = s.identify()
	if err != nil {
		return false, errors.Join(err, s.lock.Close())
	}
	return fresh, nil
}

func (s *Store) identify() (fresh bool, err error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return false, err
	}
	if slices.Contains(names, markerName) {
		s.id, err = readMarker(s.fs, s.path(markerName))
		return false, err
	}
	if !slices.Contains(names, markerNew) {
		for _, name := range names {
			// A file system of its own begins with lost+found; what was set aside is no store.
			if name != lockName && name != "lost+found" && name != damagedName {
				return false, fmt.Errorf("%w: it holds %s, but no file %s", ErrForeign, name, markerName)
			}
		}
		if err := s.writeMarker(); err != nil {
			return false, err
		}
	}
	s.id = rand.Text()
	return true, s.fs.SyncDir(path.Dir(path.Clean(s.dir)))
}

// writeMarker makes the sign that a store is being made here.
func (s *Store) writeMarker() error {
	f, err := s.fs.Create(s.path(markerNew))
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// settle says that the store is complete, and who it is.
func (s *Store) settle() error {
	f, err := s.fs.Open(s.path(markerNew))
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(encodeMarker(s.id), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(s.path(markerNew), s.path(markerName)); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

func encodeMarker(id string) []byte {
	b := fmt.Appendf(nil, markerFormat, id)
	return fmt.Appendf(b, markerSum, crc32.Checksum(b, castagnoli))
}

// ReadID returns the id of the store in a directory, which need not be open;
// [os.ErrNotExist] when there is none.
func ReadID(fs vfs.FS, dir string) (string, error) { return readMarker(fs, path.Join(dir, markerName)) }

// readMarker reads the id of a store.
func readMarker(fs vfs.FS, name string) (id string, err error) {
	b, err := readFile(fs, name)
	if err != nil {
		return "", err
	}
	format, _, _ := strings.Cut(markerFormat, "%s")
	rest, ok := strings.CutPrefix(string(b), format)
	if !ok {
		return "", fmt.Errorf("%w: %s says %.60q, this program knows %q", ErrForeign, name, b, strings.TrimSpace(format))
	}
	id, _, _ = strings.Cut(rest, "\n")
	if id == "" || string(encodeMarker(id)) != string(b) {
		return "", fmt.Errorf("%w: %s: %w", ErrDamaged, name, errCRC)
	}
	return id, nil
}
