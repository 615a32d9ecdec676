package disk

import (
	"context"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
)

// AddMany lets fn add objects that are stored a batch at a time. Whoever fills
// a batch also stores it, so there is one batch, of little more than 512 KiB, for
// each object that is added at the same time.
func (s *Store) AddMany(ctx context.Context, fn func(cas.Adder) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &many{store: s, ctx: ctx, cancel: cancel}
	defer m.release()
	if err := fn(m); err != nil {
		return err
	}
	return m.flush()
}

// many is the Adder of AddMany.
type many struct {
	store  *Store
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	open []*batch // not full, and not in use
}

// Add names the bytes of r, and stores them at once if they are many.
func (m *many) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	r = &contextReader{ctx, r}
	b := m.take()
	defer m.give(b)
	space := b.space()
	n, err := fill(r, space)
	if n == len(space) {
		return m.store.putFile(ctx, cas.Digest{}, space, r)
	}
	if err != io.EOF {
		return cas.Digest{}, 0, err
	}
	d := cas.Sum(space[:n])
	b.seal(d, n)
	if b.full() {
		err = m.write(b)
	} else {
		err = nil
	}
	return d, int64(n), err
}

func (m *many) take() *batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.open) - 1
	if last < 0 {
		return newBatch()
	}
	b := m.open[last]
	m.open = m.open[:last]
	return b
}

func (m *many) give(b *batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = append(m.open, b)
}

// write stores and empties b. If it can't, nothing is stored any more: what is
// lost was named already.
func (m *many) write(b *batch) error {
	defer b.empty()
	err := m.store.writers.store(m.ctx, m.store, b)
	if err != nil {
		m.cancel(err)
	}
	return err
}

func (m *many) flush() error {
	for _, b := range m.open {
		if err := m.write(b); err != nil {
			return err
		}
	}
	return context.Cause(m.ctx)
}

func (m *many) release() {
	for _, b := range m.open {
		b.release()
	}
}
