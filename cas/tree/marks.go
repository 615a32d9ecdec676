package tree

import (
	"context"

	"github.com/fstree/fstree/cas"
)

// Marker is a store that knows whether it has lost anything, and remembers
// objects for as long as it has not. It is optional: ask a store through
// MarksOf.
type Marker interface {
	// Epoch returns a text that says, if it is returned again, that what the
	// store held the first time, and whatever came since, it still holds. The
	// empty text promises nothing.
	Epoch(ctx context.Context) (string, error)

	// Mark remembers ds, the first of them rather than the last, and for no
	// longer than epoch lasts. It may forget them at any time.
	Mark(epoch string, ds []cas.Digest)

	// Marked returns what tells whether an object was marked in epoch.
	Marked(epoch string) func(d cas.Digest) bool
}

// Marks are the trees whose closures a store is known to hold. The zero value
// knows none and takes none.
type Marks struct {
	marker Marker
	epoch  string
	has    func(d cas.Digest) bool
}

// MarksOf returns the marks of s, none if it is no Marker.
func MarksOf(ctx context.Context, s any) Marks {
	marker, ok := s.(Marker)
	if !ok {
		return Marks{}
	}
	epoch, err := marker.Epoch(ctx)
	if err != nil || epoch == "" {
		return Marks{}
	}
	return Marks{marker, epoch, marker.Marked(epoch)}
}

// Has tells whether the store held the closure of d when MarksOf was called.
func (m Marks) Has(d cas.Digest) bool { return m.has != nil && m.has(d) }

// Add marks trees whose closures the store was found to hold since MarksOf was
// called. Those that are named first are rather remembered.
func (m Marks) Add(trees []cas.Digest) {
	if m.marker != nil && len(trees) > 0 {
		m.marker.Mark(m.epoch, trees)
	}
}
