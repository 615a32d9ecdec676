package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// temp is a file on its way to objects/. Its writer holds an flock on it; one
// that nobody holds was left by a process that is gone.
type temp struct {
	store *Store
	name  string
	file  *os.File
}

func (s *Store) newTemp() (*temp, error) {
	if err := s.room(reserve); err != nil {
		return nil, err
	}
	for {
		name := fmt.Sprintf("%016x", rand.Uint64())
		f, err := os.OpenFile(s.path(tmpDir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, bare(err)
		}
		if lock(f) {
			return &temp{s, name, f}, nil
		}
		f.Close() // taken for a leftover before it was locked
	}
}

// write appends p.
func (t *temp) write(p []byte) error {
	err := t.store.room(reserve)
	if err == nil {
		_, err = t.file.Write(p)
	}
	if err != nil {
		return fmt.Errorf("cache %s: cannot write: %w", t.store.dir, bare(err))
	}
	return nil
}

// discard closes t, and removes it unless it was published.
func (t *temp) discard() {
	os.Remove(t.store.path(tmpDir, t.name))
	t.file.Close()
}

// removeLeftovers removes the temporary files of processes that are gone.
func (s *Store) removeLeftovers() {
	names, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return
	}
	for _, name := range names {
		path := filepath.Join(s.path(tmpDir), name.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if lock(f) {
			os.Remove(path)
			s.log.Debug("removed a leftover", "file", path)
		}
		f.Close()
	}
}
