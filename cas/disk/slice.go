package disk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// Slice opens the slice s of d. The bytes are sent as they lie there: whoever
// gets them has to verify them anyway. An object without an outboard, as older
// caches have them, is read once to get one.
func (s *Store) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	object, err := s.get(ctx, d, true)
	if err != nil {
		return nil, err
	}
	r, err := s.slice(ctx, d, object, slice)
	if err == nil {
		return r, nil
	}
	object.Close()
	if !isMismatch(err) {
		return nil, err
	}
	s.log.Warn("set a damaged object aside", "cache", s.dir, "object", d, "cause", err)
	if err := s.SetAside(ctx, d); err != nil {
		return nil, err
	}
	return nil, &cas.NotFoundError{Digest: d}
}

func (s *Store) slice(ctx context.Context, d cas.Digest, object cas.RandomObject, slice bao.Slice) (io.ReadCloser, error) {
	if object.Size() != slice.Size {
		return nil, &cas.NotFoundError{Digest: d}
	}
	if d.Algorithm() != cas.BLAKE3 {
		return nil, fmt.Errorf("parts of object %s: %w", d, errors.ErrUnsupported)
	}
	outboard, err := s.outboardOf(ctx, d, object)
	if err != nil {
		return nil, err
	}
	return newPuller(ctx, func(w io.Writer) error {
		return bao.WriteSlice(w, object, outboard, slice)
	}, object, outboard), nil
}

// outboard is an open outboard.
type outboard interface {
	io.ReaderAt
	io.Closer
}

// outboardOf opens the outboard of an object. One that has no file is made in
// memory.
func (s *Store) outboardOf(ctx context.Context, d cas.Digest, object cas.RandomObject) (outboard, error) {
	if f, ok := object.(*file); ok && ranged(d, object.Size()) {
		out, err := s.openOutboard(ctx, d, f.f, object.Size())
		if err != nil && !isMismatch(err) {
			err = fmt.Errorf("cache %s: outboard of %s: %w", s.dir, d, err)
		}
		return out, err
	}
	var out bao.Buffer
	if object.Size() > bao.GroupSize {
		got, err := bao.HashAt(ctx, object, object.Size(), &out)
		if err != nil {
			return nil, err
		}
		if got != d {
			return nil, &cas.MismatchError{Want: d, Got: got}
		}
	}
	return cas.NewObject(out), nil
}
