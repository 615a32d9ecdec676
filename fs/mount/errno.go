package mount

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// errTimeout is the cause of a fetch that took too long.
var errTimeout = errors.New("no answer in time")

// fail turns an error into what the kernel is told, and says in the log why.
// The name exists and its bytes can't be had: that is EIO, whatever the reason.
func (fs *fileSystem) fail(what string, id uint32, err error) fuse.Status {
	return fs.failed(what, err, func() string { return fs.path(id) })
}

func (s *shared) failed(what string, err error, path func() string) fuse.Status {
	switch {
	case errors.Is(err, errInterrupted):
		return fuse.EINTR
	case errors.Is(err, errTooMany):
		return fuse.Status(syscall.ENOMEM)
	}
	s.stats.errors.Add(1)
	s.log.warn(what+" failed", err, path)
	return fuse.EIO
}

// path returns the path of node id as far as it is known without a fetch.
func (fs *fileSystem) path(id uint32) string {
	path := ""
	for ; id != root; id = fs.table.parent(id).self {
		d := fs.table.parent(id)
		name := "?"
		if t, ok := fs.trees.peek(d.digest); ok {
			name = t.At(int(id - d.first)).Name
		}
		path = "/" + name + path
	}
	if path == "" {
		return "/"
	}
	return path
}

const (
	logWindow = 10 * time.Second
	logBurst  = 20 // lines in a window
)

// limitedLog writes one line per cause and window, and a bounded number of
// lines in all: a remote that is away fails thousands of reads a second.
type limitedLog struct {
	out *slog.Logger

	mu         sync.Mutex
	window     time.Time
	causes     map[string]struct{}
	suppressed int
}

func (l *limitedLog) warn(what string, err error, path func() string) {
	if suppressed, ok := l.admit(time.Now(), err.Error()); ok {
		l.out.Warn(what, "path", path(), "err", err, "suppressed", suppressed)
	}
}

// admit tells whether to write about cause now, and how many lines were left
// out since the last one.
func (l *limitedLog) admit(now time.Time, cause string) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.window) >= logWindow {
		l.window, l.causes = now, map[string]struct{}{}
	}
	if _, seen := l.causes[cause]; seen || len(l.causes) >= logBurst {
		l.suppressed++
		return 0, false
	}
	l.causes[cause] = struct{}{}
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
