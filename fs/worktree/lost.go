package worktree

import (
	"context"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// Epocher is a rarer power of a Store: it knows whether it can have lost
// anything. Write then need not ask for every object of an unchanged tree.
type Epocher interface {
	// Epoch names this store and its state of loss. As long as it is the same
	// text, every object that the store held is held still. An empty text
	// promises nothing.
	Epoch(ctx context.Context) (string, error)
}

// hasBatch bounds a question about presence.
const hasBatch = 1000

// findLost asks the store for all that the index knows, unless the store is
// known to have lost nothing since.
func (w *writer) findLost() error {
	if e, ok := w.store.(Epocher); ok {
		epoch, err := e.Epoch(w.ctx)
		if err != nil {
			return err
		}
		w.epoch = epoch
	}
	top := w.index.top()
	if top == nil || w.epoch != "" && w.epoch == w.index.epoch {
		return nil
	}
	q := question{w: w, batch: make([]cas.Digest, 0, hasBatch)}
	if err := q.block(top); err != nil {
		return err
	}
	return q.ask()
}

// question collects digests until there are enough for one call.
type question struct {
	w     *writer
	batch []cas.Digest
}

func (q *question) block(b block) error {
	if err := q.add(b.digest()); err != nil {
		return err
	}
	for i := range b.len() {
		var err error
		switch r := b.at(i); r.kind() {
		case tree.File:
			err = q.add(r.digest())
		case tree.Dir:
			err = q.block(q.w.index.child(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *question) add(d cas.Digest) error {
	q.batch = append(q.batch, d)
	if len(q.batch) < cap(q.batch) {
		return nil
	}
	return q.ask()
}

func (q *question) ask() error {
	if len(q.batch) == 0 {
		return nil
	}
	present, err := q.w.store.Has(q.w.ctx, q.batch)
	if err != nil {
		return err
	}
	for i, d := range q.batch {
		if present[i] {
			continue
		}
		if q.w.lost == nil {
			q.w.lost = map[cas.Digest]struct{}{}
		}
		q.w.lost[d] = struct{}{}
	}
	q.batch = q.batch[:0]
	return nil
}
