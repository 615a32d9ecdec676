package bao

import (
	"context"
	"errors"
	"io"

	"github.com/fstree/fstree/cas"
)

// Slicer is a store that proves parts of its objects.
type Slicer interface {
	// Slice opens the slice s of d. What is read may be wrong, as long as
	// nobody has verified it: see Decoder. The error is a *cas.NotFoundError
	// if the store does not hold d or d is not of s.Size bytes, is
	// cas.ErrUnavailable if the store could not be asked, and
	// errors.ErrUnsupported if d can't be proved in parts or the store never
	// does that.
	Slice(ctx context.Context, d cas.Digest, s Slice) (io.ReadCloser, error)
}

// PartialStore is a store that keeps parts of objects, and makes an object of
// them once they are all there.
type PartialStore interface {
	// OpenPartial opens what is here of d, maybe nothing, for reading and
	// adding. Size may be a mere claim: a wrong one harms nobody but who
	// believes it. The error is errors.ErrUnsupported if the store does not
	// keep parts of such an object.
	OpenPartial(ctx context.Context, d cas.Digest, size int64) (PartialObject, error)
}

// PartialObject is an object of which parts are here. However often it is
// opened, at the same time and by several processes, the parts add up. All
// methods are safe for concurrent use.
type PartialObject interface {
	// ReadAt reads verified bytes, as io.ReaderAt says. It fails with
	// ErrMissing if not all of them are here, or no longer.
	io.ReaderAt
	io.Closer

	// Missing returns the slices that are to be added before n bytes from off
	// can be read: see Partial.Missing. It is empty for a complete object.
	Missing(off, n int64) []Slice

	// Add reads the slice s from r, verifies it and keeps it; of a slice that
	// breaks off, what was verified. The first one must prove the size. When
	// nothing is missing any more the store holds the object: its Get finds
	// it. The error is an *Error if r holds something else, that of r, or the
	// store's own, which errors.As finds as a *KeepError.
	Add(ctx context.Context, s Slice, r io.Reader) error
}

// ErrMissing is what errors.Is finds when bytes of a partial object are asked
// for that are not here.
var ErrMissing = errors.New("part of the object is not here")

// KeepError is the failure of a PartialStore to keep what was sent to it: a
// full disk, for example. The bytes and where they came from are not to blame.
type KeepError struct{ Err error }

func (e *KeepError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *KeepError) Unwrap() error { return e.Err }
