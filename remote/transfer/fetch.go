package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/internal/crew"
)

// fetch copies files from far to near.
func (p *puller) fetch(ctx context.Context, files []file) error {
	for _, f := range files {
		p.opt.Observer.Missing(f.digest, false)
	}
	whole, large, err := p.split(ctx, files)
	if err != nil {
		return err
	}
	fetching, ctx := errgroup.WithContext(ctx)
	fetching.Go(func() error { return p.fetchWhole(ctx, whole) })
	fetching.Go(func() error { return p.fetchParts(ctx, large) })
	return fetching.Wait()
}

// fetchWhole copies files in one call. Small ones are stored side by side: a
// store that many write to at once has one write for all of them.
func (p *puller) fetchWhole(ctx context.Context, ds []cas.Digest) error {
	if len(ds) == 0 {
		return nil
	}
	storing, ctx := crew.New(ctx, p.opt.perStream())
	b := newBatch(ds)
	err := p.patience.try(ctx, func() error {
		return cas.GetUnverified(ctx, p.far, b.left(), p.opt.perStream(), func(d cas.Digest, r io.Reader, err error) error {
			if err != nil {
				return err
			}
			if err := p.keep(ctx, storing, d, r); err != nil {
				return err
			}
			b.arrived(d)
			p.patience.success()
			return nil
		})
	})
	if failed := storing.Wait(); failed != nil {
		return failed
	}
	return err
}

// keep stores d near, the bytes of r: at once if it is large, beside others if
// it is small.
func (p *puller) keep(ctx context.Context, storing *crew.Crew, d cas.Digest, r io.Reader) error {
	if whole, ok := r.(*bytes.Reader); ok {
		return storing.Do(func() error { return p.put(ctx, d, whole, false) })
	}
	head := heads.Get().(*[headSize]byte)
	n, err := io.ReadFull(r, head[:])
	switch err {
	case io.EOF, io.ErrUnexpectedEOF: // all of it, says r; near sees whether that is so
		return storing.Do(func() error {
			defer heads.Put(head)
			return p.put(ctx, d, bytes.NewReader(head[:n]), false)
		})
	case nil:
		err = p.put(ctx, d, io.MultiReader(bytes.NewReader(head[:]), r), false)
	}
	heads.Put(head)
	return err
}

// headSize is what is read of an object to see whether it is small.
const headSize = 64<<10 + 1

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

func (p *puller) keepTree(ctx context.Context, s tree.Sized) error {
	return p.put(ctx, s.Digest, bytes.NewReader(s.Data), true)
}

func (p *puller) put(ctx context.Context, d cas.Digest, r io.Reader, isTree bool) error {
	err := p.near.Put(ctx, d, r)
	if wrong := (*cas.MismatchError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("what was received is wrong: %w", err)
	}
	if err == nil {
		p.opt.Observer.Moved(d, isTree)
	}
	return err
}
