package mount

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

const (
	// forever is how long the kernel may keep what it was told: what a digest
	// names never changes.
	forever = 365 * 24 * time.Hour

	blockSize = 4096
	dirSize   = blockSize

	maxTarget = 4095 // bytes of a link target that the kernel takes
)

// modified is the time that all entries carry, trees having none: long enough
// ago for build tools, late enough for archive formats.
var modified = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// shared is what all trees of a mount have in common.
type shared struct {
	source cas.Getter
	opt    Options

	// passthrough is whether the kernel shall read local files itself.
	passthrough bool

	lifetime context.Context
	ended    func() bool // tells whether the kernel has let go of the mount
	kernel   *fuse.Server
	running  sync.WaitGroup

	trees    *shelf[cas.Digest, *tree.Tree]
	objects  *shelf[cas.Digest, object]
	opens    opens
	sweeping chan struct{} // one for each file that is fetched for a sweep
	log      *limitedLog
	stats    counters
}

// fileSystem answers what the kernel asks about one tree. What the kernel was
// told once it never asks again: entries, attributes, link targets, absent
// names and pages live as long in its caches as it likes, and ENOSYS makes it
// do without OPEN, OPENDIR, RELEASE, FLUSH, ACCESS and the calls for extended
// attributes altogether.
type fileSystem struct {
	readOnly
	*shared
	root cas.Digest
	base uint64 // its node numbers are above, by less than 1<<32

	// references is what the kernel holds of the tree, counted as FORGET does.
	references atomic.Int64
	disproved  sync.Map // of nodes whose size turned out to be wrong

	table  *table
	sizes  *shelf[sizesKey, struct{}]
	sweeps *sweeps
}

type counters struct {
	requests, reads, bytes, errors, trees, objects, passed atomic.Int64

	waiting     atomic.Int64 // callers that wait for a load
	prefetching atomic.Int64 // trees that are read ahead
}

// topNumber is the number of the directory that is mounted.
const topNumber = 1

// number is the inode and node number of node id.
func (fs *fileSystem) number(id uint32) uint64 { return fs.base + uint64(id) + 1 }

// node returns the node that a request is about.
func (fs *fileSystem) node(h *fuse.InHeader) (uint32, node, fuse.Status) {
	fs.stats.requests.Add(1)
	id := h.NodeId - fs.base - 1
	if id >= 1<<32 {
		return 0, node{}, fuse.Status(syscall.ESTALE)
	}
	n, ok := fs.table.get(uint32(id))
	if !ok {
		return 0, node{}, fuse.Status(syscall.ESTALE)
	}
	return uint32(id), n, fuse.OK
}

func (fs *fileSystem) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	id, n, status := fs.node(h)
	if !status.Ok() || !n.isDir() {
		return or(status, fuse.ENOTDIR)
	}
	c := fs.caller(cancel, h)
	d, t, err := fs.directory(c, id)
	if err != nil {
		return fs.fail("lookup", id, err)
	}
	i, ok := t.Find(name)
	if !ok {
		out.SetEntryTimeout(forever) // with node 0: there is no such name
		return fuse.OK
	}
	child := d.first + uint32(i)
	n, err = fs.sized(c, child)
	if err != nil {
		return fs.fail("lookup", child, err)
	}
	fs.fill(out, child, n)
	return fuse.OK
}

func or(status, otherwise fuse.Status) fuse.Status {
	if status.Ok() {
		return otherwise
	}
	return status
}

func (fs *fileSystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	id, _, status := fs.node(&in.InHeader)
	if !status.Ok() {
		return status
	}
	n, err := fs.sized(fs.caller(cancel, &in.InHeader), id)
	if err != nil {
		return fs.fail("stat", id, err)
	}
	out.SetTimeout(forever)
	fs.attributes(&out.Attr, id, n)
	return fuse.OK
}

// fill tells the kernel of node id.
func (fs *fileSystem) fill(out *fuse.EntryOut, id uint32, n node) {
	fs.references.Add(1)
	out.NodeId = fs.number(id)
	out.Generation = 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	fs.attributes(&out.Attr, id, n)
}

func (fs *fileSystem) attributes(a *fuse.Attr, id uint32, n node) {
	fs.describe(a, fs.number(id), uint32(n.mode), uint64(n.size))
	if n.isFile() {
		a.Blocks = (a.Size + 511) / 512
	}
}

// describe fills in the attributes of something with a number, a mode and,
// unless it is a directory, a size.
func (s *shared) describe(a *fuse.Attr, number uint64, mode uint32, size uint64) {
	a.Ino, a.Mode, a.Size = number, mode, size
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		a.Size = dirSize
	}
	a.Blksize = blockSize
	// For a directory, 1 says that the number of its subdirectories is not
	// told: it is known only after looking into it, and must not change then.
	a.Nlink = 1
	a.Owner = fuse.Owner{Uid: *s.opt.UID, Gid: *s.opt.GID}
	a.SetTimes(&modified, &modified, &modified)
}

func (fs *fileSystem) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	id, n, status := fs.node(h)
	if !status.Ok() || n.mode&syscall.S_IFMT != syscall.S_IFLNK {
		return nil, or(status, fuse.Status(syscall.EINVAL))
	}
	e, err := fs.entry(fs.caller(cancel, h), id)
	if err != nil {
		return nil, fs.fail("readlink", id, err)
	}
	if len(e.Target) > maxTarget {
		return nil, fuse.Status(syscall.ENAMETOOLONG)
	}
	return []byte(e.Target), fuse.OK
}

// StatFs tells what is known without asking anybody. Something of a file
// system with no blocks would be hidden by df.
func (fs *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	nodes, _, bytes := fs.table.totals()
	statfs(out, nodes, bytes)
	return fuse.OK
}

func statfs(out *fuse.StatfsOut, nodes int, bytes int64) {
	out.Blocks = uint64(bytes)/blockSize + 1
	out.Files = uint64(nodes)
	out.Bsize = blockSize
	out.Frsize = blockSize
	out.NameLen = 255
}

// Flush makes the kernel do without us.
func (s *shared) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status {
	s.stats.requests.Add(1)
	return fuse.ENOSYS
}
