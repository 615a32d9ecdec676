package transfer

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// closure holds what trees name, each distinct name of a tree once.
type closure map[cas.Digest]names

type names struct {
	trees []cas.Digest
	files []cas.Digest
}

func namesIn(t *tree.Tree) (n names) {
	for e := range t.All() {
		switch e.Type {
		case tree.Dir:
			n.trees = append(n.trees, e.Digest)
		case tree.File:
			n.files = append(n.files, e.Digest)
		}
	}
	return n
}

// read adds the closures of roots, read from g without what is known, and
// returns the trees in them.
func (c closure) read(ctx context.Context, g cas.Getter, roots []cas.Digest, known map[cas.Digest]struct{}, parallel int) ([]cas.Digest, error) {
	var trees []cas.Digest
	isKnown := func(d cas.Digest) bool {
		_, ok := known[d]
		return ok
	}
	err := tree.Walk(ctx, without{g, isKnown}, roots, parallel, func(d cas.Digest, t *tree.Tree, err error) error {
		if err == errKnown {
			return nil
		}
		if err != nil {
			return err
		}
		trees = append(trees, d)
		c[d] = namesIn(t)
		return nil
	})
	return trees, err
}

// byHeight sorts some trees of the closure into layers such that each stands
// behind all of them that it names. Content addressing rules cycles out.
func (c closure) byHeight(trees *list) [][]cas.Digest {
	heights := make(map[cas.Digest]int, len(trees.all))
	var layers [][]cas.Digest
	// An explicit stack: a hostile tree may be deeper than a goroutine's stack.
	type frame struct {
		tree cas.Digest
		next int
	}
	for _, start := range trees.all {
		stack := []frame{{tree: start}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			children := c[top.tree].trees
			if _, done := heights[top.tree]; done {
				stack = stack[:len(stack)-1]
				continue
			}
			if top.next < len(children) {
				child := children[top.next]
				top.next++
				if trees.has(child) {
					stack = append(stack, frame{tree: child})
				}
				continue
			}
			height := 0
			for _, child := range children {
				if h, counts := heights[child]; counts {
					height = max(height, h+1)
				}
			}
			heights[top.tree] = height
			for len(layers) <= height {
				layers = append(layers, nil)
			}
			layers[height] = append(layers[height], top.tree)
		}
	}
	return layers
}

// questions is how many questions about presence are under way at once.
const questions = 32

// lacking returns those of ds that store does not hold, in their order.
func lacking(ctx context.Context, store cas.Haser, ds []cas.Digest) ([]cas.Digest, error) {
	absent := make([][]cas.Digest, (len(ds)+hasBatch-1)/hasBatch)
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(questions)
	for i := range absent {
		batch := ds[i*hasBatch : min((i+1)*hasBatch, len(ds))]
		group.Go(func() error {
			present, err := store.Has(asking, batch)
			if err != nil {
				return err
			}
			for k, d := range batch {
				if !present[k] {
					absent[i] = append(absent[i], d)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(absent...), err
}

// list is a set that keeps the order in which it grew: what stands together in
// a tree is best read and stored together.
type list struct {
	all []cas.Digest
	set map[cas.Digest]struct{}
}

// add tells whether d is new.
func (l *list) add(d cas.Digest) bool {
	if l.has(d) {
		return false
	}
	if l.set == nil {
		l.set = map[cas.Digest]struct{}{}
	}
	l.set[d] = struct{}{}
	l.all = append(l.all, d)
	return true
}

func (l *list) has(d cas.Digest) bool {
	_, ok := l.set[d]
	return ok
}

// batch is some objects that are on their way.
type batch struct {
	open  []cas.Digest
	moved map[cas.Digest]struct{}
}

func newBatch(ds []cas.Digest) *batch {
	return &batch{slices.Clone(ds), make(map[cas.Digest]struct{}, len(ds))}
}

// left returns those that have not arrived.
func (b *batch) left() []cas.Digest {
	b.open = slices.DeleteFunc(b.open, func(d cas.Digest) bool {
		_, moved := b.moved[d]
		return moved
	})
	return b.open
}

func (b *batch) arrived(d cas.Digest) { b.moved[d] = struct{}{} }
