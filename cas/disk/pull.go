package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"sync"
)

// puller is a reader of what a function writes. The function runs while
// somebody reads, and at no other time: there is no goroutine.
type puller struct {
	mu     sync.Mutex
	next   func() ([]byte, bool)
	stop   func()
	rest   []byte
	err    error // how it has ended
	closes []io.Closer
}

// newPuller returns a reader of what write writes. Its Close closes closes as
// well. When ctx is done it ends with the cause.
func newPuller(ctx context.Context, write func(io.Writer) error, closes ...io.Closer) *puller {
	p := &puller{closes: closes}
	p.next, p.stop = iter.Pull(func(yield func([]byte) bool) {
		p.err = write(yielder{ctx, yield})
		if p.err == nil {
			p.err = io.EOF
		}
	})
	return p
}

// Read fills b, as far as there is something to read.
func (p *puller) Read(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) && p.err == nil {
		if len(p.rest) == 0 {
			p.rest, _ = p.next()
		}
		m := copy(b[n:], p.rest)
		p.rest = p.rest[m:]
		n += m
	}
	if n > 0 || len(b) == 0 {
		return n, nil
	}
	return 0, p.err
}

func (p *puller) Close() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	p.err, p.rest = fs.ErrClosed, nil
	for _, c := range p.closes {
		err = errors.Join(err, c.Close())
	}
	p.closes = nil
	return err
}

// yielder hands on what is written to it.
type yielder struct {
	ctx   context.Context
	yield func([]byte) bool
}

func (y yielder) Write(p []byte) (int, error) {
	if y.ctx.Err() != nil {
		return 0, context.Cause(y.ctx)
	}
	if !y.yield(p) {
		return 0, fs.ErrClosed
	}
	return len(p), nil
}
