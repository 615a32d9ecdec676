package disk

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/bao"
)

// promote makes an object of parts that are complete.
func (p *partial) promote(ctx context.Context) error {
	complete := false
	err := p.withParts(func(parts *parts) error {
		if complete = parts.complete(); !complete {
			return nil
		}
		return parts.locked(ctx, unix.LOCK_EX, func() error { return p.publish(ctx, parts) })
	})
	switch {
	case errors.Is(err, errGone): // or somebody else has done it
		if !complete {
			return nil
		}
	case err != nil || !complete:
		return err
	}
	return p.look(ctx)
}

// publish makes an object of parts, all of which are verified then.
func (p *partial) publish(ctx context.Context, parts *parts) error {
	if _, err := parts.verify(ctx, p.own); err != nil || !p.own.Complete() {
		return err
	}
	info, err := parts.data.Stat()
	if err != nil {
		return err
	}
	pub := publication{
		Digest: p.digest, Size: p.size, Keep: p.store.limits(),
		Parts: partName(p.digest, p.size), Inode: identityOf(info).inode,
	}
	if err := p.store.ask(ctx, func(ctx context.Context, x index) error { return x.publish(ctx, pub) }); err != nil {
		return err
	}
	if _, err := changeParts(parts.dir, removeAll); err != nil {
		p.store.log.Debug("what is left of parts stays", "cache", p.store.dir, "object", p.digest, "cause", err)
	}
	return nil
}

// verify reads the groups that are said to be here and that own does not know,
// and drops those that are wrong. It returns how many that were.
func (p *parts) verify(ctx context.Context, own *bao.Partial) (dropped int64, err error) {
	r, err := p.reader(own.Digest())
	if err != nil {
		return 0, err
	}
	for here := range p.runs(p.all(), true) {
		for at := here; at.first < at.end; {
			if ctx.Err() != nil {
				return dropped, context.Cause(ctx)
			}
			var wrong bool
			if at.first, wrong, err = p.verifyNext(own, r, at); err != nil {
				return dropped, err
			}
			if wrong {
				dropped++
			}
		}
	}
	return dropped, nil
}

// verifyNext verifies some of the groups of r that own does not know, up to the
// first wrong one, which it drops. It returns where to go on.
func (p *parts) verifyNext(own *bao.Partial, r *bao.ReaderAt, in run) (next int64, wrong bool, err error) {
	const piece = 256
	off, n := p.bytes(run{in.first, min(in.end, in.first+piece)})
	unknown := own.Missing(off, n)
	if len(unknown) == 0 {
		return min(in.end, in.first+piece), false, nil
	}
	gap := unknown[0]
	if err = own.Verify(r, gap.Off, gap.Len); err == nil {
		return groupsIn(gap.Off, gap.Len).end, false, nil
	}
	if !isWrong(err) {
		return 0, false, err
	}
	bad := own.Missing(gap.Off, gap.Len)[0].Off / bao.GroupSize
	p.drop(run{bad, bad + 1})
	return bad + 1, true, nil
}
