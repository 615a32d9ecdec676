package disk

import (
	"context"

	"github.com/fstree/fstree/cas"
)

// index is what the owner does for everybody. The owner's own is an *engine,
// everybody else's a *client. All of it may be repeated: a question whose
// owner went away is put to the next one.
type index interface {
	// lookup returns the entries of ds, in that order. It counts as a use.
	lookup(ctx context.Context, ds []cas.Digest) ([]entry, error)
	// record adds packed objects, unless they are known already, and notes the
	// new identity of files that are.
	record(ctx context.Context, items []item) error
	// publish moves a temporary file to its final place as d.
	publish(ctx context.Context, d cas.Digest, size int64, temp string) error
	// forget drops an object if its entry is still the one given, and sets its
	// file aside.
	forget(ctx context.Context, it item) error
	// list returns up to batchCount objects after the given one, in the order of
	// their digests. None means that there are no more.
	list(ctx context.Context, after cas.Digest) ([]item, error)
	// evict brings the store down to its size.
	evict(ctx context.Context, want limits) (evicted, error)
	stats(ctx context.Context) (Stats, error)
	// interrupt makes long answers end early; close follows.
	interrupt()
	close() error
}

// limits are the Options that an eviction goes by: those of who asks for it.
type limits struct {
	Size      int64
	Retention int64 // nanoseconds
}

// evicted is what an eviction has done.
type evicted struct {
	Objects int
	Bytes   int64
}
