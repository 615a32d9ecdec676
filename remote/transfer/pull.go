package transfer

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/internal/crew"
)

// Pull makes near hold the closure of root. What near lacks comes from far,
// which is not asked for anything else; but a far store that sends closures
// sends all trees below one that near lacks, unless Options.Have spares it
// some. A near store that is a tree.Marker is not asked about closures that it
// is known to hold.
func Pull(ctx context.Context, far cas.Getter, near cas.Store, root cas.Digest, opt Options) error {
	opt.fill()
	marks := tree.MarksOf(ctx, near)
	if marks.Has(root) {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	p := puller{far: far, near: near, parts: partsOf(far, near), opt: opt, patience: patience{limit: opt.Patience}, group: group, pieces: make(chan struct{}, pieces),
		marks: marks, seen: map[cas.Digest]struct{}{}}
	walkErr := p.walk(ctx, root)
	err := group.Wait()
	// A failed file cancels the walk, whose own error is then only that.
	if err == nil {
		err = walkErr
	}
	if err == nil {
		marks.Add(p.read.all)
	}
	return err
}

type puller struct {
	far      cas.Getter
	near     cas.Store
	parts    parts
	opt      Options
	patience patience
	group    *errgroup.Group
	pieces   chan struct{} // holds a token for each that is under way

	marks   tree.Marks
	read    list                    // trees, each behind one that names it
	named   []cas.Digest            // trees that far could have sent
	seen    map[cas.Digest]struct{} // files
	pending []file                  // which near was not asked for yet
}

// walk reads all trees of the closure: near as far as they are there, what is
// then missing from far in one go, and so on below what far did not send.
func (p *puller) walk(ctx context.Context, root cas.Digest) error {
	have := p.expandHave(ctx, root)
	for unread := []cas.Digest{root}; len(unread) > 0; unread = p.unread(p.named) {
		p.named = nil
		gaps, err := p.readNear(ctx, unread)
		if err != nil {
			return err
		}
		if err := p.readFar(ctx, gaps, have); err != nil {
			return err
		}
	}
	return p.fetchPending(ctx)
}

// unread returns those of trees that were not read.
func (p *puller) unread(trees []cas.Digest) []cas.Digest {
	return slices.DeleteFunc(slices.Clone(trees), func(d cas.Digest) bool {
		return p.knows(d)
	})
}

// knows tells whether a tree need not be read.
func (p *puller) knows(d cas.Digest) bool { return p.read.has(d) || p.marks.Has(d) }

// readNear reads closures near. It returns the trees that near lacks or holds
// damaged.
func (p *puller) readNear(ctx context.Context, roots []cas.Digest) (gaps []cas.Digest, err error) {
	var found []cas.Digest
	err = tree.Walk(ctx, without{p.near, p.knows}, roots, p.opt.Parallel, func(d cas.Digest, t *tree.Tree, err error) error {
		switch {
		case err == nil:
			found = append(found, d)
			return p.noteFiles(ctx, t, nil)
		case cas.IsAbsent(err):
			gaps = append(gaps, d)
		case err != errKnown:
			return err
		}
		return nil
	})
	for _, d := range found {
		p.read.add(d)
	}
	return gaps, err
}

// readFar reads the closures of gaps and keeps their trees. It leaves out what
// is below a tree that near holds, if it learns of that in time.
func (p *puller) readFar(ctx context.Context, gaps, have []cas.Digest) error {
	return p.patience.try(ctx, func() error {
		// A closure that broke off goes on below what came of it.
		gaps = p.unread(gaps)
		if len(gaps) == 0 {
			return nil
		}
		if err := p.keepClosures(ctx, gaps, have); err != nil {
			return err
		}
		if missing := p.unread(gaps); len(missing) > 0 {
			return &cas.NotFoundError{Digest: missing[0]}
		}
		return nil
	})
}

func (p *puller) keepClosures(ctx context.Context, gaps, have []cas.Digest) error {
	storing, reading := crew.New(ctx, p.opt.Parallel)
	source := farTrees{p.far, p.near, setOf(gaps)}
	err := tree.WalkSized(reading, source, gaps, have, p.opt.Parallel, func(s tree.Sized) error {
		if s.Err == errKnown {
			return nil
		}
		if s.Err != nil {
			return s.Err
		}
		p.patience.success()
		p.opt.Observer.Missing(s.Digest, true)
		if err := storing.Do(func() error { return p.keepTree(reading, s) }); err != nil {
			return err
		}
		p.read.add(s.Digest)
		p.named = append(p.named, namesIn(s.Tree).trees...)
		return p.noteFiles(ctx, s.Tree, s.Sizes)
	})
	if failed := storing.Wait(); failed != nil {
		return failed
	}
	return err
}

// noteFiles remembers the files in t, and starts to fetch when they are many.
// Sizes are those of all entries, nil if they are unknown.
func (p *puller) noteFiles(ctx context.Context, t *tree.Tree, sizes []int64) error {
	for i := range t.Len() {
		e := t.At(i)
		if _, twice := p.seen[e.Digest]; e.Type == tree.File && !twice {
			p.seen[e.Digest] = struct{}{}
			f := file{e.Digest, -1}
			if sizes != nil {
				f.size = sizes[i]
			}
			p.pending = append(p.pending, f)
		}
	}
	if len(p.pending) < hasBatch {
		return nil
	}
	return p.fetchPending(ctx)
}

// fetchPending starts to fetch those pending files that near lacks.
func (p *puller) fetchPending(ctx context.Context) error {
	missing, err := p.lacking(ctx, p.pending)
	if err != nil {
		return err
	}
	p.pending = p.pending[:0]
	for batch := range slices.Chunk(missing, batchSize) {
		if ctx.Err() != nil {
			break
		}
		p.group.Go(func() error { return p.fetch(ctx, batch) })
	}
	return context.Cause(ctx)
}

// lacking returns those of files that near does not hold.
func (p *puller) lacking(ctx context.Context, files []file) ([]file, error) {
	ds := make([]cas.Digest, len(files))
	for i, f := range files {
		ds[i] = f.digest
	}
	absent, err := lacking(ctx, p.near, ds)
	if err != nil {
		return nil, err
	}
	missing := make([]file, 0, len(absent))
	for _, f := range files {
		if len(missing) < len(absent) && absent[len(missing)] == f.digest {
			missing = append(missing, f)
		}
	}
	return missing, nil
}
