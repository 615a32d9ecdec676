// Package cas is the contract between everything that holds objects and
// everything that uses them: what an object's name is (Digest), what a store
// can be asked (Getter, Haser, Putter and the rarer powers), and what its
// errors mean.
//
// An object is a sequence of bytes whose name is its digest. Objects never
// change; a store may forget them. All methods of all stores are safe for
// concurrent use and return soon after their context is done.
//
// Nobody sees a byte that was not verified, unless the reader can still take
// it back: Get may stream bytes before their digest is known, but then it ends
// in a *MismatchError where io.EOF would stand. Whoever reads a stream keeps
// what it got to itself until io.EOF.
package cas

import (
	"context"
	"io"
)

// Object is an open object: its bytes from the first to the last. Reading ends
// with io.EOF only if all bytes were verified against the digest; wrong bytes
// end in a *MismatchError. The caller closes it.
type Object interface {
	io.ReadCloser
	// Size is the length in bytes, -1 if the store can't know before the end.
	Size() int64
}

// RandomObject is an Object whose bytes can be read in any order. ReadAt
// returns only verified bytes, and is safe for concurrent use. Local stores
// return nothing else.
type RandomObject interface {
	Object
	io.ReaderAt
}

// Getter opens objects.
type Getter interface {
	// Get opens d. The error is a *NotFoundError if the store does not hold
	// it, and is ErrUnavailable if the store could not be asked.
	Get(ctx context.Context, d Digest) (Object, error)
}

// Haser tells which objects a store holds.
type Haser interface {
	// Has answers in the order of the question. True means that Get would
	// find the object now; it says nothing about objects which that one names.
	Has(ctx context.Context, ds []Digest) ([]bool, error)
}

// Putter stores objects under a name that is already known.
type Putter interface {
	// Put stores the bytes of r, up to io.EOF, as d. If they are not d it
	// fails with a *MismatchError and stores nothing. An object that is there
	// already is success, and r may then stay unread. When Put returns nil the
	// object survives the end of this process.
	Put(ctx context.Context, d Digest, r io.Reader) error
}

// Adder stores objects and names them.
type Adder interface {
	// Add stores the bytes of r, up to io.EOF, and returns their BLAKE3 digest
	// and number. The digest is of the bytes that were stored: r is read once.
	Add(ctx context.Context, r io.Reader) (Digest, int64, error)
}

// Store is what every kind of store can do.
type Store interface {
	Getter
	Haser
	Putter
}

// Sizer knows lengths without reading. It is optional: ask a store through
// SizesOf.
type Sizer interface {
	// Sizes returns the length of each object in bytes, -1 where the store
	// does not hold the object or can't tell. A size from a remote store is a
	// claim until the content has proved it. Beside an error there are no
	// sizes, or those that are known nevertheless, -1 for the others.
	Sizes(ctx context.Context, ds []Digest) ([]int64, error)
}

// SizesOf asks s for the lengths of ds. A store that is no Sizer knows none.
func SizesOf(ctx context.Context, s any, ds []Digest) ([]int64, error) {
	if sizer, ok := s.(Sizer); ok {
		return sizer.Sizes(ctx, ds)
	}
	sizes := make([]int64, len(ds))
	for i := range sizes {
		sizes[i] = -1
	}
	return sizes, nil
}
