// Package mount shows a tree in a store as a read-only directory, through
// FUSE. Mounting costs one object; every other tree and file is read from the
// store when somebody looks at it, so the store decides how lazy a mount is.
//
// What the kernel was told it keeps: a warm mount is as fast as a local
// directory, because no request reaches this process any more.
//
// A process must never look into a mount that it serves itself: it would wait
// for its own answer.
package mount

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"runtime/debug"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// maxRead is the largest read, in bytes, that the kernel asks for at once.
const maxRead = 1 << 20

// maxBackground is how many reads ahead the kernel has under way at once.
const maxBackground = 64

// Mount shows the tree root in src on the directory dir, until it is
// unmounted. It is usable when Mount returns. src may be a cas.Sizer as well,
// which spares reading a file to learn its length, and the objects that it
// opens should be cas.RandomObjects that outlive the context of Get. ctx
// bounds the mounting only. A mount of ours that lies dead on dir is taken
// away first.
func Mount(ctx context.Context, dir string, root cas.Digest, src cas.Getter, opt Options) (*Server, error) {
	s, end := newShared(src, opt.complete(root.String()))
	return start(ctx, dir, s, end, newFileSystem(s, root, 0))
}

// content is what a mount shows.
type content interface {
	fuse.RawFileSystem
	// prepare makes sure that there is something to show.
	prepare(ctx context.Context) error
	// locate returns the tree that path leads into, and the path in there. The
	// tree stays until it is released.
	locate(c caller, path string) (fs *fileSystem, inside string, release func(), err error)
	// totals counts the nodes and the directories that were looked into.
	totals() (nodes, dirs int)
	// close waits until nothing of it is running any more.
	close()
}

func newShared(src cas.Getter, opt Options) (*shared, context.CancelFunc) {
	lifetime, end := context.WithCancel(context.Background())
	return &shared{
		source:   src,
		opt:      opt,
		lifetime: lifetime,
		trees:    newShelf[cas.Digest, *tree.Tree](treesWeight, nil),
		objects:  newShelf[cas.Digest](objectsWeight, func(o object) { o.Close() }),
		opens:    opens{nodes: map[uint64]*openNode{}},
		sweeping: make(chan struct{}, sweepParallel),
		log:      &limitedLog{out: opt.Log},
	}, end
}

func newFileSystem(s *shared, root cas.Digest, base uint64) *fileSystem {
	return &fileSystem{
		readOnly: readOnly{fuse.NewDefaultRawFileSystem()},
		shared:   s,
		root:     root,
		base:     base,
		table:    newTable(),
		sizes:    newShelf[sizesKey, struct{}](0, nil),
		sweeps:   &sweeps{},
	}
}

// start mounts content on dir. end is called when the mount has ended.
func start(ctx context.Context, dir string, shared *shared, end context.CancelFunc, content content) (*Server, error) {
	s := &Server{shared: shared, content: content, end: end, wishes: make(chan struct{}, maxWishes), served: make(chan struct{})}
	watched, err := s.attach(ctx, dir)
	if err != nil {
		s.close()
		return nil, err
	}
	shared.enablePassthrough()
	s.device = deviceOf(s.dir)
	raiseReadahead(s.device)
	go s.serve(watched)
	return s, nil
}

// attach mounts, and returns a descriptor of the connection to the kernel that
// tells when the kernel lets go.
func (s *Server) attach(ctx context.Context, dir string) (watched int, err error) {
	if s.dir, err = vacate(ctx, dir); err != nil {
		return -1, err
	}
	if err := s.content.prepare(ctx); err != nil {
		return -1, err
	}
	opt := s.shared.opt
	fd, err := attach(ctx, s.dir, attachment{opt.FsName, opt.AllowOther, opt.NoExec, maxRead})
	if err != nil {
		return -1, err
	}
	if watched, err = s.connect(fd); err != nil {
		detach(ctx, s.dir, true)
		return -1, fmt.Errorf("mount %s: %w", s.dir, err)
	}
	return watched, nil
}

// connect takes over the connection fd to the kernel, and returns a second
// descriptor of it.
func (s *Server) connect(fd int) (watched int, err error) {
	watched, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	s.shared.ended = func() bool { return hungUp(watched) }
	s.shared.kernel, err = fuse.NewServer(s.content, fmt.Sprintf("/dev/fd/%d", fd), s.shared.kernelOptions())
	if err != nil {
		unix.Close(watched)
	}
	return watched, err
}

// prepare reads the root, so that there is no mount without one. What is below
// it begins to come while the mounting goes on.
func (fs *fileSystem) prepare(ctx context.Context) error {
	c := callerUntil(ctx.Done())
	d, t, err := fs.directory(c, root)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if fs.opt.Prefetch > PrefetchNothing || len(fs.opt.PrefetchPaths) > 0 {
		fs.inBackground(fs.prefetch)
	}
	fs.chooseMode(c, d, t)
	return nil
}

func (fs *fileSystem) locate(_ caller, path string) (*fileSystem, string, func(), error) {
	return fs, path, func() {}, nil
}

func (fs *fileSystem) totals() (nodes, dirs int) {
	nodes, dirs, _ = fs.table.totals()
	return nodes, dirs
}

func (fs *fileSystem) close() { fs.sizes.close() }

func (s *shared) kernelOptions() *fuse.MountOptions {
	// A mount that might pass something through counts as stacked.
	without := uint64(fuse.CAP_PASSTHROUGH)
	if s.passthrough {
		without = 0
	}
	return &fuse.MountOptions{
		DisabledCapabilities:     without,
		MaxStackDepth:            s.opt.StackDepth,
		MaxWrite:                 maxRead,
		MaxBackground:            maxBackground,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		DisableXAttrs:            !s.opt.Xattrs,
		DisableSplice:            true, // a pipe can't hold maxRead and a header
		Debug:                    s.opt.Debug,
		Logger:                   s.debugLogger(),
		PanicHandler:             s.panicked,
	}
}

func (s *shared) debugLogger() *log.Logger {
	return slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug)
}

func (s *shared) panicked(cause any) fuse.Status {
	s.stats.errors.Add(1)
	s.opt.Log.Error("panic while answering the kernel", "cause", cause, "stack", string(debug.Stack()))
	return fuse.EIO
}

// close waits until nothing that the trees share is in use any more. lifetime
// must have ended.
func (s *shared) close() {
	s.running.Wait()
	s.trees.close()
	s.objects.close()
	s.opens.close()
}
