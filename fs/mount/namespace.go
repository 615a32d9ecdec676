package mount

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// MountAll shows every tree in src on the directory dir, as dir/DIGEST, until
// it is unmounted. A tree is looked for when its name is: a digest that src
// does not hold is absent, and asked for again the next time. dir lists what
// was used lately. Otherwise it is like Mount; Options.PrefetchPaths say
// nothing, and Options.Prefetch is done for a tree when it is first used.
//
// Memory: 4 KiB for a tree, and about 150 bytes for each directory that was
// looked into and 16 for each of its entries. Above 128 MiB, trees that nobody
// used for ten minutes are forgotten; at 512 MiB no tree is added.
func MountAll(ctx context.Context, dir string, src cas.Getter, opt Options) (*Server, error) {
	return mountAll(ctx, dir, src, opt, defaultBounds)
}

func mountAll(ctx context.Context, dir string, src cas.Getter, opt Options, b bounds) (*Server, error) {
	opt.PrefetchPaths = nil
	s, end := newShared(src, opt.complete("namespace"))
	return start(ctx, dir, s, end, newNamespace(s, b))
}

// bounds keep a namespace small.
type bounds struct {
	Enough int64         // bytes of memory above which idle trees are forgotten
	Most   int64         // bytes of memory at which no tree is added
	Idle   time.Duration // without use, after which a tree is idle
	Name   time.Duration // how long the kernel does not ask again for a tree's name
	Listed int           // trees that a listing shows
}

var defaultBounds = bounds{Enough: 128 << 20, Most: 512 << 20, Idle: 10 * time.Minute, Name: 10 * time.Second, Listed: 1024}

// viewWeight is about what a tree takes beside its table, in bytes.
const viewWeight = 4 << 10

// readAheadTrees is how many trees of a namespace are read ahead at once.
const readAheadTrees = 4

// namespace shows all trees. Node numbers tell which tree a request is about:
// the upper half is the tree, counted from 1, the lower half is the node in it.
// Tree 0 is the namespace itself, node 0 of a tree is a symlink to its root:
// the short name of the digest leads to the full one, since a directory can't
// have two names.
type namespace struct {
	readOnly
	*shared
	bounds  bounds
	ahead   chan struct{} // one for each tree that is read ahead
	weight  atomic.Int64  // about what all trees take, in bytes
	tidying atomic.Bool

	mu       sync.RWMutex
	byPlace  map[uint32]*view
	byDigest map[cas.Digest]*view
	last     uint32 // place given to a tree
}

// view is a tree in a namespace.
type view struct {
	*fileSystem
	place     uint32       // upper half of its node numbers
	used      atomic.Int64 // when, in nanoseconds since 1970
	dismissed atomic.Bool  // it goes when the kernel lets go of it
}

func newNamespace(s *shared, b bounds) *namespace {
	return &namespace{
		readOnly: readOnly{fuse.NewDefaultRawFileSystem()},
		shared:   s,
		bounds:   b,
		ahead:    make(chan struct{}, readAheadTrees),
		byPlace:  map[uint32]*view{},
		byDigest: map[cas.Digest]*view{},
	}
}

func (v *view) use() {
	v.used.Store(time.Now().UnixNano())
	v.dismissed.Store(false)
}

// open returns the tree d, which stays until it is let go.
func (ns *namespace) open(c caller, d cas.Digest) (*view, error) {
	ns.tidy()
	if v := ns.hold(d); v != nil {
		return v, nil
	}
	t, err := ns.tree(c, d)
	if isNoTree(err) {
		ns.trees.pardon(d) // it may be there the next moment
	}
	if err != nil {
		return nil, err
	}
	return ns.add(d, t)
}

// hold returns the tree d if it is there, and keeps it there.
func (ns *namespace) hold(d cas.Digest) *view {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	v := ns.byDigest[d]
	if v != nil {
		v.use()
		v.references.Add(1)
	}
	return v
}

func (ns *namespace) letGo(v *view) { ns.forget(v, 1) }

func (ns *namespace) add(d cas.Digest, content *tree.Tree) (*view, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	v := ns.byDigest[d]
	if v == nil {
		if ns.weight.Load() >= ns.bounds.Most || ns.last == math.MaxUint32 {
			return nil, fmt.Errorf("object %s: %w", d, errTooMany)
		}
		place := ns.last + 1
		v = &view{fileSystem: newFileSystem(ns.shared, d, uint64(place)<<32), place: place}
		if _, err := v.table.open(root, d, content); err != nil {
			return nil, err
		}
		ns.last = place
		ns.byPlace[place], ns.byDigest[d] = v, v
		ns.count(v)
		ns.readAhead(v)
		ns.listingChanged()
	}
	v.use()
	v.references.Add(1)
	return v, nil
}

func (ns *namespace) readAhead(v *view) {
	if ns.opt.Prefetch == PrefetchNothing {
		return
	}
	v.references.Add(1)
	ns.inBackground(func() {
		defer ns.letGo(v)
		select {
		case ns.ahead <- struct{}{}:
			defer func() { <-ns.ahead }()
			v.prefetch()
		case <-ns.lifetime.Done():
		}
	})
}

// prepare asks for nothing: there may be no tree yet.
func (ns *namespace) prepare(context.Context) error {
	ns.passthrough = ns.opt.Mode == ModePassthrough
	return nil
}

func (ns *namespace) locate(c caller, path string) (*fileSystem, string, func(), error) {
	name, inside, _ := strings.Cut(strings.Trim(path, "/"), "/")
	d, err := cas.ParseDigest(name)
	if err != nil {
		return nil, "", nil, &iofs.PathError{Op: "prefetch", Path: path, Err: err}
	}
	v, err := ns.open(c, d)
	if err != nil {
		return nil, "", nil, err
	}
	return v.fileSystem, inside, func() { ns.letGo(v) }, nil
}

func (ns *namespace) totals() (nodes, dirs int) {
	nodes = 1
	for _, v := range ns.views() {
		n, d := v.totals()
		nodes, dirs = nodes+n, dirs+d
	}
	return nodes, dirs
}

// views returns all trees, in no order.
func (ns *namespace) views() []*view {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	all := make([]*view, 0, len(ns.byPlace))
	for _, v := range ns.byPlace {
		all = append(all, v)
	}
	return all
}

func (ns *namespace) close() {
	for _, v := range ns.views() {
		v.close()
	}
}

// isNoTree tells whether err says that there is no tree of that name, for sure.
func isNoTree(err error) bool {
	return errors.Is(err, cas.ErrNotFound) || errors.Is(err, cas.ErrTooLarge) || errors.As(err, new(*tree.FormatError))
}
