package transfer

import (
	"context"
	"errors"

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
	p := pusher{from: from, far: far, opt: opt, patience: patience{limit: opt.Patience}, closure: closure{}}
	p.finder, _ = far.(ClosureFinder)
	if err := p.find(ctx, root); err != nil {
		return err
	}
	if err := p.send(ctx, p.files.all, false); err != nil {
		return err
	}
	return p.sendTrees(ctx)
}

type pusher struct {
	from     cas.Getter
	far      cas.Store
	finder   ClosureFinder // nil if far can only be asked for single objects
	opt      Options
	patience patience

	closure closure
	trees   list // missing ones
	files   list // missing ones
}

// find learns what far lacks. The number of questions does not depend on the
// depth of the tree: for the whole closure; then, where that is incomplete, for
// all trees below the gap; then for the closures of those that are there and
// for the files of those that are not.
func (p *pusher) find(ctx context.Context, root cas.Digest) error {
	gaps, known := []cas.Digest{root}, map[cas.Digest]struct{}(nil)
	if p.finder != nil {
		var err error
		if gaps, known, err = p.findFirst(ctx, root); err != nil {
			return err
		}
	}
	for len(gaps) > 0 {
		below, err := p.closure.read(ctx, p.from, gaps, known, p.opt.Parallel)
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

// findFirst asks far for the closure of root. If that is incomplete, it returns
// as well what far is known to have complete.
func (p *pusher) findFirst(ctx context.Context, root cas.Digest) (gaps []cas.Digest, known map[cas.Digest]struct{}, err error) {
	complete := false
	group, asking := errgroup.WithContext(ctx)
	walking, needless := context.WithCancel(asking)
	defer needless()
	group.Go(func() (err error) {
		if gaps, err = p.findGaps(asking, []cas.Digest{root}); len(gaps) == 0 {
			needless()
		}
		return err
	})
	group.Go(func() (err error) {
		if complete, err = p.hasClosures(asking, p.opt.Have); !complete {
			needless()
		}
		return err
	})
	group.Go(func() error {
		known = held(walking, p.from, p.opt.Have, p.opt.Parallel)
		return nil
	})
	if err := group.Wait(); err != nil || !complete {
		return gaps, nil, err
	}
	return gaps, known, nil
}

var errIncomplete = errors.New("incomplete")

// hasClosures tells whether far holds all of some closures.
func (p *pusher) hasClosures(ctx context.Context, roots []cas.Digest) (bool, error) {
	if len(roots) == 0 {
		return false, nil
	}
	err := p.patience.try(ctx, func() error {
		return p.finder.FindMissing(ctx, roots, func(_, _ []cas.Digest) error { return errIncomplete })
	})
	if errors.Is(err, errIncomplete) {
		return false, nil
	}
	return err == nil, err
}

// findGaps asks far for the closures of roots. It returns the missing trees
// that were not known to be missing.
func (p *pusher) findGaps(ctx context.Context, roots []cas.Digest) (gaps []cas.Digest, err error) {
	if len(roots) == 0 {
		return nil, nil
	}
	err = p.patience.try(ctx, func() error {
		return p.finder.FindMissing(ctx, roots, func(trees, files []cas.Digest) error {
			gaps = append(gaps, p.addTrees(trees)...)
			p.addFiles(files)
			return nil
		})
	})
	return gaps, err
}

// askBelow asks about trees that were read here, and about what is in those
// that far lacks. It returns trees that turn out to be missing below trees that
// are there.
func (p *pusher) askBelow(ctx context.Context, trees []cas.Digest) (gaps []cas.Digest, err error) {
	missing, err := p.lacking(ctx, trees)
	if err != nil {
		return nil, err
	}
	p.addTrees(missing)
	if p.finder == nil {
		missing = trees // one that is there may be incomplete
	}
	var files []cas.Digest
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		files, err = p.lacking(asking, p.filesIn(missing))
		return err
	})
	if p.finder != nil {
		below := p.presentBelow(missing)
		group.Go(func() (err error) {
			gaps, err = p.findGaps(asking, below)
			return err
		})
	}
	err = group.Wait()
	p.addFiles(files)
	return gaps, err
}

func (p *pusher) lacking(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	return lacking(ctx, patientHaser{p.far, &p.patience}, ds)
}

// presentBelow returns the trees that far holds right below trees that it
// lacks, as far as they were read.
func (p *pusher) presentBelow(missing []cas.Digest) []cas.Digest {
	var present list
	for _, d := range missing {
		for _, child := range p.closure[d].trees {
			if _, read := p.closure[child]; read && !p.trees.has(child) {
				present.add(child)
			}
		}
	}
	return present.all
}

// filesIn returns the files in trees that were read.
func (p *pusher) filesIn(trees []cas.Digest) []cas.Digest {
	var files list
	for _, d := range trees {
		for _, file := range p.closure[d].files {
			files.add(file)
		}
	}
	return files.all
}

// addTrees returns those that were not known to be missing.
func (p *pusher) addTrees(ds []cas.Digest) (news []cas.Digest) {
	for _, d := range ds {
		if p.trees.add(d) {
			news = append(news, d)
			p.opt.Observer.Missing(d, true)
		}
	}
	return news
}

func (p *pusher) addFiles(ds []cas.Digest) {
	for _, d := range ds {
		if p.files.add(d) {
			p.opt.Observer.Missing(d, false)
		}
	}
}

// sendTrees moves the missing trees. A far store that walks when it is asked
// takes them all at once: a tree that is there before what it names is found
// incomplete until all of it is there. Of another, a tree that is there is all
// that anybody can see, so each waits for those that it names.
func (p *pusher) sendTrees(ctx context.Context) error {
	if p.finder != nil {
		return p.send(ctx, p.trees.all, true)
	}
	for _, layer := range p.closure.byHeight(&p.trees) {
		if err := p.send(ctx, layer, true); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// send moves objects in a few calls, each of which takes the next object when
// it has sent one: waiting for the end of a call costs a round trip.
func (p *pusher) send(ctx context.Context, ds []cas.Digest, areTrees bool) error {
	q := &queue{waiting: ds}
	calls := min(uploads, len(ds)/perCall+1)
	parallel := max(p.opt.Parallel/calls, 1)
	group, sending := errgroup.WithContext(ctx)
	for range calls {
		group.Go(func() error { return p.sendSome(sending, q, parallel, areTrees) })
	}
	return group.Wait()
}

// sendSome sends objects of q in one call, and those that were not acknowledged
// again if it breaks. Where each object has a call of its own, so many of those
// are made at once.
func (p *pusher) sendSome(ctx context.Context, q *queue, parallel int, areTrees bool) error {
	mine := q.share()
	return p.patience.try(ctx, func() error {
		if mine.again(); mine.empty() {
			return nil
		}
		var absent error
		err := cas.PutMany(ctx, p.far, p.opening(ctx, mine, parallel, &absent), parallel, func(d cas.Digest, err error) error {
			if err != nil {
				return err
			}
			mine.arrived(d)
			p.patience.success()
			p.opt.Observer.Moved(d, areTrees)
			return nil
		})
		if absent != nil {
			return absent
		}
		return err
	})
}

// openBatch is how many objects one call opens to send them.
const openBatch = 64

// opening iterates over objects to send, and reads so many at once. It ends
// early at one that can't be opened, and sets *failure.
func (p *pusher) opening(ctx context.Context, mine *share, parallel int, failure *error) cas.Objects {
	return func(yield func(cas.Digest, cas.Object) bool) {
		for ds := mine.take(openBatch); len(ds) > 0; ds = mine.take(openBatch) {
			err := cas.GetMany(ctx, p.from, ds, parallel, func(d cas.Digest, o cas.Object, err error) error {
				if err == nil && !yield(d, o) {
					err = errEnough
				}
				return err
			})
			if err == errEnough {
				return
			}
			if err != nil {
				*failure = err
				return
			}
		}
	}
}
