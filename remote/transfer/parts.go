package transfer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

const (
	// partSize is the length in bytes from which on an object is fetched in
	// parts that outlast a broken connection and the end of the process.
	partSize = 16 << 20

	// pieceSize is what is fetched of such an object with one call. It fits into
	// the window of a stream, so that all of it is sent without an answer.
	pieceSize = 16 << 20

	// pieces is how many of them are under way at once, of all objects together:
	// what a network holds that is fast and far, and what a receiver must hold
	// that is slower than the network.
	pieces = 4

	// sideBySide is how many such objects one stream's share is. While one
	// begins, the bytes of the other flow.
	sideBySide = 2
)

// file is what a tree and the store that sent it say of a file.
type file struct {
	digest cas.Digest
	size   int64 // a claim, -1 if unknown
}

// parts moves slices of objects. It does nothing if either end can't.
type parts struct {
	far  bao.Slicer
	near bao.PartialStore
}

func partsOf(far cas.Getter, near cas.Store) (p parts) {
	p.far, _ = far.(bao.Slicer)
	p.near, _ = near.(bao.PartialStore)
	return p
}

func (p parts) possible() bool { return p.far != nil && p.near != nil }

// split divides files into those that are fetched whole and those that are
// fetched in parts. It asks far for the sizes that nobody has told.
func (p *puller) split(ctx context.Context, files []file) (whole []cas.Digest, large []file, err error) {
	if p.parts.possible() {
		if err := p.learnSizes(ctx, files); err != nil {
			return nil, nil, err
		}
	}
	for _, f := range files {
		if p.parts.possible() && f.size >= partSize {
			large = append(large, f)
		} else {
			whole = append(whole, f.digest)
		}
	}
	return whole, large, nil
}

func (p *puller) learnSizes(ctx context.Context, files []file) error {
	var unknown []cas.Digest
	var places []int
	for i, f := range files {
		if f.size < 0 {
			unknown, places = append(unknown, f.digest), append(places, i)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return p.patience.try(ctx, func() error {
		sizes, err := cas.SizesOf(ctx, p.far, unknown)
		if err != nil {
			return err
		}
		for i, place := range places {
			files[place].size = sizes[i]
		}
		return nil
	})
}

// fetchParts copies large files.
func (p *puller) fetchParts(ctx context.Context, files []file) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for _, f := range files {
		group.Go(func() error {
			err := p.fillIn(ctx, f)
			if errors.Is(err, errors.ErrUnsupported) {
				return p.fetchWhole(ctx, []cas.Digest{f.digest})
			}
			if err == nil {
				p.opt.Observer.Moved(f.digest, false)
			}
			return err
		})
	}
	return group.Wait()
}

// fillIn adds to what near holds of f whatever is missing.
func (p *puller) fillIn(ctx context.Context, f file) error {
	object, err := p.parts.near.OpenPartial(ctx, f.digest, f.size)
	if err != nil {
		return err
	}
	defer object.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pieces)
	for off := int64(0); off < f.size && ctx.Err() == nil; off += pieceSize {
		piece := span{off, min(pieceSize, f.size-off)}
		group.Go(func() error { return p.fillPiece(ctx, object, f.digest, piece) })
	}
	return group.Wait()
}

// span is a part of an object.
type span struct{ off, n int64 }

func (p *puller) fillPiece(ctx context.Context, object bao.PartialObject, d cas.Digest, piece span) error {
	select {
	case p.pieces <- struct{}{}:
		defer func() { <-p.pieces }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return p.patience.try(ctx, func() error {
		before := piece.missingOf(object)
		err := p.addMissing(ctx, object, d, piece)
		after := piece.missingOf(object)
		if after < before {
			p.patience.success()
		}
		if err == nil && after > 0 {
			return fmt.Errorf("object %s: %w", d, bao.ErrMissing)
		}
		return err
	})
}

func (p *puller) addMissing(ctx context.Context, object bao.PartialObject, d cas.Digest, piece span) error {
	for _, slice := range object.Missing(piece.off, piece.n) {
		r, err := p.parts.far.Slice(ctx, d, slice)
		if err != nil {
			return err
		}
		err = object.Add(ctx, slice, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// missingOf returns how many bytes of the part are missing of object.
func (s span) missingOf(object bao.PartialObject) (n int64) {
	for _, slice := range object.Missing(s.off, s.n) {
		n += slice.Len
	}
	return n
}
