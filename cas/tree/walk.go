package tree

import (
	"context"
	"errors"
	"slices"

	"github.com/fstree/fstree/cas"
)

// Visit is told of one tree of a closure: either t, or the error with which it
// could not be read. An error that it returns ends the walk.
type Visit func(d cas.Digest, t *Tree, err error) error

// Walk reads the trees of the closures of roots, breadth first, each distinct
// tree once however often it is named, with up to parallel reads under way. It
// calls visit from one goroutine at a time; below a tree that could not be
// read it knows nothing. All reads have ended when Walk returns.
func Walk(ctx context.Context, g cas.Getter, roots []cas.Digest, parallel int, visit Visit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := walker{getter: g, seen: map[cas.Digest]struct{}{}, results: make(chan result, parallel)}
	for _, d := range roots {
		w.push(d)
	}
	defer w.drain()
	defer cancel()
	for len(w.queue) > 0 || w.reading > 0 {
		for w.reading < parallel && len(w.queue) > 0 {
			w.start(ctx)
		}
		r := <-w.results
		w.reading--
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := visit(r.digest, r.tree, r.err); err != nil {
			return err
		}
		w.descend(r.tree)
	}
	return nil
}

type walker struct {
	getter  cas.Getter
	seen    map[cas.Digest]struct{}
	queue   []cas.Digest
	results chan result
	reading int
}

type result struct {
	digest cas.Digest
	tree   *Tree
	err    error
}

func (w *walker) push(d cas.Digest) {
	if _, ok := w.seen[d]; !ok {
		w.seen[d] = struct{}{}
		w.queue = append(w.queue, d)
	}
}

func (w *walker) start(ctx context.Context) {
	d := w.queue[0]
	w.queue = w.queue[1:]
	w.reading++
	go func() {
		t, err := Read(ctx, w.getter, d)
		w.results <- result{d, t, err}
	}()
}

func (w *walker) descend(t *Tree) {
	if t == nil {
		return
	}
	for i := range t.entries {
		if t.entries[i].Type == Dir {
			w.push(t.entries[i].Digest)
		}
	}
}

func (w *walker) drain() {
	for ; w.reading > 0; w.reading-- {
		<-w.results
	}
}

// errExcepted stands for a tree that is not read because nobody wants to know.
var errExcepted = errors.New("not wanted")

// excepting is a Getter of which some trees fail with errExcepted.
type excepting struct {
	cas.Getter
	excepted func(d cas.Digest) bool
}

func (e excepting) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if e.excepted(d) {
		return nil, errExcepted
	}
	return e.Getter.Get(ctx, d)
}

// Holder is what Missing asks.
type Holder interface {
	cas.Getter
	cas.Haser
}

// hasBatch bounds a question about presence.
const hasBatch = 1000

// ReportMissing takes a piece of the answer to "what is missing": trees that
// are not held, so that what is below them is unknown, and files not held.
type ReportMissing = func(trees, files []cas.Digest) error

// FindMissing tells what store lacks of the closures of roots, each digest
// once. report is called from one goroutine with pieces of the answer as they
// are found; what is complete is never reported. A store that is a Marker is
// not asked for what is below marked trees, and if nothing is missing the trees
// are marked.
func FindMissing(ctx context.Context, store Holder, roots []cas.Digest, parallel int, report ReportMissing) error {
	marks := MarksOf(ctx, store)
	f := missingFinder{store: store, seen: map[cas.Digest]struct{}{}, report: report}
	err := Walk(ctx, excepting{store, marks.Has}, roots, parallel, func(d cas.Digest, t *Tree, err error) error {
		return f.visit(ctx, d, t, err)
	})
	if err == nil {
		err = f.ask(ctx)
	}
	if err == nil && !f.incomplete {
		marks.Add(f.trees)
	}
	return err
}

type missingFinder struct {
	store  Holder
	seen   map[cas.Digest]struct{}
	asked  []cas.Digest
	report ReportMissing

	trees      []cas.Digest // visited, those that are named before what they name
	incomplete bool
}

func (f *missingFinder) visit(ctx context.Context, d cas.Digest, t *Tree, err error) error {
	if cas.IsAbsent(err) {
		f.incomplete = true
		return f.report([]cas.Digest{d}, nil)
	}
	if errors.Is(err, errExcepted) {
		return nil // it is known to be complete
	}
	if err != nil {
		return err
	}
	f.trees = append(f.trees, d)
	for i := range t.entries {
		e := &t.entries[i]
		if _, ok := f.seen[e.Digest]; ok || e.Type != File {
			continue
		}
		f.seen[e.Digest] = struct{}{}
		f.asked = append(f.asked, e.Digest)
	}
	if len(f.asked) < hasBatch {
		return nil
	}
	return f.ask(ctx)
}

// ask sends the collected question in bounded pieces.
func (f *missingFinder) ask(ctx context.Context) error {
	defer func() { f.asked = f.asked[:0] }()
	for batch := range slices.Chunk(f.asked, hasBatch) {
		present, err := f.store.Has(ctx, batch)
		if err != nil {
			return err
		}
		var missing []cas.Digest
		for i, d := range batch {
			if !present[i] {
				missing = append(missing, d)
			}
		}
		if len(missing) == 0 {
			continue
		}
		f.incomplete = true
		if err := f.report(nil, missing); err != nil {
			return err
		}
	}
	return nil
}
