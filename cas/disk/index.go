package disk

import (
	"context"

	"github.com/fstree/fstree/cas"
)

// index is what the owner does for everybody. The owner's own is an *engine,
// everybody else's a *client. All of it may be repeated: a question whose
// owner went away is put to the next one.
type index interface {
	// lookup returns the entries of ds, in that order. It is a use of them, and
	// if counted it makes hits and misses.
	lookup(ctx context.Context, ds []cas.Digest, counted bool) ([]entry, error)
	// record adds packed objects, and notes the new identity of files that are
	// known. A packed object that lies elsewhere already stays there. It is a use
	// of them. What is then beyond the limits of who asks is evicted in the
	// background. Without items it says that parts have grown.
	record(ctx context.Context, items []item, keep limits) error
	// publish moves temporary files to their final places. It evicts like record.
	publish(ctx context.Context, p publication) error
	// forget drops an object if its entry is still the one given, and sets its
	// file aside.
	forget(ctx context.Context, it item) error
	// list returns up to batchCount objects after the given one, in the order of
	// their digests. None means that there are no more.
	list(ctx context.Context, after cas.Digest) ([]item, error)
	// evict brings the store down to its size.
	evict(ctx context.Context, keep limits) (evicted, error)
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

// publication is a large object whose bytes were proved.
type publication struct {
	Digest   cas.Digest
	Size     int64
	Temp     string // the name of its file in tmp/; none if it has its place
	Outboard string // the same for its outboard; none if there is none
	Parts    string // instead, the directory in partial/ where both are
	Inode    uint64 // of the file there
	Keep     limits
}

// evicted is what an eviction has done.
type evicted struct {
	Objects int
	Bytes   int64
}
