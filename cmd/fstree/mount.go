package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/mount"
	"github.com/fstree/fstree/fs/mount/control"
	"github.com/fstree/fstree/remote"
)

type mountCommand struct {
	treeArg
	Dir              string       `arg:"" optional:"" type:"path" help:"Existing directory to mount on."`
	Namespace        bool         `help:"Show all trees, each as DIR/DIGEST, which resolves on first use; name only the directory."`
	Offline          bool         `help:"Never ask the remote: what is not in the cache is an input/output error at once."`
	Foreground       bool         `short:"f" help:"Stay in the foreground and log to stderr."`
	Prefetch         prefetchFlag `default:"trees" placeholder:"WHAT" help:"Read ahead in the background: none, trees (directories and sizes), all, or @FILE: first the paths in FILE, one a line, then trees (${default})."`
	Mode             mount.Mode   `default:"auto" placeholder:"MODE" help:"Who reads local files: cached, passthrough (the kernel; for few large files, as root) or auto (${default})."`
	Xattrs           bool         `help:"Show digests as the extended attribute user.fstree.digest."`
	AllowOther       bool         `help:"Let other users see the mount."`
	UID              *uint32      `name:"uid" placeholder:"N" help:"Owner of all files; default is you."`
	GID              *uint32      `name:"gid" placeholder:"N" help:"Group of all files; default is yours."`
	NoExec           bool         `name:"noexec" help:"Let nobody run programs from the mount."`
	Metrics          string       `placeholder:"HOST:PORT" help:"Serve metrics for Prometheus at http://HOST:PORT/metrics."`
	NoDirectoryCache bool         `help:"Keep the kernel from keeping listings, if it does that wrong (some of Linux 6.9 to 6.12)."`
	Log              string       `type:"path" placeholder:"FILE" help:"Log file of the background process; default is log/ in the cache directory."`
	Source           string       `hidden:"" help:"What mount and df show as the source."`
	Debug            bool         `hidden:"" help:"Log every FUSE request."`

	fetches histogram
}

// Validate tells the directory from the tree: with --namespace there is none.
func (c *mountCommand) Validate() error {
	switch {
	case c.Namespace && c.Dir == "":
		c.Tree, c.Dir = "", kong.ExpandPath(c.Tree)
	case c.Namespace:
		return errors.New("--namespace shows all trees: name the directory only")
	case c.Dir == "":
		return errors.New(`expected "<tree> <dir>"`)
	}
	if c.Namespace && c.Prefetch.list != "" {
		return errors.New("--prefetch @FILE is for one tree, not for --namespace")
	}
	return nil
}

// Run mounts the tree. It returns once the directory can be used, and leaves a
// process in the background that serves it; with --foreground it is that
// process.
func (c *mountCommand) Run(ctx context.Context, a *app) error {
	if !c.Namespace {
		if _, err := c.path(); err != nil {
			return err
		}
	}
	if err := c.leaves(a.Cache); err != nil {
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

// leaves makes sure that the mount does not cover the cache: the process would
// look for its objects in what it serves itself. It does not look at the
// mountpoint, which may hang.
func (c *mountCommand) leaves(cache string) error {
	dir := filepath.Join(resolved(filepath.Dir(c.Dir)), filepath.Base(c.Dir))
	if cache = resolved(cache); cache == dir || strings.HasPrefix(cache, dir+"/") {
		return hint(fmt.Errorf("a mount on %s would cover the cache %s", c.Dir, cache), "name another directory, or another cache with --cache (FSTREE_CACHE)")
	}
	return nil
}

// serve mounts and answers until it is unmounted or ctx is done.
func (c *mountCommand) serve(ctx context.Context, a *app, log *slog.Logger, ready func()) error {
	return c.withSource(a, func(source *cached.Store) error {
		listener, err := c.listen()
		if err != nil {
			return err
		}
		defer listener.Close()
		server, err := c.mount(ctx, a, source, log)
		if err != nil {
			return err
		}
		log.Info("mounted", "tree", c.Tree, "dir", c.Dir, "remote", c.remote(a), "mode", server.Mode())
		shown := c.shown(a, server, source)
		defer listener.serve(shown)()
		defer c.offer(a, shown, log)()
		ready()
		stop := context.AfterFunc(ctx, func() { unmount(server, c.Dir, log) })
		defer stop()
		err = server.Wait()
		fetched := source.Stats()
		log.Info("unmounted", "dir", c.Dir, "fetched_objects", fetched.Objects, "fetched_bytes", fetched.Bytes)
		return err
	})
}

// withSource lends the store that is shown to do. What one tree's mount has met
// stays in the cache as long as it is shown. A namespace may last for months,
// and must not keep all that it has ever met.
func (c *mountCommand) withSource(a *app, do func(source *cached.Store) error) error {
	return a.withCacheThat(!c.Namespace, func(cache *disk.Store) error {
		show := func(far cached.Far) error {
			source := a.reach(cache, far)
			defer source.Close()
			source.Observe = func(took time.Duration, _ error) { c.fetches.observe(took) }
			return do(source)
		}
		if c.Offline {
			return show(offline{})
		}
		return a.withRemote(func(far remote.Store) error { return show(far) })
	})
}

func (c *mountCommand) mount(ctx context.Context, a *app, source *cached.Store, log *slog.Logger) (server *mount.Server, err error) {
	options, err := c.options(a, log)
	if err != nil {
		return nil, err
	}
	if c.Namespace {
		server, err = mount.MountAll(ctx, c.Dir, source, options)
	} else {
		server, err = c.mountTree(ctx, source, options)
	}
	if errors.Is(err, mount.ErrBusy) {
		err = hint(err, "unmount that first, or name another directory")
	}
	return server, err
}

func (c *mountCommand) mountTree(ctx context.Context, source *cached.Store, options mount.Options) (*mount.Server, error) {
	root, err := c.resolve(ctx, source)
	if err != nil {
		return nil, err
	}
	return mount.Mount(ctx, c.Dir, root, source, options)
}

func (c *mountCommand) options(a *app, log *slog.Logger) (mount.Options, error) {
	paths, err := c.Prefetch.paths()
	options := mount.Options{
		AllowOther:       c.AllowOther,
		NoExec:           c.NoExec,
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
		FsName:           c.source(),
	}
	return options, err
}

// remote is the remote as users are told of it.
func (c *mountCommand) remote(a *app) string {
	if c.Offline {
		return ""
	}
	return a.Remote
}

// sourcePrefix is what the source of a mount begins with, in the mount table,
// unless mount(8) was told of another: it takes the two for one mount only if
// the source is what it was told, and "mount -a" would mount again.
const sourcePrefix = "fstree:"

func (c *mountCommand) source() string {
	switch {
	case c.Source != "":
		return c.Source
	case c.Namespace:
		return sourcePrefix + "namespace"
	}
	return sourcePrefix + c.Tree
}

// offer lets others ask the mount what it does, until withdraw is called.
func (c *mountCommand) offer(a *app, shown *controlled, log *slog.Logger) (withdraw func()) {
	socket, err := control.Listen(a.mountsDir(), shown.server.Device(), shown)
	if err != nil {
		log.Warn("mounts and prefetch will not find this mount", "err", err)
		return func() {}
	}
	return socket.Close
}

func (c *mountCommand) shown(a *app, server *mount.Server, source *cached.Store) *controlled {
	return &controlled{server, source, &c.fetches, control.Status{
		Dir: server.Dir(), Tree: c.Tree, Remote: c.remote(a), PID: os.Getpid(), Started: time.Now(),
	}}
}
