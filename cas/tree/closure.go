package tree

import (
	"context"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

// VisitTree is told of one tree of a closure: its encoded form and the length
// of each entry's file in the order of the entries, -1 for what is unknown and
// for all but files; or the error with which it could not be had. An error
// that it returns ends the call and is returned.
type VisitTree = func(d cas.Digest, data []byte, sizes []int64, err error) error

// ClosureGetter sends the trees of closures in bulk. It is optional: ask a
// store through WalkSized.
type ClosureGetter interface {
	// GetClosure calls visit, from one goroutine at a time, for each distinct
	// tree of the closures of roots, behind one that names it; trees in have
	// are left out, and what only they name. Data was verified against d and
	// may be kept. Sizes are claims, and their number is one as well. A store
	// that turns out not to be able to do this fails with
	// errors.ErrUnsupported before it visits anything.
	GetClosure(ctx context.Context, roots, have []cas.Digest, visit VisitTree) error
}

// Sized is one tree of a closure.
type Sized struct {
	Digest cas.Digest
	Tree   *Tree   // nil if Err is set
	Data   []byte  // the encoded form; to be kept by whoever wants to
	Sizes  []int64 // of each entry; -1 if unknown, and for all but files; a claim
	Err    error   // why the tree could not be read
}

// WalkSized visits each distinct tree of the closures of roots, behind one that
// names it, together with the sizes of its files; trees in have are left out,
// and what only they name. It asks a ClosureGetter in one call, and any other
// store for parallel trees at a time. Visit is called from one goroutine at a
// time, and its error ends the walk. Below a tree that could not be read
// nothing is known.
func WalkSized(ctx context.Context, g cas.Getter, roots, have []cas.Digest, parallel int, visit func(Sized) error) error {
	if c, ok := g.(ClosureGetter); ok {
		if err := walkBulk(ctx, c, roots, have, visit); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	held := make(map[cas.Digest]struct{}, len(have))
	for _, d := range have {
		held[d] = struct{}{}
	}
	wanted := excepting{g, func(d cas.Digest) bool { _, ok := held[d]; return ok }}
	return Walk(ctx, wanted, roots, parallel, func(d cas.Digest, t *Tree, err error) error {
		if errors.Is(err, errExcepted) {
			return nil
		}
		if err != nil {
			return visit(Sized{Digest: d, Err: err})
		}
		sizes, err := fileSizes(ctx, g, t)
		if err != nil {
			return err
		}
		return visit(Sized{Digest: d, Tree: t, Data: t.Encode(), Sizes: sizes})
	})
}

// fileSizes returns what g knows of the sizes of t's entries.
func fileSizes(ctx context.Context, g cas.Getter, t *Tree) ([]int64, error) {
	var files []cas.Digest
	for i := range t.entries {
		if t.entries[i].Type == File {
			files = append(files, t.entries[i].Digest)
		}
	}
	known, err := cas.SizesOf(ctx, g, files)
	if err != nil {
		return nil, err
	}
	sizes := make([]int64, len(t.entries))
	for i := range t.entries {
		sizes[i] = -1
		if t.entries[i].Type == File {
			sizes[i], known = known[0], known[1:]
		}
	}
	return sizes, nil
}

// walkBulk accepts from c only what belongs to the closures of roots.
func walkBulk(ctx context.Context, c ClosureGetter, roots, have []cas.Digest, visit func(Sized) error) error {
	expected := map[cas.Digest]bool{} // named by a tree before; true if still to come
	for _, d := range roots {
		expected[d] = true
	}
	return c.GetClosure(ctx, roots, have, func(d cas.Digest, data []byte, sizes []int64, err error) error {
		if !expected[d] {
			return fmt.Errorf("the store sends tree %s, which nobody asked for", d)
		}
		expected[d] = false
		if err != nil {
			return visit(Sized{Digest: d, Err: err})
		}
		t, err := Decode(data)
		if err != nil {
			return visit(Sized{Digest: d, Err: &FormatError{Digest: d, Err: err}})
		}
		expectChildren(expected, t)
		return visit(Sized{Digest: d, Tree: t, Data: data, Sizes: fit(sizes, len(t.entries))})
	})
}

func expectChildren(expected map[cas.Digest]bool, t *Tree) {
	for i := range t.entries {
		if e := &t.entries[i]; e.Type == Dir {
			if _, ok := expected[e.Digest]; !ok {
				expected[e.Digest] = true
			}
		}
	}
}

// fit returns sizes if there are n of them, and n unknown ones if not.
func fit(sizes []int64, n int) []int64 {
	if len(sizes) == n {
		return sizes
	}
	sizes = make([]int64, n)
	for i := range sizes {
		sizes[i] = -1
	}
	return sizes
}
