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
	path, err := vacate(ctx, dir)
	if err != nil {
		return nil, err
	}
	fs, end := newFileSystem(root, src, opt)
	s := &Server{dir: path, fs: fs, end: end, wishes: make(chan struct{}, maxWishes), served: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		end()
		fs.close()
		return nil, err
	}
	return s, nil
}

func newFileSystem(root cas.Digest, src cas.Getter, opt Options) (*fileSystem, context.CancelFunc) {
	lifetime, end := context.WithCancel(context.Background())
	opt = opt.complete(root)
	return &fileSystem{
		readOnly: readOnly{fuse.NewDefaultRawFileSystem()},
		source:   src,
		root:     root,
		opt:      opt,
		lifetime: lifetime,
		table:    newTable(),
		trees:    newShelf[cas.Digest, *tree.Tree](treesWeight, nil),
		sizes:    newShelf[sizesKey, struct{}](0, nil),
		objects:  newShelf[cas.Digest](objectsWeight, func(o object) { o.Close() }),
		sweeps:   newSweeps(),
		opens:    opens{nodes: map[uint32]*openNode{}},
		log:      &limitedLog{out: opt.Log},
	}, end
}

func (s *Server) start(ctx context.Context) error {
	if err := s.fs.prepare(ctx); err != nil {
		return err
	}
	fd, err := attach(ctx, s.dir, attachment{s.fs.opt.FsName, s.fs.opt.AllowOther, maxRead})
	if err != nil {
		return err
	}
	watched, err := s.connect(fd)
	if err != nil {
		detach(ctx, s.dir, true)
		return fmt.Errorf("mount %s: %w", s.dir, err)
	}
	s.fs.enablePassthrough()
	s.device = deviceOf(s.dir)
	raiseReadahead(s.device)
	if s.fs.opt.Prefetch > PrefetchNothing || len(s.fs.opt.PrefetchPaths) > 0 {
		s.fs.running.Go(s.fs.prefetch)
	}
	go s.serve(watched)
	return nil
}

// connect takes over the connection fd to the kernel, and returns a second
// descriptor of it that tells when the kernel lets go.
func (s *Server) connect(fd int) (watched int, err error) {
	watched, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	s.fs.ended = func() bool { return hungUp(watched) }
	s.fs.kernel, err = fuse.NewServer(s.fs, fmt.Sprintf("/dev/fd/%d", fd), s.fs.kernelOptions())
	if err != nil {
		unix.Close(watched)
	}
	return watched, err
}

// prepare reads the root, so that there is no mount without one.
func (fs *fileSystem) prepare(ctx context.Context) error {
	c := caller{interrupt: ctx.Done(), ended: func() bool { return true }}
	_, _, err := fs.directory(c, root)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (fs *fileSystem) kernelOptions() *fuse.MountOptions {
	// A mount that might pass something through counts as stacked.
	without := uint64(fuse.CAP_PASSTHROUGH)
	if fs.opt.Mode == ModePassthrough {
		without = 0
	}
	return &fuse.MountOptions{
		DisabledCapabilities:     without,
		MaxStackDepth:            fs.opt.StackDepth,
		MaxWrite:                 maxRead,
		MaxBackground:            maxBackground,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		DisableXAttrs:            !fs.opt.Xattrs,
		DisableSplice:            true, // a pipe can't hold maxRead and a header
		Debug:                    fs.opt.Debug,
		Logger:                   fs.debugLogger(),
		PanicHandler:             fs.panicked,
	}
}

func (fs *fileSystem) debugLogger() *log.Logger {
	return slog.NewLogLogger(fs.opt.Log.Handler(), slog.LevelDebug)
}

func (fs *fileSystem) panicked(cause any) fuse.Status {
	fs.stats.errors.Add(1)
	fs.opt.Log.Error("panic while answering the kernel", "cause", cause, "stack", string(debug.Stack()))
	return fuse.EIO
}

// close waits until nothing of fs is running any more. lifetime must have
// ended.
func (fs *fileSystem) close() {
	fs.running.Wait()
	fs.trees.close()
	fs.sizes.close()
	fs.objects.close()
	fs.opens.close()
}
