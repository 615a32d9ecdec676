package mount

import (
	"context"
	"errors"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// closureSource is a source that fetches all trees of a closure at once.
type closureSource interface {
	cas.Getter
	tree.ClosureGetter
	// Lacking returns those of ds that are not here.
	Lacking(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error)
}

// readClosures opens those of the directories whose trees are not here, and all
// that is below them, with one question for everything, if the source knows how
// to answer that. What fails here is tried again one by one.
func (p *prefetcher) readClosures(dirs []uint32) {
	source, ok := p.source.(closureSource)
	if !ok {
		return
	}
	first := p.firstNodes(dirs)
	lacking, err := source.Lacking(p.ctx, keys(first))
	if err != nil || len(lacking) == 0 {
		return
	}
	_ = source.GetClosure(p.ctx, lacking, nil, func(d cas.Digest, data []byte, sizes []int64, err error) error {
		id, named := first[d]
		if err != nil || !named {
			return nil
		}
		t, err := tree.Decode(data)
		if err != nil {
			return nil
		}
		if err := p.openTree(id, d, t, sizes, first); err != nil {
			return err
		}
		if !p.goesOn() {
			return errEnough
		}
		return nil
	})
}

var errEnough = errors.New("enough is read ahead")

// firstNodes returns one directory for each of their trees.
func (p *prefetcher) firstNodes(dirs []uint32) map[cas.Digest]uint32 {
	first := map[cas.Digest]uint32{}
	for _, id := range dirs {
		digest := p.root
		if id != root {
			e, err := p.entry(p.caller, id)
			if err != nil {
				continue
			}
			digest = e.Digest
		}
		first[digest] = id
	}
	return first
}

func keys(m map[cas.Digest]uint32) []cas.Digest {
	ds := make([]cas.Digest, 0, len(m))
	for d := range m {
		ds = append(ds, d)
	}
	return ds
}

// openTree opens directory id, whose tree has come, and notes the first node of
// each tree in it.
func (p *prefetcher) openTree(id uint32, digest cas.Digest, t *tree.Tree, sizes []int64, first map[cas.Digest]uint32) error {
	d, err := p.table.open(id, digest, t)
	if err != nil {
		return err
	}
	p.keepTree(digest, t)
	var files []uint32
	var known []int64
	for i := range d.count {
		e := t.At(int(i))
		if _, seen := first[e.Digest]; e.Type == tree.Dir && !seen {
			first[e.Digest] = d.first + i
		}
		if len(sizes) == t.Len() && e.Type == tree.File && isBelievable(sizes[i]) {
			files = append(files, d.first+i)
			known = append(known, sizes[i])
		}
	}
	p.table.setSizes(files, known)
	return nil
}

// keepTree spares whoever looks next a read of t.
func (fs *fileSystem) keepTree(digest cas.Digest, t *tree.Tree) {
	it, err := fs.trees.take(digest, fs.background().wait, func() (*tree.Tree, int64, error) {
		return t, weightOf(t), nil
	})
	if err == nil {
		fs.trees.release(it)
	}
}
