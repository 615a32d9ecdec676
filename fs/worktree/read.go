package worktree

import (
	"context"
	"errors"
	"io"
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
	start := d.start
	for try := range readAttempts {
		if try > 0 && !pause(w.ctx, readPause<<try) {
			return context.Cause(w.ctx)
		}
		held, err := w.addOnce(d, it, &start)
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

// addOnce reads and stores the file once, and tells whether it held still since
// it was described, which was after the tick start. If not, it describes it
// anew.
func (w *writer) addOnce(d *dirNode, it *item, start *int64) (held bool, err error) {
	fd, err := openAt(d.fd, string(it.name), unix.O_RDONLY, 0)
	if err == unix.ELOOP {
		return false, errNoLongerFile
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	f := source{readFD: readFD{w.ctx, fd}, left: it.stat.size}
	digest, size, failed := w.store.Add(w.ctx, &f)
	after, err := statOf(fd)
	if err != nil {
		return false, err
	}
	switch {
	case after.kind() != tree.File:
		return false, errNoLongerFile
	case f.err != nil:
		return false, f.err
	case failed != nil:
		w.cancel(&EntryError{join(d.path, it.name), failed})
		return false, failed
	case !it.stat.unchanged(after) || size != after.size:
		*start = tick()
		it.stat, err = statOf(fd)
		return false, err
	}
	it.digest = digest
	if !after.settled(*start) {
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
	left int64 // bytes that the file should still have
	err  error
}

// Read asks for one byte more than there should be: a file that gives less has
// ended, which nobody then has to ask, and one that gives it has grown.
func (s *source) Read(p []byte) (int, error) {
	if s.left < 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.left+1)]
	n, err := s.readFD.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	if s.left -= int64(n); s.left == 0 && err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// read looks at the content of changed entries of d.
func (w *writer) read(d *dirNode, items []*item) {
	defer w.leave(d)
	for _, it := range items {
		w.readOne(d, it)
	}
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
	target, err := readLink(d.fd, string(it.name), it.stat.size)
	if err != nil {
		return err
	}
	it.target = []byte(target)
	if !it.stat.settled(d.start) {
		it.stat.ctime = 0
	}
	return nil
}
