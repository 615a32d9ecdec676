package transfer

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// errKnown stands for a tree that is not read because it is known already.
var errKnown = errors.New("known already")

// without is a Getter that keeps known trees to itself.
type without struct {
	cas.Getter
	known func(d cas.Digest) bool
}

func (w without) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if w.known(d) {
		return nil, errKnown
	}
	return w.Getter.Get(ctx, d)
}

// farTrees reads trees from far: closures, if far can send them, and else one
// by one those that near lacks.
type farTrees struct {
	far  cas.Getter
	near cas.Haser
	gaps map[cas.Digest]struct{} // what near certainly lacks
}

func (f farTrees) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if _, gap := f.gaps[d]; !gap {
		present, err := f.near.Has(ctx, []cas.Digest{d})
		if err != nil {
			return nil, err
		}
		if present[0] {
			return nil, errKnown
		}
	}
	return f.far.Get(ctx, d)
}

func (f farTrees) GetClosure(ctx context.Context, roots, have []cas.Digest, visit tree.VisitTree) error {
	if c, ok := f.far.(tree.ClosureGetter); ok {
		return c.GetClosure(ctx, roots, have, visit)
	}
	return errors.ErrUnsupported
}

// maxHave bounds the trees that a question lists as held: half a megabyte.
const maxHave = 16 << 10

var errEnough = errors.New("enough")

// held returns trees of the closures of roots, the upper ones, that g holds. It
// is for hints: what can't be read is left out.
func held(ctx context.Context, g cas.Getter, roots []cas.Digest, parallel int) map[cas.Digest]struct{} {
	trees := map[cas.Digest]struct{}{}
	tree.Walk(ctx, g, roots, parallel, func(d cas.Digest, _ *tree.Tree, err error) error {
		if err == nil {
			trees[d] = struct{}{}
		}
		if len(trees) == maxHave {
			return errEnough
		}
		return nil
	})
	return trees
}

// expandHave returns trees that far need not send, none if near holds root.
func (p *puller) expandHave(ctx context.Context, root cas.Digest) []cas.Digest {
	if len(p.opt.Have) == 0 {
		return nil
	}
	if present, err := p.near.Has(ctx, []cas.Digest{root}); err != nil || present[0] {
		return nil
	}
	return slices.Collect(maps.Keys(held(ctx, p.near, p.opt.Have, p.opt.Parallel)))
}

func setOf(ds []cas.Digest) map[cas.Digest]struct{} {
	set := make(map[cas.Digest]struct{}, len(ds))
	for _, d := range ds {
		set[d] = struct{}{}
	}
	return set
}
