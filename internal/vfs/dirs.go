package vfs

import (
	"errors"
	"os"
	"path"
)

// MakeDirs makes a directory and those above it that are missing, and makes
// their names durable: a file in a directory that is gone is gone.
func MakeDirs(fs FS, dir string) error {
	dir = path.Clean(dir)
	_, err := fs.Stat(dir)
	if err == nil {
		return fs.MkdirAll(dir) // fails when it is something else
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := path.Dir(dir)
	if parent != dir {
		if err := MakeDirs(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir); err != nil {
		return err
	}
	return fs.SyncDir(parent)
}
