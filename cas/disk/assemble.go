package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/fstree/fstree/cas/bao"
)

// Add verifies the slice s, which r delivers, and keeps it.
func (p *partial) Add(ctx context.Context, s bao.Slice, r io.Reader) error {
	own, err := p.recipient(ctx)
	if own == nil {
		return err
	}
	err = own.Add(s, &contextReader{ctx, r}, partWriter{ctx, p, p.writeGroup}, partWriter{ctx, p, p.writeRecord})
	if errors.Is(err, errGone) {
		if own, failed := p.recipient(ctx); own == nil {
			return failed // if nil, somebody else was quicker
		}
	}
	if failed := p.promote(ctx); failed != nil && err == nil {
		err = &bao.KeepError{Err: failed}
	}
	return err
}

// recipient returns what to add to, nil if the object is whole or that is not known.
func (p *partial) recipient(ctx context.Context) (*bao.Partial, error) {
	if err := p.look(ctx); err != nil {
		return nil, &bao.KeepError{Err: err}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.whole != nil {
		return nil, nil
	}
	return p.own, nil
}

// partWriter writes to the parts of a partial object, which are made when the
// first verified bytes are there.
type partWriter struct {
	ctx   context.Context
	p     *partial
	write func(ctx context.Context, parts *parts, b []byte, off int64) error
}

func (w partWriter) WriteAt(b []byte, off int64) (int, error) {
	err := w.p.begin(w.ctx)
	if err == nil {
		err = w.p.withParts(func(parts *parts) error { return w.write(w.ctx, parts, b, off) })
	}
	if err != nil {
		return 0, &bao.KeepError{Err: w.p.failed(err)}
	}
	return len(b), nil
}

func (p *partial) writeGroup(ctx context.Context, parts *parts, b []byte, off int64) error {
	if err := p.store.room(reserve); err != nil {
		return err
	}
	err := parts.write(ctx, b, off)
	if err == nil {
		p.store.grow(ctx, int64(len(b)))
	}
	return err
}

func (p *partial) writeRecord(_ context.Context, parts *parts, b []byte, off int64) error {
	_, err := parts.outboard.WriteAt(b, off)
	return err
}

// begin makes parts if there are none.
func (p *partial) begin(ctx context.Context) error {
	p.mu.RLock()
	begun := p.begun()
	p.mu.RUnlock()
	if begun {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun() {
		return nil
	}
	if err := p.store.room(reserve); err != nil {
		return err
	}
	made, err := makeParts(ctx, p.store.partPath(p.digest, p.size), p.size)
	if err == nil {
		p.take(made)
	}
	return err
}

func (p *partial) begun() bool { return p.closed || p.whole != nil || p.parts != nil }

// withParts runs fn while nobody closes the parts.
func (p *partial) withParts(fn func(*parts) error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.closed:
		return fs.ErrClosed
	case p.parts == nil:
		return errGone
	}
	return fn(p.parts)
}
