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
	"os"
	"runtime/debug"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// DefaultTimeout bounds a fetch unless Options say otherwise.
const DefaultTimeout = 30 * time.Second

// Options of a mount. The zero value is good.
type Options struct {
	// FsName is what mount and df show as the source. Default: "fstree:" and
	// the root digest.
	FsName string
	// AllowOther lets other users in. As an ordinary user that needs
	// user_allow_other in /etc/fuse.conf.
	AllowOther bool
	// UID and GID own all files. Default: those of this process.
	UID, GID *uint32
	// Timeout bounds the fetch of a tree, of sizes, and of a file as far as
	// its length does not explain that it takes longer. Default:
	// DefaultTimeout.
	Timeout time.Duration
	// Prefetch says what is read before anybody asks for it, while nobody
	// waits for something else.
	Prefetch Prefetch
	// Mode says who reads files once they are local.
	Mode Mode
	// StackDepth is 2 if the files of ModePassthrough lie on overlayfs. Then
	// no overlayfs can be put on top of the mount. Default: 1.
	StackDepth int
	// Xattrs shows the digest of every file and directory as the extended
	// attribute user.fstree.digest. It costs requests that a mount without it
	// never sees.
	Xattrs bool
	// NoDirectoryCache keeps the kernel from keeping listings, for kernels
	// that do it wrong.
	NoDirectoryCache bool
	// Log takes a line for every cause of failure, at a bounded rate. Default:
	// nobody hears them.
	Log *slog.Logger
	// Debug logs every request.
	Debug bool
}

// maxRead is the largest read, in bytes, that the kernel asks for at once.
const maxRead = 1 << 20

// maxBackground is how many reads ahead the kernel has under way at once.
const maxBackground = 64

// Server is a mount.
type Server struct {
	dir    string
	fs     *fileSystem
	end    context.CancelFunc
	served chan struct{} // closed when the mount has ended
	err    error         // set before
}

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
	s := &Server{dir: path, fs: fs, end: end, served: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		end()
		fs.close()
		return nil, err
	}
	return s, nil
}

func newFileSystem(root cas.Digest, src cas.Getter, opt Options) (*fileSystem, context.CancelFunc) {
	lifetime, end := context.WithCancel(context.Background())
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.FsName == "" {
		opt.FsName = "fstree:" + root.String()
	}
	fs := &fileSystem{
		readOnly: readOnly{fuse.NewDefaultRawFileSystem()},
		source:   src, root: root, timeout: opt.Timeout, opt: opt,
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		lifetime: lifetime,
		table:    newTable(),
		trees:    newShelf[cas.Digest, *tree.Tree](treesWeight, nil),
		sizes:    newShelf[sizesKey, struct{}](0, nil),
		objects:  newShelf[cas.Digest](objectsWeight, func(o object) { o.Close() }),
		opens:    opens{nodes: map[uint32]*openNode{}},
		log:      &limitedLog{out: opt.Log},
	}
	if opt.UID != nil {
		fs.uid = *opt.UID
	}
	if opt.GID != nil {
		fs.gid = *opt.GID
	}
	return fs, end
}

func (s *Server) start(ctx context.Context) error {
	if err := s.fs.prepare(ctx); err != nil {
		return err
	}
	fd, err := attach(ctx, s.dir, attachment{s.fs.opt.FsName, s.fs.opt.AllowOther, maxRead})
	if err != nil {
		return err
	}
	watched, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		s.fs.ended = func() bool { return hungUp(watched) }
		s.fs.kernel, err = fuse.NewServer(s.fs, fmt.Sprintf("/dev/fd/%d", fd), s.fs.kernelOptions())
	}
	if err != nil {
		unix.Close(watched)
		detach(ctx, s.dir, true)
		return fmt.Errorf("mount %s: %w", s.dir, err)
	}
	s.fs.enablePassthrough()
	raiseReadahead(s.dir)
	if s.fs.opt.Prefetch > PrefetchNothing {
		s.fs.running.Go(s.fs.prefetch)
	}
	go s.serve(watched)
	return nil
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

// serve answers the kernel until the mount ends. watched is a second
// descriptor of the connection.
func (s *Server) serve(watched int) {
	s.fs.kernel.Serve()
	if !hungUp(watched) {
		s.err = fmt.Errorf("%s: the connection to the kernel broke", s.dir)
	}
	s.end()
	s.fs.close()
	unix.Close(watched)
	close(s.served)
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

// Dir returns the mountpoint, absolute and without links.
func (s *Server) Dir() string { return s.dir }

// Done is closed when the mount has ended and nothing of it is running.
func (s *Server) Done() <-chan struct{} { return s.served }

// Wait returns when the mount has ended. It is an error if nobody unmounted.
func (s *Server) Wait() error {
	<-s.served
	return s.err
}

// Unmount ends the mount and waits for that, as long as ctx lasts. A mount in
// use is ErrBusy.
func (s *Server) Unmount(ctx context.Context) error {
	if err := Unmount(ctx, s.dir, false); err != nil {
		return err
	}
	select {
	case <-s.served:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: %w", s.dir, context.Cause(ctx))
	}
}

// Stats counts what a mount did so far.
type Stats struct {
	Entries     int   // names in the directories that were looked into
	Directories int   // directories that were looked into
	Requests    int64 // questions of the kernel, the rest came from its caches
	Reads       int64 // questions for file content
	ReadBytes   int64 // content handed to the kernel
	Trees       int64 // trees read from the source
	Objects     int64 // files opened in the source
	Errors      int64 // questions answered with an error
	Passed      int64 // openings of files that the kernel then read without us
	Prefetching bool  // reading ahead is not over
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	fs := s.fs
	nodes, dirs, _ := fs.table.totals()
	return Stats{
		Entries: nodes - 1, Directories: dirs,
		Requests: fs.stats.requests.Load(), Reads: fs.stats.reads.Load(), ReadBytes: fs.stats.bytes.Load(),
		Trees: fs.stats.trees.Load(), Objects: fs.stats.objects.Load(), Errors: fs.stats.errors.Load(),
		Passed: fs.stats.passed.Load(), Prefetching: fs.stats.prefetching.Load(),
	}
}
