package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
)

// Put stores the bytes of r as d.
func (s *Store) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	_, _, err := s.put(ctx, d, r)
	return err
}

// Add stores the bytes of r and names them.
func (s *Store) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	return s.put(ctx, cas.Digest{}, r)
}

// put stores the bytes of r as want, or as what they are if want is zero.
func (s *Store) put(ctx context.Context, want cas.Digest, r io.Reader) (cas.Digest, int64, error) {
	r = &contextReader{ctx, r}
	h := heads.Get().(*head)
	defer heads.Put(h)
	n, err := fill(r, h[:])
	if n == len(h) {
		return s.putFile(ctx, want, h[:], r)
	}
	if err != io.EOF {
		return cas.Digest{}, 0, err
	}
	d, err := name(want, h[:n])
	if err != nil {
		return cas.Digest{}, 0, err
	}
	return d, int64(n), s.packer.put(ctx, d, h[:n])
}

// name returns the digest of data, which must be want unless want is zero.
func name(want cas.Digest, data []byte) (cas.Digest, error) {
	if want.IsZero() {
		return cas.Sum(data), nil
	}
	if !want.Names(data) {
		return cas.Digest{}, &cas.MismatchError{Want: want, Got: cas.Sum(data)}
	}
	return want, nil
}

// fill reads until p is full or r ends. Unlike io.ReadFull it keeps the error
// of r as it is, so that a source that broke is not taken for one that ended.
func fill(r io.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// putFile stores a large object that begins with start and goes on with r.
func (s *Store) putFile(ctx context.Context, want cas.Digest, start []byte, r io.Reader) (cas.Digest, int64, error) {
	if !want.IsZero() {
		sizes, err := s.sizes(ctx, []cas.Digest{want}, false)
		if err != nil || sizes[0] >= 0 {
			return want, 0, err
		}
	}
	t, err := s.newTemp()
	if err != nil {
		return cas.Digest{}, 0, fmt.Errorf("cache %s: cannot write: %w", s.dir, err)
	}
	defer t.discard()
	out := &newOutboard{store: s}
	defer out.discard()
	d, size, err := t.fill(want, start, r, out)
	if err == nil {
		err = s.keep(d)
	}
	if err != nil {
		return cas.Digest{}, 0, err
	}
	p := publication{Digest: d, Size: size, Temp: t.name, Outboard: out.file(), Keep: s.limits()}
	err = s.ask(ctx, func(ctx context.Context, x index) error { return x.publish(ctx, p) })
	return d, size, err
}

// fill writes start and r to t, and their outboard to out, and names them.
func (t *temp) fill(want cas.Digest, start []byte, r io.Reader, out *newOutboard) (cas.Digest, int64, error) {
	algorithm := cas.BLAKE3
	if !want.IsZero() {
		algorithm = want.Algorithm()
	}
	n := newNaming(algorithm, out)
	w := startWriting(t)
	size, err := w.copy(n, io.MultiReader(bytes.NewReader(start), r))
	if failed := w.finish(); failed != nil {
		err = failed
	}
	if err != nil {
		return cas.Digest{}, 0, err
	}
	d, err := n.name(size)
	if err != nil {
		return cas.Digest{}, 0, err
	}
	if !want.IsZero() && d != want {
		return cas.Digest{}, 0, &cas.MismatchError{Want: want, Got: d}
	}
	return d, size, nil
}

// copy gives r to w and to the naming, until r ends or one of them has failed.
func (w *writing) copy(to naming, r io.Reader) (size int64, err error) {
	for !w.failed.Load() && err == nil {
		var n int
		buf := w.buffer()
		n, err = fill(r, buf[:])
		w.add(buf, n)
		if _, failed := to.Write(buf[:n]); failed != nil {
			return size, failed
		}
		size += int64(n)
	}
	if err == io.EOF {
		err = nil
	}
	return size, err
}
