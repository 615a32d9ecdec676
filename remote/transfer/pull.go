package transfer

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// Pull makes near hold the closure of root. What near lacks comes from far,
// which is not asked for anything else.
func Pull(ctx context.Context, far cas.Getter, near cas.Store, root cas.Digest, opt Options) error {
	opt.fill()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(opt.Parallel)
	p := puller{far: far, near: near, opt: opt, group: group, seen: map[cas.Digest]struct{}{}}
	walkErr := p.walk(ctx, root)
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

func (p *puller) walk(ctx context.Context, root cas.Digest) error {
	err := tree.Walk(ctx, trees{p}, []cas.Digest{root}, p.opt.Parallel, func(_ cas.Digest, t *tree.Tree, err error) error {
		if err != nil {
			return err
		}
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
	})
	if err != nil {
		return err
	}
	return p.fetchPending(ctx)
}

func (p *puller) fetchPending(ctx context.Context) error {
	missing, err := lacking(ctx, p.near, p.pending)
	if err != nil {
		return err
	}
	p.pending = p.pending[:0]
	for _, d := range missing {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.opt.Observer.Missing(d, false)
		p.group.Go(func() error { return move(ctx, p.far, p.near, d, false, p.opt.Observer) })
	}
	return nil
}

// trees opens trees near, after fetching those that near lacks or holds
// damaged.
type trees struct{ *puller }

func (p trees) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := p.near.Get(ctx, d)
	var mismatch *cas.MismatchError
	if err == nil || !errors.Is(err, cas.ErrNotFound) && !errors.As(err, &mismatch) {
		return o, err
	}
	p.opt.Observer.Missing(d, true)
	if err := move(ctx, p.far, p.near, d, true, p.opt.Observer); err != nil {
		return nil, err
	}
	return p.near.Get(ctx, d)
}
