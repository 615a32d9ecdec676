package worktree

import (
	"context"
	"errors"

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

// errLost is why a walk ends that relied on what the store no longer holds.
var errLost = errors.New("the store has lost objects that the index knows")

// inquiry is the question to a store for all that the index knows. It goes on
// while the directory is walked: in most cases the answer is that nothing is
// lost, and no one has had to wait for it.
type inquiry struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  Store
	index  *index
	batch  []cas.Digest

	done  chan struct{} // closed when what follows is known
	epoch string
	lost  map[cas.Digest]struct{}
	err   error
}

// inquire begins to ask. It ends with the inquiry's end.
func inquire(ctx context.Context, store Store, x *index) *inquiry {
	ctx, cancel := context.WithCancel(ctx)
	q := &inquiry{ctx: ctx, cancel: cancel, store: store, index: x, done: make(chan struct{})}
	go func() {
		defer close(q.done)
		q.err = q.run()
	}()
	return q
}

// end stops the inquiry, and returns when it has stopped.
func (q *inquiry) end() {
	q.cancel()
	<-q.done
}

// wait returns errLost if something is lost.
func (q *inquiry) wait(ctx context.Context) error {
	select {
	case <-q.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if q.err == nil && len(q.lost) > 0 {
		return errLost
	}
	return q.err
}

// run asks for everything, unless the store is known to have lost nothing
// since the index was written.
func (q *inquiry) run() (err error) {
	if e, ok := q.store.(Epocher); ok {
		if q.epoch, err = e.Epoch(q.ctx); err != nil {
			return err
		}
	}
	top := q.index.top()
	if top == nil || q.epoch != "" && q.epoch == q.index.epoch {
		return nil
	}
	q.batch = make([]cas.Digest, 0, hasBatch)
	if err := q.block(top); err != nil {
		return err
	}
	return q.ask()
}

func (q *inquiry) block(b block) error {
	if err := q.add(b.digest()); err != nil {
		return err
	}
	for i := range b.len() {
		var err error
		switch r := b.at(i); r.kind() {
		case tree.File:
			err = q.add(r.digest())
		case tree.Dir:
			err = q.block(q.index.child(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *inquiry) add(d cas.Digest) error {
	q.batch = append(q.batch, d)
	if len(q.batch) < cap(q.batch) {
		return nil
	}
	return q.ask()
}

func (q *inquiry) ask() error {
	if len(q.batch) == 0 {
		return nil
	}
	present, err := q.store.Has(q.ctx, q.batch)
	if err != nil {
		return err
	}
	for i, d := range q.batch {
		if present[i] {
			continue
		}
		if q.lost == nil {
			q.lost = map[cas.Digest]struct{}{}
		}
		q.lost[d] = struct{}{}
	}
	q.batch = q.batch[:0]
	return nil
}
