package disk

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Badger writes to mapped files. Where the disk is full such a write kills the
// process, so Badger must not get there: objects are refused while less than
// reserve bytes are free, and for the case that others fill the disk, a file
// of ballast is kept, which the owner of the index drops when Badger has
// something to write nevertheless.
const (
	reserve = 32 << 20
	ballast = 16 << 20
)

// free returns the number of bytes that can still be written.
func (s *Store) free() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &st); err != nil {
		return 0, bare(err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// room fails if less than least bytes are free.
func (s *Store) room(least int64) error {
	free, err := s.free()
	if err == nil && free < least {
		err = fmt.Errorf("%w (%d MiB free, %d MiB needed at least)", syscall.ENOSPC, free>>20, least>>20)
	}
	return err
}

func (s *Store) ballastPath() string { return s.path(runDir, "ballast") }

// takeBallast keeps as much space as there is, up to ballast. Where the file
// system can't do it there is none.
func (s *Store) takeBallast() {
	if info, err := os.Stat(s.ballastPath()); err == nil && info.Size() == ballast {
		return
	}
	f, err := os.OpenFile(s.ballastPath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	for size := int64(ballast); size >= 1<<20; size /= 2 {
		if unix.Fallocate(int(f.Fd()), 0, 0, size) == nil {
			return
		}
		f.Truncate(0)
	}
}

// withoutBallast runs fn, which makes Badger write. On a full disk it drops the
// ballast as long as that takes.
func (s *Store) withoutBallast(fn func() error) error {
	if free, err := s.free(); err == nil && free < ballast/2 {
		os.Truncate(s.ballastPath(), 0)
		defer s.takeBallast()
	}
	return fn()
}
