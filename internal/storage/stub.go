package storage

import "os"

type coldCache struct{}

func newColdCache() *coldCache { return &coldCache{} }

type flusher struct{ s *Store }

func newFlusher(s *Store, n uint64, m *image) *flusher { return &flusher{s} }
func (f *flusher) run()                                { <-f.s.closing }

func (r *recovery) tidySegments() error { return nil }

func (s *Store) writeImage(n uint64, m *image) error {
	name := s.path(checkpointName, fileName(n, checkpointSuffix))
	f, err := s.fs.Create(name + newSuffix)
	if err != nil {
		return err
	}
	b := m.encode()
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	f.Close()
	if err := s.fs.Rename(name+newSuffix, name); err != nil {
		return err
	}
	return s.fs.SyncDir(s.path(checkpointName))
}

var _ = os.ErrExist
