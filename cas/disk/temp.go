package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
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

// WriteAt writes p at byte off.
func (t *temp) WriteAt(p []byte, off int64) (n int, err error) {
	err = t.store.room(reserve)
	if err == nil {
		n, err = t.file.WriteAt(p, off)
	}
	if err != nil {
		err = fmt.Errorf("cache %s: cannot write: %w", t.store.dir, bare(err))
	}
	return n, err
}

// discard closes t, and removes it unless it was published.
func (t *temp) discard() {
	t.unlink()
	t.file.Close()
}

func (t *temp) unlink() { os.Remove(t.store.path(tmpDir, t.name)) }

// removeLeftovers removes the temporary files of processes that are gone, and
// what was set aside long ago.
func (s *Store) removeLeftovers() {
	s.eachIn(tmpDir, removeAbandoned)
	s.eachIn(damagedDir, removeOutdated)
	s.eachIn(partialDir, mendParts)
}

func (s *Store) eachIn(dir string, fn func(path string) error) {
	names, err := os.ReadDir(s.path(dir))
	for _, name := range names {
		err = errors.Join(err, fn(s.path(dir, name.Name())))
	}
	if err != nil {
		s.log.Debug("leftovers stay", "cache", s.dir, "cause", err)
	}
}

// removeAbandoned removes a file that nobody holds the lock of. It holds the
// lock itself meanwhile, so that nobody takes the file for his.
func removeAbandoned(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if !lock(f) {
		return nil
	}
	return os.Remove(path)
}

// mendParts lets parts be written again that were to become a whole object when
// the owner of the index was killed, and removes what is left of those that did.
func mendParts(dir string) error {
	if err := ignoreMissing(os.Chmod(filepath.Join(dir, partData), 0o600)); err != nil {
		return err
	}
	return removePromoted(dir)
}

// removePromoted removes what is left of a partial object that became a whole
// one when a process was killed.
func removePromoted(dir string) error {
	_, err := changeParts(dir, func(dir string) error {
		if _, err := os.Lstat(filepath.Join(dir, partData)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return removeAll(dir)
	})
	return err
}

const keepDamaged = 7 * 24 * time.Hour

// removeOutdated removes what came to its place more than keepDamaged ago.
func removeOutdated(path string) error {
	info, err := os.Lstat(path)
	if err != nil || time.Since(time.Unix(0, identityOf(info).ctime)) < keepDamaged {
		return err
	}
	return os.RemoveAll(path)
}
