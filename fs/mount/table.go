package mount

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// A node is a position: an entry of a directory. It is known by its index in
// the table, which is also its inode number less one. The children of one
// directory stand in a row, in the order of its tree, so that an index is all
// that the kernel needs to hold and nothing is kept for what the kernel merely
// looks at. Nodes live as long as the mount.
type node struct {
	size int64  // of a file in bytes, or one of the values below; of a directory: 1 + its index in dirs, 0 if it has none
	dir  uint32 // index in dirs of the directory that it is in; the root's is unused
	mode uint16 // type and permission bits as in st_mode
}

const (
	sizeUnasked = -1 // nobody was asked yet
	sizeUntold  = -2 // the source can't tell; only the content can
)

func (n node) isDir() bool  { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }
func (n node) isFile() bool { return n.mode&syscall.S_IFMT == syscall.S_IFREG }

// dir is a directory that was looked into.
type dir struct {
	digest cas.Digest
	self   uint32 // its own node
	first  uint32 // node of its first entry
	count  uint32 // of its entries
}

const root = uint32(0)

// Nodes are allocated in pages so that growing copies little. The first page
// begins small: most trees are.
const (
	pageSize  = 1 << 12
	firstPage = 1 << 5
)

// table holds all nodes. It is safe for concurrent use.
type table struct {
	mu    sync.RWMutex
	pages [][]node // all of them pageSize long, except the first one while it is alone
	count uint32
	dirs  []dir
	alike map[cas.Digest]uint32 // index in dirs of the first one with a tree
	bytes int64                 // sum of the sizes that are known

	sum      *atomic.Int64 // of the weights of many tables, or nil
	reported int64         // what of that is this table's
}

func newTable() *table {
	t := &table{alike: map[cas.Digest]uint32{}}
	t.grow(1)
	*t.at(root) = node{mode: syscall.S_IFDIR | 0o755}
	return t
}

// at and grow want the lock to be held.
func (t *table) at(id uint32) *node { return &t.pages[id/pageSize][id%pageSize] }

func (t *table) grow(n uint32) {
	t.count += n
	if len(t.pages) == 0 {
		t.pages = append(t.pages, make([]node, firstPage))
	}
	if size := len(t.pages[0]); uint64(size) < uint64(t.count) && size < pageSize {
		for size < pageSize && uint64(size) < uint64(t.count) {
			size *= 2
		}
		larger := make([]node, size)
		copy(larger, t.pages[0])
		t.pages[0] = larger
	}
	for uint64(len(t.pages))*pageSize < uint64(t.count) {
		t.pages = append(t.pages, make([]node, pageSize))
	}
}

// get returns node id, and whether there is such a node.
func (t *table) get(id uint32) (node, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id >= t.count {
		return node{}, false
	}
	return *t.at(id), true
}

// opened returns directory id if it was looked into.
func (t *table) opened(id uint32) (dir, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.at(id)
	if n.size == 0 {
		return dir{}, false
	}
	return t.dirs[n.size-1], true
}

// parent returns the directory that node id is in. The root is in none.
func (t *table) parent(id uint32) dir {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirs[t.at(id).dir]
}

var errTooMany = errors.New("too many entries in one mount")

// open makes nodes of the entries of directory id, whose tree is content. It
// does so once; later calls return the same.
func (t *table) open(id uint32, digest cas.Digest, content *tree.Tree) (dir, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.at(id); n.size > 0 {
		return t.dirs[n.size-1], nil
	}
	if uint64(t.count)+uint64(content.Len()) > math.MaxUint32 {
		return dir{}, errTooMany
	}
	d := dir{digest: digest, self: id, first: t.count, count: uint32(content.Len())}
	t.dirs = append(t.dirs, d)
	t.at(id).size = int64(len(t.dirs))
	t.grow(d.count)
	for i := range d.count {
		n := nodeOf(content.At(int(i)))
		n.dir = uint32(len(t.dirs) - 1)
		*t.at(d.first + i) = n
	}
	t.copySizes(d)
	t.report()
	return d, nil
}

// copySizes gives the files of d the sizes that are known from a directory with
// the same tree.
func (t *table) copySizes(d dir) {
	first, known := t.alike[d.digest]
	if !known {
		t.alike[d.digest] = uint32(len(t.dirs) - 1)
		return
	}
	for i := range d.count {
		n := t.at(d.first + i)
		if from := t.at(t.dirs[first].first + i); n.isFile() && n.size < 0 && from.size >= 0 {
			n.size = from.size
			t.bytes += n.size
		}
	}
}

func nodeOf(e tree.Entry) node {
	n := node{mode: uint16(e.Perm)}
	switch e.Type {
	case tree.Dir:
		n.mode |= syscall.S_IFDIR
	case tree.Symlink:
		n.mode |= syscall.S_IFLNK
		n.size = int64(len(e.Target))
	default:
		n.mode |= syscall.S_IFREG
		n.size = sizeUnasked
		if isEmpty(e.Digest) {
			n.size = 0
		}
	}
	return n
}

// setSizes notes the sizes of the files at ids that are still unknown.
func (t *table) setSizes(ids []uint32, sizes []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, id := range ids {
		if n := t.at(id); n.size < 0 && n.isFile() {
			n.size = sizes[i]
			t.bytes += max(sizes[i], 0)
		}
	}
}

// correct replaces a size that the content has disproved.
func (t *table) correct(id uint32, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.at(id)
	t.bytes += size - max(n.size, 0)
	n.size = size
}

// alikeWeight is about what a directory takes in alike, in bytes: the map has
// between one and two places of that size for each.
const alikeWeight = 64

// weight returns about how many bytes of memory the table takes.
func (t *table) weight() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.weigh()
}

// weigh and report want the lock to be held.
func (t *table) weigh() int64 {
	nodes := len(t.pages[0]) + (len(t.pages)-1)*pageSize
	return int64(nodes)*int64(unsafe.Sizeof(node{})) +
		int64(cap(t.dirs))*int64(unsafe.Sizeof(dir{})) + int64(len(t.alike))*alikeWeight
}

// reportTo keeps the weight of the table in sum from now on, and no more in the
// sum before. Either may be nil.
func (t *table) reportTo(sum *atomic.Int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sum != nil {
		t.sum.Add(-t.reported)
	}
	t.sum, t.reported = sum, 0
	t.report()
}

func (t *table) report() {
	if t.sum == nil {
		return
	}
	now := t.weigh()
	t.sum.Add(now - t.reported)
	t.reported = now
}

// totals returns the number of nodes and open directories, and the sum of the
// known sizes.
func (t *table) totals() (nodes, dirs int, bytes int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return int(t.count), len(t.dirs), t.bytes
}

var emptyDigests = func() (ds [3]cas.Digest) {
	for i, a := range []cas.Algorithm{cas.BLAKE3, cas.SHA1, cas.SHA256} {
		h := cas.NewHasher(a)
		ds[i] = h.Digest()
		h.Release()
	}
	return ds
}()

// isEmpty tells whether d names the empty object. That needs no source: and a
// claim about it could not be disproved, since the kernel never reads a file
// that it believes to be empty.
func isEmpty(d cas.Digest) bool {
	return d == emptyDigests[0] || d == emptyDigests[1] || d == emptyDigests[2]
}
