package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// Pull makes near hold the closure of root. What near lacks comes from far,
// which is not asked for anything else.
func Pull(ctx context.Context, far cas.Getter, near cas.Store, root cas.Digest, opt Options) error {
	opt.fill()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	p := puller{far: far, near: near, opt: opt, group: group, seen: map[cas.Digest]struct{}{}}
	walkErr := p.readAhead(ctx, root)
	if walkErr == nil {
		walkErr = p.walk(ctx, root)
	}
	err := group.Wait()
	// A failed file cancels the walk, whose own error is then only that.
	if err == nil {
		err = walkErr
	}
	return err
}

type puller struct {
	far   cas.Getter
	near  cas.Store
	opt   Options
	group *errgroup.Group

	seen    map[cas.Digest]struct{} // files
	pending []cas.Digest            // files that near was not asked for yet
}

// readAhead brings all trees of a closure near in one go, if near does not even
// hold its root and far can send closures. What it leaves out, walk finds.
func (p *puller) readAhead(ctx context.Context, root cas.Digest) error {
	if _, bulk := p.far.(tree.ClosureGetter); !bulk {
		return nil
	}
	present, err := p.near.Has(ctx, []cas.Digest{root})
	if err != nil || present[0] {
		return err
	}
	storing, reading := errgroup.WithContext(ctx)
	storing.SetLimit(p.opt.perStream())
	err = tree.WalkSized(reading, p.far, []cas.Digest{root}, nil, p.opt.Parallel, func(s tree.Sized) error {
		if s.Err != nil {
			return s.Err
		}
		p.opt.Observer.Missing(s.Digest, true)
		storing.Go(func() error { return p.put(reading, s.Digest, bytes.NewReader(s.Data), true) })
		return p.note(ctx, s.Tree)
	})
	if failed := storing.Wait(); failed != nil {
		return failed
	}
	return err
}

// walk visits the whole closure near, and fetches what is missing of it.
func (p *puller) walk(ctx context.Context, root cas.Digest) error {
	err := tree.Walk(ctx, trees{p}, []cas.Digest{root}, p.opt.Parallel, func(_ cas.Digest, t *tree.Tree, err error) error {
		if err != nil {
			return err
		}
		return p.note(ctx, t)
	})
	if err != nil {
		return err
	}
	return p.fetchPending(ctx)
}

// note remembers the files in t, and starts to fetch when they are many.
func (p *puller) note(ctx context.Context, t *tree.Tree) error {
	for e := range t.All() {
		if _, twice := p.seen[e.Digest]; e.Type == tree.File && !twice {
			p.seen[e.Digest] = struct{}{}
			p.pending = append(p.pending, e.Digest)
		}
	}
	if len(p.pending) < hasBatch {
		return nil
	}
	return p.fetchPending(ctx)
}

func (p *puller) put(ctx context.Context, d cas.Digest, r io.Reader, isTree bool) error {
	err := p.near.Put(ctx, d, r)
	if err == nil {
		p.opt.Observer.Moved(d, isTree)
	}
	return err
}

// fetchPending starts to fetch those pending files that near lacks.
func (p *puller) fetchPending(ctx context.Context) error {
	missing, err := lacking(ctx, p.near, p.pending)
	if err != nil {
		return err
	}
	p.pending = p.pending[:0]
	for len(missing) > 0 && ctx.Err() == nil {
		batch := missing[:min(batchSize, len(missing))]
		missing = missing[len(batch):]
		p.group.Go(func() error { return p.fetch(ctx, batch, false) })
	}
	return context.Cause(ctx)
}

// fetch copies objects from far to near. Small ones are stored side by side: a
// store that many write to at once has one write for all of them.
func (p *puller) fetch(ctx context.Context, ds []cas.Digest, areTrees bool) error {
	for _, d := range ds {
		p.opt.Observer.Missing(d, areTrees)
	}
	storing, ctx := errgroup.WithContext(ctx)
	storing.SetLimit(p.opt.perStream())
	err := cas.GetMany(ctx, p.far, ds, p.opt.perStream(), func(d cas.Digest, o cas.Object, err error) error {
		if err != nil {
			return err
		}
		return p.keep(ctx, storing, d, o, areTrees)
	})
	if failed := storing.Wait(); failed != nil {
		return failed
	}
	return err
}

// keep stores o near: at once if it is large, beside others if it is small.
func (p *puller) keep(ctx context.Context, storing *errgroup.Group, d cas.Digest, o cas.Object, isTree bool) error {
	head := heads.Get().(*[headSize]byte)
	n, err := io.ReadFull(o, head[:])
	switch err {
	case io.EOF, io.ErrUnexpectedEOF: // all of it, and verified
		storing.Go(func() error {
			defer heads.Put(head)
			return p.put(ctx, d, bytes.NewReader(head[:n]), isTree)
		})
		return nil
	case nil:
		err = p.put(ctx, d, io.MultiReader(bytes.NewReader(head[:]), o), isTree)
	}
	heads.Put(head)
	return err
}

// headSize is what is read of an object to see whether it is small.
const headSize = 64<<10 + 1

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// trees opens trees near, after fetching those that near lacks or holds
// damaged.
type trees struct{ *puller }

func (p trees) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := p.near.Get(ctx, d)
	var mismatch *cas.MismatchError
	if err == nil || !errors.Is(err, cas.ErrNotFound) && !errors.As(err, &mismatch) {
		return o, err
	}
	if err := p.fetch(ctx, []cas.Digest{d}, true); err != nil {
		return nil, err
	}
	return p.near.Get(ctx, d)
}
