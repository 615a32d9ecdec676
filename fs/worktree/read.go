package worktree

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// ErrUnstable is what errors.Is finds when a file never held still for as
// long as it takes to read it.
var ErrUnstable = errors.New("changes while it is read")

var errNoLongerFile = errors.New("was replaced while the directory was read")

// A file that changes is read up to readAttempts times; the pause between
// doubles each time.
const (
	readAttempts = 6
	readPause    = 5 * time.Millisecond
)

// addFile stores the content of the file it.
func (w *writer) addFile(d *dirNode, it *item) error {
	for try := range readAttempts {
		if try > 0 && !pause(w.ctx, readPause<<try) {
			return context.Cause(w.ctx)
		}
		held, err := w.addOnce(d, it)
		if held || err != nil {
			return err
		}
	}
	return ErrUnstable
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// addOnce reads and stores the file once, and tells whether it held still.
func (w *writer) addOnce(d *dirNode, it *item) (held bool, err error) {
	fd, err := openAt(d.fd, string(it.name), unix.O_RDONLY, 0)
	if err == unix.ELOOP {
		return false, errNoLongerFile
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	start := tick()
	before, err := statOf(fd)
	if err != nil {
		return false, err
	}
	if before.kind() != tree.File {
		return false, errNoLongerFile
	}
	f := source{readFD: readFD{w.ctx, fd}}
	digest, size, err := w.store.Add(w.ctx, &f)
	if f.err != nil {
		return false, f.err
	}
	if err != nil {
		w.cancel(&EntryError{join(d.path, it.name), err})
		return false, err
	}
	after, err := statOf(fd)
	if err != nil {
		return false, err
	}
	if !before.unchanged(after) || size != after.size {
		return false, nil
	}
	it.stat, it.digest = after, digest
	if !after.settled(start) {
		it.stat.ctime = 0
	}
	w.wasAdded(join(d.path, it.name), digest, size)
	return true, nil
}

// source is a file on its way into a store. It remembers why it could not be
// read: that is one failure among others, where a store that can't keep what
// it gets ends everything.
type source struct {
	readFD
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.readFD.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// smallFile is the size in bytes up to which a file is cheap to have in hand.
const smallFile = 128 << 10

// read looks at the content of changed entries of d.
func (w *writer) read(d *dirNode, items []*item) {
	defer w.leave(d)
	var readers sync.WaitGroup
	for _, it := range items {
		if it.stat.size > smallFile {
			w.readOne(d, it)
			continue
		}
		readers.Go(func() { w.readOne(d, it) })
	}
	readers.Wait()
}

func (w *writer) readOne(d *dirNode, it *item) {
	if w.ctx.Err() != nil {
		d.failed.Store(true)
		return
	}
	err := w.readContent(d, it)
	if err == unix.ENOENT {
		it.gone = true
		w.entries.Add(-1)
	} else if err != nil {
		d.fail(w, join(d.path, it.name), err)
	}
}

func (w *writer) readContent(d *dirNode, it *item) error {
	if it.stat.kind() == tree.File {
		return w.addFile(d, it)
	}
	tick := tick()
	target, err := readLink(d.fd, string(it.name), it.stat.size)
	if err != nil {
		return err
	}
	it.target = []byte(target)
	if !it.stat.settled(tick) {
		it.stat.ctime = 0
	}
	return nil
}
