package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The epoch is a file with a name that was never used before. As long as it is
// there, no object leaves the store: whoever removes objects, and that is the
// owner of the index alone, removes the file before, and makes another one
// afterwards. Without it nothing is promised; so a process that is killed in
// between leaves no promise behind, and the next owner makes a new one.
//
// What no owner can know of counts as well. A power failure may take objects
// that were written before it, so the epoch ends with this run of the machine.
// Directories that somebody removed, replaced or copied are not the ones that
// they were. Anything else, a flipped bit, a pack deleted by hand, is found by
// the question for all objects that the end of an epoch brings about, after
// epochLength at most. That question also notes that the objects are in use.

// epochLength is how long an epoch lasts if nothing is lost.
const epochLength = 5 * time.Minute

func (s *Store) epochPath() string { return s.path(runDir, "epoch") }

// Epoch returns a text with this promise: what the store held when it was
// returned, and whatever came since, the store still holds if it is returned
// again. The empty text promises nothing. It reads a few bytes beside the
// index, which it neither opens nor asks for.
//
// Who relies on the epoch does not ask for the objects, so Options.Hold does
// not keep them; Options.Retention has to. The epoch changes every five minutes,
// so that who relies on it asks at least that often; where Retention is shorter
// there is no epoch.
func (s *Store) Epoch(context.Context) (string, error) {
	if s.opt.Retention < epochLength {
		return "", nil
	}
	name, err := os.ReadFile(s.epochPath())
	if err != nil || len(name) == 0 {
		return "", nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s %d", name, bootID(), s.now().Unix()/int64(epochLength/time.Second))
	for _, dir := range []string{".", indexDir, objectsDir, packsDir} {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, s.path(dir), 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
			return "", nil
		}
		fmt.Fprintf(&text, " %x:%x:%x.%x", st.Dev_minor, st.Ino, st.Btime.Sec, st.Btime.Nsec)
	}
	return text.String(), nil
}

// losses is how many are about to remove objects.
type losses struct {
	mu    sync.Mutex
	count int
}

// losing runs fn, which may remove objects, between two epochs. If Badger does
// not say whether it has done so, no epoch begins before the next owner.
func (x *engine) losing(fn func() error) error {
	if err := x.losses.enter(x.store); err != nil {
		return err
	}
	err := fn()
	if !errors.Is(err, errStuck) {
		x.losses.leave(x.store)
	}
	return err
}

func (l *losses) enter(s *Store) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := s.endEpoch()
	if err == nil {
		l.count++
	}
	return err
}

func (l *losses) leave(s *Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count--; l.count == 0 {
		s.beginEpoch()
	}
}

func (s *Store) endEpoch() error {
	if err := os.Remove(s.epochPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// beginEpoch makes an epoch if there is none. Where it can't, there is none.
func (s *Store) beginEpoch() {
	if _, err := os.Lstat(s.epochPath()); err == nil {
		return
	}
	fresh := s.epochPath() + ".new"
	err := os.WriteFile(fresh, []byte(rand.Text()), 0o600)
	if err == nil {
		err = os.Rename(fresh, s.epochPath())
	}
	if err != nil {
		s.log.Debug("there is no epoch", "cache", s.dir, "cause", err)
	}
}
