package transfer

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// ClosureFinder is a far store that can walk closures itself: one question
// instead of one for every object. It is optional.
type ClosureFinder interface {
	// FindMissing reports, in pieces and each once, the trees that the store
	// lacks in the closures of roots, without what is below them, and the
	// files that it lacks below trees that it holds.
	FindMissing(ctx context.Context, roots []cas.Digest, report tree.ReportMissing) error
}

// Push makes far hold the closure of root, all of which from holds.
func Push(ctx context.Context, from cas.Getter, far cas.Store, root cas.Digest, opt Options) error {
	opt.fill()
	p := pusher{from: from, far: far, opt: opt, trees: map[cas.Digest][]cas.Digest{}, files: map[cas.Digest]struct{}{}}
	find := p.findByAsking
	if finder, ok := far.(ClosureFinder); ok {
		find = func(ctx context.Context, root cas.Digest) error { return p.findByClosure(ctx, finder, root) }
	}
	if err := find(ctx, root); err != nil {
		return err
	}
	return p.send(ctx)
}

type pusher struct {
	from cas.Getter
	far  cas.Store
	opt  Options

	trees map[cas.Digest][]cas.Digest // missing trees, each with the trees that it names
	files map[cas.Digest]struct{}     // missing files
}

// findByClosure asks for the root, then for the trees below those that were
// missing, and so on: a question for each level that differs.
func (p *pusher) findByClosure(ctx context.Context, finder ClosureFinder, root cas.Digest) error {
	unknown := map[cas.Digest]struct{}{} // files below missing trees
	frontier := []cas.Digest{root}
	for len(frontier) > 0 {
		missing, err := p.askClosure(ctx, finder, frontier)
		if err != nil {
			return err
		}
		frontier, err = p.expand(ctx, missing, unknown)
		if err != nil {
			return err
		}
	}
	return p.askFiles(ctx, unknown)
}

func (p *pusher) askClosure(ctx context.Context, finder ClosureFinder, frontier []cas.Digest) (missing []cas.Digest, err error) {
	err = finder.FindMissing(ctx, frontier, func(trees, files []cas.Digest) error {
		for _, d := range trees {
			if _, known := p.trees[d]; !known {
				p.trees[d] = nil
				p.opt.Observer.Missing(d, true)
				missing = append(missing, d)
			}
		}
		for _, d := range files {
			p.addFile(d)
		}
		return nil
	})
	return missing, err
}

// expand reads missing trees where they are, notes the files in them, and
// returns the trees in them that nobody has asked for yet.
func (p *pusher) expand(ctx context.Context, missing []cas.Digest, unknown map[cas.Digest]struct{}) (frontier []cas.Digest, err error) {
	asked := map[cas.Digest]struct{}{}
	for _, d := range missing {
		t, err := tree.Read(ctx, p.from, d)
		if err != nil {
			return nil, err
		}
		for e := range t.All() {
			switch e.Type {
			case tree.File:
				unknown[e.Digest] = struct{}{}
			case tree.Dir:
				p.trees[d] = append(p.trees[d], e.Digest)
				_, known := p.trees[e.Digest]
				if _, twice := asked[e.Digest]; !known && !twice {
					asked[e.Digest] = struct{}{}
					frontier = append(frontier, e.Digest)
				}
			}
		}
	}
	return frontier, nil
}

// findByAsking walks the whole closure here and asks for every object in it.
func (p *pusher) findByAsking(ctx context.Context, root cas.Digest) error {
	trees := map[cas.Digest][]cas.Digest{}
	files := map[cas.Digest]struct{}{}
	err := tree.Walk(ctx, p.from, []cas.Digest{root}, p.opt.Parallel, func(d cas.Digest, t *tree.Tree, err error) error {
		if err != nil {
			return err
		}
		trees[d] = nil
		for e := range t.All() {
			switch e.Type {
			case tree.File:
				files[e.Digest] = struct{}{}
			case tree.Dir:
				trees[d] = append(trees[d], e.Digest)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing, err := lacking(ctx, p.far, slices.Collect(maps.Keys(trees)))
	if err != nil {
		return err
	}
	for _, d := range missing {
		p.trees[d] = trees[d]
		p.opt.Observer.Missing(d, true)
	}
	return p.askFiles(ctx, files)
}

func (p *pusher) askFiles(ctx context.Context, files map[cas.Digest]struct{}) error {
	missing, err := lacking(ctx, p.far, slices.Collect(maps.Keys(files)))
	for _, d := range missing {
		p.addFile(d)
	}
	return err
}

func (p *pusher) addFile(d cas.Digest) {
	if _, twice := p.files[d]; !twice {
		p.files[d] = struct{}{}
		p.opt.Observer.Missing(d, false)
	}
}

// lacking returns those of ds that store does not hold.
func lacking(ctx context.Context, store cas.Haser, ds []cas.Digest) ([]cas.Digest, error) {
	var missing []cas.Digest
	for batch := range slices.Chunk(ds, hasBatch) {
		present, err := store.Has(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, d := range batch {
			if !present[i] {
				missing = append(missing, d)
			}
		}
	}
	return missing, nil
}

// send moves the files, then the trees, those that name no missing tree first.
func (p *pusher) send(ctx context.Context) error {
	if err := p.sendAll(ctx, slices.Collect(maps.Keys(p.files)), false); err != nil {
		return err
	}
	for _, trees := range byHeight(p.trees) {
		if err := p.sendAll(ctx, trees, true); err != nil {
			return err
		}
	}
	return nil
}

func (p *pusher) sendAll(ctx context.Context, ds []cas.Digest, areTrees bool) error {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(p.opt.Parallel)
	for _, d := range ds {
		if sending.Err() != nil {
			break
		}
		group.Go(func() error { return move(sending, p.from, p.far, d, areTrees, p.opt.Observer) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}
