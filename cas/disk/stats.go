package disk

import (
	"context"
	"math"
	"time"

	"github.com/fstree/fstree/cas"
)

// Stats describe a store.
type Stats struct {
	Objects int64 // all of them
	Bytes   int64 // their lengths
	Files   int64 // those that are files of their own
	InFiles int64 // the bytes of these
	Packs   int64 // packs with objects in them
	InPacks int64 // the bytes of these objects; the packs are longer

	Partial   int64 // objects of which a part is here; they count nowhere else
	InPartial int64 // the bytes of these parts on disk

	// Objects that somebody asked for since the cache was made, whether for their
	// bytes or only for their lengths, and that were here or not. Owners of the
	// index that were killed have not told what they counted.
	Hits, Misses int64
}

// Stats describes the store as a whole. Besides sums that are kept it looks at
// the files of each partial object.
func (s *Store) Stats(ctx context.Context) (stats Stats, err error) {
	err = s.ask(ctx, func(ctx context.Context, x index) (err error) {
		stats, err = x.stats(ctx)
		return err
	})
	return stats, err
}

// Oldest returns when the object was used that was not used for the longest
// time, give or take five minutes; the zero time if there is none. It reads the
// whole index.
func (s *Store) Oldest(ctx context.Context) (time.Time, error) {
	oldest := uint32(math.MaxUint32)
	for after := (cas.Digest{}); ; {
		items, err := s.list(ctx, after)
		if err != nil {
			return time.Time{}, err
		}
		if len(items) == 0 {
			break
		}
		for _, it := range items {
			oldest = min(oldest, it.entry.used)
		}
		after = items[len(items)-1].digest
	}
	if oldest == math.MaxUint32 {
		return time.Time{}, nil
	}
	return time.Unix(int64(oldest), 0), nil
}

func (x *engine) stats(context.Context) (Stats, error) {
	partial := x.countPartials()
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.totals
	return Stats{
		Objects: t.Objects, Bytes: t.Bytes, Files: t.Files, InFiles: t.InFiles,
		Packs: int64(len(x.packs)), InPacks: t.Bytes - t.InFiles,
		Partial: int64(len(partial)), InPartial: bytesOf(partial),
		Hits: x.counts.hits.Load(), Misses: x.counts.misses.Load(),
	}, nil
}
