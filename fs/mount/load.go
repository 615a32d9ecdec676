package mount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

const (
	// treesWeight bounds the memory of the decoded trees that are kept, in
	// bytes. Without them a request costs a read of the tree from the source.
	treesWeight = 16 << 20
	entryWeight = 112

	// sizesAtOnce is how many neighbours in a directory are asked for their
	// size together with the one that is needed.
	sizesAtOnce = 4096

	// maxSize is the largest size that is believed, so that sums don't
	// overflow.
	maxSize = 1 << 48
)

// tree returns the tree d.
func (s *shared) tree(c caller, d cas.Digest) (*tree.Tree, error) {
	it, err := s.trees.take(d, c.wait, func() (*tree.Tree, int64, error) {
		ctx, cancel := s.within(s.opt.Timeout)
		defer cancel()
		return s.readTree(ctx, d)
	})
	if err != nil {
		return nil, err
	}
	defer s.trees.release(it)
	return it.value, nil
}

func (s *shared) readTree(ctx context.Context, d cas.Digest) (*tree.Tree, int64, error) {
	t, err := tree.Read(ctx, s.source, d)
	if err != nil {
		return nil, 0, named(d, err)
	}
	s.stats.trees.Add(1)
	return t, weightOf(t), nil
}

func weightOf(t *tree.Tree) int64 {
	weight := int64(entryWeight)
	for e := range t.All() {
		weight += int64(entryWeight + len(e.Name) + len(e.Target))
	}
	return weight
}

// named makes sure that an error of ours tells which object it is about; those
// of stores do.
func named(d cas.Digest, err error) error {
	if errors.Is(err, errTimeout) {
		return fmt.Errorf("object %s: %w", d, err)
	}
	return err
}

// within returns a context for work that the mount does on its own behalf.
func (s *shared) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(s.lifetime, d, errTimeout)
}

// directory looks into directory id.
func (fs *fileSystem) directory(c caller, id uint32) (dir, *tree.Tree, error) {
	d, ok := fs.table.opened(id)
	if ok {
		t, err := fs.tree(c, d.digest)
		return d, t, err
	}
	digest := fs.root
	if id != root {
		e, err := fs.entry(c, id)
		if err != nil {
			return dir{}, nil, err
		}
		digest = e.Digest
	}
	t, err := fs.tree(c, digest)
	if err != nil {
		return dir{}, nil, err
	}
	d, err = fs.table.open(id, digest, t)
	return d, t, err
}

// entry returns what the tree says about node id, which is not the root.
func (fs *fileSystem) entry(c caller, id uint32) (tree.Entry, error) {
	d := fs.table.parent(id)
	t, err := fs.tree(c, d.digest)
	if err != nil {
		return tree.Entry{}, err
	}
	return t.At(int(id - d.first)), nil
}

// sized returns node id with its size known: from the table, else from who
// can tell without the content, else from the content.
func (fs *fileSystem) sized(c caller, id uint32) (node, error) {
	n, _ := fs.table.get(id)
	if !n.isFile() || n.size >= 0 {
		return n, nil
	}
	d := fs.table.parent(id)
	t, err := fs.tree(c, d.digest)
	if err != nil {
		return n, err
	}
	if n.size == sizeUnasked {
		err = fs.askSizes(c.wait, d, t, id)
		if n, _ = fs.table.get(id); n.size >= 0 {
			return n, nil
		}
		if errors.Is(err, errInterrupted) || errors.Is(err, cas.ErrUnavailable) || errors.Is(err, errTimeout) {
			return n, err // the content would have to come the same way
		}
	}
	o, err := fs.object(c, t.At(int(id-d.first)).Digest, sizeUntold)
	if err != nil {
		return n, err
	}
	fs.table.setSizes([]uint32{id}, []int64{o.value.size})
	fs.objects.release(o)
	n, _ = fs.table.get(id)
	return n, nil
}

// sizesKey names a piece of a directory: the node of its first entry.
type sizesKey uint32

// askSizes has the sizes of the neighbours of id in d entered into the table.
func (fs *fileSystem) askSizes(wait func(<-chan struct{}) error, d dir, t *tree.Tree, id uint32) error {
	first := id - (id-d.first)%sizesAtOnce
	it, err := fs.sizes.take(sizesKey(first), wait, func() (struct{}, int64, error) {
		ctx, cancel := fs.within(fs.opt.Timeout)
		defer cancel()
		return struct{}{}, 1, fs.loadSizes(ctx, d, t, first)
	})
	if err != nil {
		return err
	}
	fs.sizes.release(it)
	return nil
}

func (fs *fileSystem) loadSizes(ctx context.Context, d dir, t *tree.Tree, first uint32) error {
	var ids []uint32
	var digests []cas.Digest
	for id := first; id < min(first+sizesAtOnce, d.first+d.count); id++ {
		if n, _ := fs.table.get(id); n.isFile() && n.size == sizeUnasked {
			ids = append(ids, id)
			digests = append(digests, t.At(int(id-d.first)).Digest)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	sizes, err := cas.SizesOf(ctx, fs.source, digests)
	if len(sizes) != len(ids) {
		return errors.Join(err, errSizes)
	}
	unknown := int64(sizeUntold)
	if err != nil {
		unknown = sizeUnasked
	}
	for i, size := range sizes {
		if !isBelievable(size) {
			sizes[i] = unknown
		}
	}
	fs.table.setSizes(ids, sizes)
	return err
}

// isBelievable tells whether a file may have a size. An empty file is known by
// its digest, so a claim of 0 is a lie, and one that reading would not
// disprove.
func isBelievable(size int64) bool { return size > 0 && size <= maxSize }

var errSizes = errors.New("wrong number of sizes")
