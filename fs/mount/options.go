package mount

import (
	"log/slog"
	"os"
	"time"
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
	// NoExec lets nobody run programs from the mount.
	NoExec bool
	// UID and GID own all files. Default: those of this process.
	UID, GID *uint32
	// Timeout bounds the fetch of a tree, of sizes, and of a file as far as
	// its length does not explain that it takes longer. Default:
	// DefaultTimeout.
	Timeout time.Duration
	// Prefetch says what is read before anybody asks for it, while nobody
	// waits for something else.
	Prefetch Prefetch
	// PrefetchPaths are files and directories that are read before that, in
	// this order: paths from the root of the tree, with slashes.
	PrefetchPaths []string
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

// complete returns o with its defaults filled in.
func (o Options) complete(source string) Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FsName == "" {
		o.FsName = "fstree:" + source
	}
	if uid := uint32(os.Geteuid()); o.UID == nil {
		o.UID = &uid
	}
	if gid := uint32(os.Getegid()); o.GID == nil {
		o.GID = &gid
	}
	return o
}
