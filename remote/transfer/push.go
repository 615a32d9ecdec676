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
	p := pusher{from: from, far: far, opt: opt, closure: closure{}, trees: map[cas.Digest]struct{}{}, files: map[cas.Digest]struct{}{}}
	p.finder, _ = far.(ClosureFinder)
	if err := p.find(ctx, root); err != nil {
		return err
	}
	return p.send(ctx)
}

type pusher struct {
	from   cas.Getter
	far    cas.Store
	finder ClosureFinder // nil if far can only be asked for single objects
	opt    Options

	closure closure
	trees   map[cas.Digest]struct{} // missing ones
	files   map[cas.Digest]struct{} // missing ones
}

// find learns what far lacks. The number of questions does not depend on the
// depth of the tree: for the whole closure; then, where that is incomplete, for
// all trees below the gap; then for the closures of those that are there and
// for the files of those that are not.
func (p *pusher) find(ctx context.Context, root cas.Digest) error {
	gaps := []cas.Digest{root}
	if p.finder != nil {
		var err error
		if gaps, err = p.findGaps(ctx, gaps); err != nil {
			return err
		}
	}
	for len(gaps) > 0 {
		below, err := p.closure.read(ctx, p.from, gaps, p.opt.Parallel)
		if err != nil {
			return err
		}
		gaps, err = p.askBelow(ctx, below)
		if err != nil {
			return err
		}
	}
	return nil
}

// findGaps asks far for the closures of roots. It returns the missing trees
// that were not known to be missing.
func (p *pusher) findGaps(ctx context.Context, roots []cas.Digest) (gaps []cas.Digest, err error) {
	if len(roots) == 0 {
		return nil, nil
	}
	err = p.finder.FindMissing(ctx, roots, func(trees, files []cas.Digest) error {
		for _, d := range trees {
			if p.addTree(d) {
				gaps = append(gaps, d)
			}
		}
		for _, d := range files {
			p.addFile(d)
		}
		return nil
	})
	return gaps, err
}

// askBelow asks about trees that were read here, and about what is in those
// that far lacks. It returns trees that turn out to be missing below trees that
// are there.
func (p *pusher) askBelow(ctx context.Context, trees []cas.Digest) (gaps []cas.Digest, err error) {
	missing, err := lacking(ctx, p.far, trees)
	if err != nil {
		return nil, err
	}
	for _, d := range missing {
		p.addTree(d)
	}
	if p.finder == nil {
		return nil, p.askFiles(ctx, trees) // a tree that is there may be incomplete
	}
	if err := p.askFiles(ctx, missing); err != nil {
		return nil, err
	}
	return p.findGaps(ctx, p.presentChildren(missing))
}

// presentChildren returns the trees that far holds right below trees that it
// lacks.
func (p *pusher) presentChildren(missing []cas.Digest) []cas.Digest {
	present := map[cas.Digest]struct{}{}
	for _, d := range missing {
		for _, child := range p.closure[d].trees {
			if _, lacks := p.trees[child]; !lacks {
				present[child] = struct{}{}
			}
		}
	}
	return slices.Collect(maps.Keys(present))
}

// askFiles asks about the files in these trees.
func (p *pusher) askFiles(ctx context.Context, trees []cas.Digest) error {
	files := map[cas.Digest]struct{}{}
	for _, d := range trees {
		for _, file := range p.closure[d].files {
			files[file] = struct{}{}
		}
	}
	missing, err := lacking(ctx, p.far, slices.Collect(maps.Keys(files)))
	for _, d := range missing {
		p.addFile(d)
	}
	return err
}

// addTree tells whether d was not known to be missing.
func (p *pusher) addTree(d cas.Digest) bool {
	if _, known := p.trees[d]; known {
		return false
	}
	p.trees[d] = struct{}{}
	p.opt.Observer.Missing(d, true)
	return true
}

func (p *pusher) addFile(d cas.Digest) {
	if _, known := p.files[d]; !known {
		p.files[d] = struct{}{}
		p.opt.Observer.Missing(d, false)
	}
}

// send moves the files, then the trees.
func (p *pusher) send(ctx context.Context) error {
	files := slices.Collect(maps.Keys(p.files))
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	for batch := range slices.Chunk(files, batchSize) {
		if sending.Err() != nil {
			break
		}
		group.Go(func() error { return p.sendBatch(sending, batch, false) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.sendTrees(ctx)
}

// sendTrees moves the missing trees. A far store that walks when it is asked
// takes them all at once: a tree that is there before what it names is found
// incomplete until all of it is there. Of another, a tree that is there is all
// that anybody can see, so each waits for those that it names.
func (p *pusher) sendTrees(ctx context.Context) error {
	if p.finder != nil {
		return p.sendBatch(ctx, slices.Collect(maps.Keys(p.trees)), true)
	}
	for _, layer := range p.closure.byHeight(p.trees) {
		if err := p.sendBatch(ctx, layer, true); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (p *pusher) sendBatch(ctx context.Context, ds []cas.Digest, areTrees bool) error {
	if len(ds) == 0 {
		return nil
	}
	var absent error
	err := cas.PutMany(ctx, p.far, opening(ctx, p.from, ds, &absent), p.opt.perStream(), func(d cas.Digest, err error) error {
		if err == nil {
			p.opt.Observer.Moved(d, areTrees)
		}
		return err
	})
	if absent != nil {
		return absent
	}
	return err
}

// opening iterates over the objects ds of from. It ends early at one that can't
// be opened, and sets *failure.
func opening(ctx context.Context, from cas.Getter, ds []cas.Digest, failure *error) cas.Objects {
	return func(yield func(cas.Digest, cas.Object) bool) {
		for _, d := range ds {
			o, err := from.Get(ctx, d)
			if err != nil {
				*failure = err
				return
			}
			more := yield(d, o)
			o.Close()
			if !more {
				return
			}
		}
	}
}
