package mount

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
)

// Mode says who reads files once they are local.
type Mode int

const (
	// ModeAuto is ModePassthrough for root, if the tree is a single directory
	// of few files that are large on the average, as far as that can be told
	// when it is mounted; otherwise, and for a namespace, it is ModeCached.
	ModeAuto Mode = iota
	// ModeCached has the kernel ask for content, and keep it. Opening a file
	// costs no request.
	ModeCached
	// ModePassthrough hands large local files to the kernel, which reads them
	// without us and keeps them once rather than twice. Every opening of a
	// file costs a request: it is for trees of few large files. It needs root
	// and Linux 6.9; otherwise the mount says so in its log and is cached.
	ModePassthrough
)

var modeNames = [...]string{ModeAuto: "auto", ModeCached: "cached", ModePassthrough: "passthrough"}

// String returns "auto", "cached" or "passthrough".
func (m Mode) String() string { return modeNames[m] }

// MarshalText returns what String returns.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what String returns.
func (m *Mode) UnmarshalText(text []byte) error {
	for i, name := range modeNames {
		if name == string(text) {
			*m = Mode(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of auto, cached, passthrough", text)
}

// opens knows which files are open in passthrough mode, and how. The kernel
// allows only one way at a time for an inode: as long as a cached handle or
// mapping of it lives, opening it otherwise would fail.
type opens struct {
	mu      sync.Mutex
	enabled bool
	nodes   map[uint64]*openNode
	direct  int // nodes with a file
}

// openNode is a node with handles. The kernel reads it from file, known to it
// as backing; or, if file is nil, through its cache from us.
type openNode struct {
	handles int
	backing int32
	file    localFile
}

// localFile is an object that is a plain file, whole and verified.
type localFile interface {
	cas.Object
	File() *os.File
}

// nearer is a source that can tell what it holds without a fetch.
type nearer interface {
	Near(ctx context.Context, d cas.Digest) (cas.Object, error)
}

const (
	openCached      = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	openPassthrough = fuse.FOPEN_PASSTHROUGH | fuse.FOPEN_NOFLUSH
)

// Open makes the kernel do without us, unless it is to be told of files that
// it can read itself.
func (fs *fileSystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if fs.opens.unneeded() {
		fs.stats.requests.Add(1)
		return fuse.ENOSYS
	}
	id, n, status := fs.node(&in.InHeader)
	if !status.Ok() {
		return status
	}
	var file localFile
	if n.isFile() && !fs.opens.has(in.NodeId) {
		file = fs.localFile(fs.caller(cancel, &in.InHeader), id, n.size)
	}
	backing, direct := fs.enter(in.NodeId, file)
	if !direct {
		out.OpenFlags = openCached
		return fuse.OK
	}
	fs.stats.passed.Add(1)
	out.OpenFlags, out.BackingID = openPassthrough, backing
	return fuse.OK
}

// localFile returns file id if it can be had without a fetch, as a plain file
// of the right size, and nil otherwise: opening a file must not wait for it to
// come.
func (fs *fileSystem) localFile(c caller, id uint32, size int64) localFile {
	e, err := fs.entry(c, id)
	if err != nil {
		return nil
	}
	get := fs.source.Get
	if near, ok := fs.source.(nearer); ok {
		get = near.Near
	}
	ctx, cancel := fs.within(fs.opt.Timeout)
	defer cancel()
	o, err := get(ctx, e.Digest)
	if err != nil {
		return nil
	}
	if file, ok := o.(localFile); ok && o.Size() == size {
		return file
	}
	o.Close()
	return nil
}

// enter counts a handle of a node, and takes file over. It returns the number
// under which the kernel knows the file to read, if it is to.
func (s *shared) enter(node uint64, file localFile) (backing int32, direct bool) {
	o := &s.opens
	o.mu.Lock()
	defer o.mu.Unlock()
	n, open := o.nodes[node]
	if !open {
		n = &openNode{}
		o.nodes[node] = n
	}
	n.handles++
	if file != nil && (open || !s.register(n, file)) {
		file.Close()
	}
	return n.backing, n.file != nil
}

// register tells the kernel of file. If it refuses once, it would refuse
// always: then the mount goes on without.
func (s *shared) register(n *openNode, file localFile) bool {
	o := &s.opens
	if !o.enabled {
		return false
	}
	backing, errno := s.kernel.RegisterBackingFd(&fuse.BackingMap{Fd: int32(file.File().Fd())})
	if errno != 0 {
		o.enabled = false
		s.opt.Log.Error("passthrough is switched off: the kernel refuses a file", "err", errno)
		return false
	}
	n.backing, n.file = backing, file
	o.direct++
	return true
}

// Release ends a handle.
func (s *shared) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	s.stats.requests.Add(1)
	o := &s.opens
	o.mu.Lock()
	defer o.mu.Unlock()
	n, open := o.nodes[in.NodeId]
	if !open {
		return
	}
	if n.handles--; n.handles > 0 {
		return
	}
	delete(o.nodes, in.NodeId)
	if n.file != nil {
		o.direct--
		s.kernel.UnregisterBackingFd(n.backing)
		n.file.Close()
	}
}

// unneeded tells whether the kernel may open files without asking.
func (o *opens) unneeded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.enabled && o.direct == 0
}

func (o *opens) has(node uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, open := o.nodes[node]
	return open
}

// close ends what the kernel has not released.
func (o *opens) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.nodes {
		if n.file != nil {
			n.file.Close()
		}
	}
}

// enablePassthrough looks whether this process and this kernel can do it.
func (s *shared) enablePassthrough() {
	if !s.passthrough {
		return
	}
	switch {
	case os.Geteuid() != 0:
		s.opt.Log.Warn("no passthrough: that needs root")
	case s.kernel.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0:
		s.opt.Log.Warn("no passthrough: this kernel does not offer it")
	default:
		s.opens.enabled = true
	}
}
