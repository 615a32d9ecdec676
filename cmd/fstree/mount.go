package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/fs/mount"
	"github.com/fstree/fstree/fs/mount/control"
)

type mountCommand struct {
	treeArg
	Dir              string       `arg:"" type:"path" help:"Existing directory to mount on."`
	Foreground       bool         `short:"f" help:"Stay in the foreground and log to stderr."`
	Prefetch         prefetchFlag `default:"trees" placeholder:"WHAT" help:"Read ahead in the background: none, trees (directories and sizes), all, or @FILE: first the paths in FILE, one a line, then trees (${default})."`
	Mode             mount.Mode   `default:"auto" placeholder:"MODE" help:"Who reads local files: cached, passthrough (the kernel; for few large files, as root) or auto (${default})."`
	Xattrs           bool         `help:"Show digests as the extended attribute user.fstree.digest."`
	AllowOther       bool         `help:"Let other users see the mount."`
	UID              *uint32      `name:"uid" placeholder:"N" help:"Owner of all files; default is you."`
	GID              *uint32      `name:"gid" placeholder:"N" help:"Group of all files; default is yours."`
	NoDirectoryCache bool         `help:"Keep the kernel from keeping listings, if it does that wrong (some of Linux 6.9 to 6.12)."`
	Log              string       `type:"path" placeholder:"FILE" help:"Log file of the background process; default is log/ in the cache directory."`
	Debug            bool         `hidden:"" help:"Log every FUSE request."`
}

// Run mounts the tree. It returns once the directory can be used, and leaves a
// process in the background that serves it; with --foreground it is that
// process.
func (c *mountCommand) Run(ctx context.Context, a *app) error {
	if _, err := c.path(); err != nil {
		return err
	}
	if c.Foreground {
		log := slog.New(slog.NewTextHandler(a.stderr, nil))
		return c.serve(ctx, a, log, func() {})
	}
	if ready := inheritedReadyPipe(); ready != nil {
		// All paths are absolute by now; the caller's directory is not ours to keep.
		if err := os.Chdir("/"); err != nil {
			return err
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		err := c.serve(ctx, a, log, ready.ok)
		ready.failed(a.explain(err))
		return err
	}
	return a.inBackground(ctx, c.logFile(a))
}

// serve mounts the tree and answers until it is unmounted or ctx is done.
func (c *mountCommand) serve(ctx context.Context, a *app, log *slog.Logger, ready func()) error {
	return a.withReach(func(source *cached.Store) error {
		root, err := c.resolve(ctx, source)
		if err != nil {
			return err
		}
		paths, err := c.Prefetch.paths()
		if err != nil {
			return err
		}
		server, err := mount.Mount(ctx, c.Dir, root, source, mount.Options{
			FsName:           sourcePrefix + c.Tree,
			AllowOther:       c.AllowOther,
			UID:              c.UID,
			GID:              c.GID,
			Timeout:          a.Timeout,
			Prefetch:         c.Prefetch.what,
			PrefetchPaths:    paths,
			Mode:             c.Mode,
			Xattrs:           c.Xattrs,
			NoDirectoryCache: c.NoDirectoryCache,
			Log:              log,
			Debug:            c.Debug,
		})
		if err != nil {
			return err
		}
		log.Info("mounted", "tree", root, "dir", c.Dir, "remote", a.Remote, "mode", server.Mode())
		defer c.offer(a, server, source, log)()
		ready()
		stop := context.AfterFunc(ctx, func() { unmount(server, c.Dir, log) })
		defer stop()
		err = server.Wait()
		objects, bytes := source.Fetched()
		log.Info("unmounted", "dir", c.Dir, "fetched_objects", objects, "fetched_bytes", bytes)
		return err
	})
}

// sourcePrefix is what the source of a mount begins with, in the mount table.
const sourcePrefix = "fstree:"

// offer lets others ask the mount what it does, until withdraw is called.
func (c *mountCommand) offer(a *app, server *mount.Server, source *cached.Store, log *slog.Logger) (withdraw func()) {
	socket, err := control.Listen(a.mountsDir(), server.Device(), &controlled{server, source, control.Status{
		Dir: server.Dir(), Tree: c.Tree, Remote: a.Remote, PID: os.Getpid(), Started: time.Now(),
	}})
	if err != nil {
		log.Warn("mounts and prefetch will not find this mount", "err", err)
		return func() {}
	}
	return socket.Close
}

// unmountTime is how long the users of a mount have to leave it when a signal
// ends its process.
const unmountTime = 3 * time.Second

// unmount ends a mount whose process was told to stop. A busy one is taken out
// of the way: its users get errors, rather than a directory that hangs.
func unmount(server *mount.Server, dir string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), unmountTime)
	defer cancel()
	err := server.Unmount(ctx)
	if err != nil {
		log.Warn("the mount is in use and goes away all the same", "dir", dir, "cause", err)
		err = mount.Unmount(ctx, dir, true)
	}
	if err != nil {
		log.Error("unmount", "dir", dir, "error", err)
	}
}

type umountCommand struct {
	Dir  string `arg:"" type:"path" help:"Mountpoint."`
	Lazy bool   `short:"l" help:"Take the directory away at once, end the mount when its last user is gone."`
}

// Run ends the mount.
func (c *umountCommand) Run(ctx context.Context) error {
	err := mount.Unmount(ctx, c.Dir, c.Lazy)
	if errors.Is(err, mount.ErrBusy) {
		return hint(err, "end what uses it, or take it away with \"fstree umount --lazy\"")
	}
	return err
}
