package disk

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

// GetMany asks the index for many objects at a time, and reads those that lie
// one behind the other in a pack with one call. Objects that were stored
// together mostly do. Their bytes are good until visit returns.
func (s *Store) GetMany(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
	for piece := range slices.Chunk(ds, batchCount) {
		entries, err := s.lookup(ctx, piece, true)
		if err != nil {
			return err
		}
		items := make([]item, len(piece))
		for i, d := range piece {
			items[i] = item{d, entries[i]}
		}
		slices.SortFunc(items, byPlace)
		for len(items) > 0 {
			n := runLength(items)
			if err := s.visitRun(ctx, items[:n], visit); err != nil {
				return err
			}
			items = items[n:]
		}
	}
	return nil
}

func byPlace(a, b item) int {
	return cmp.Or(cmp.Compare(a.entry.kind, b.entry.kind),
		cmp.Compare(a.entry.place.pack, b.entry.place.pack), cmp.Compare(a.entry.place.offset, b.entry.place.offset))
}

// maxRun is how many bytes are read with one call, or one record more.
const maxRun = 128 << 10

var runs = sync.Pool{New: func() any { return new([maxRun + maxRecord]byte) }}

// runLength returns how many items at the start are read at once: one, or
// packed ones without a gap.
func runLength(items []item) int {
	first := items[0].entry
	next := place{first.place.pack, first.place.offset}
	n := 0
	for n < len(items) && items[n].entry.kind == packed && items[n].entry.place == next && next.offset-first.place.offset < maxRun {
		next.offset += uint32(recordSize(items[n].entry.size))
		n++
	}
	return max(n, 1)
}

// visitRun visits items that are read at once.
func (s *Store) visitRun(ctx context.Context, items []item, visit cas.VisitObject) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	buf := runs.Get().(*[maxRun + maxRecord]byte)
	defer runs.Put(buf)
	records := s.readRun(items, buf[:])
	for _, it := range items {
		var o cas.Object
		var err error
		if data := it.bytesIn(records, items[0].entry.place); data != nil {
			o = cas.NewObject(data)
		} else {
			o, err = s.openFound(ctx, it.digest, it.entry)
		}
		err = visit(it.digest, o, err)
		if o != nil {
			o.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readRun reads the records of items, which lie one behind the other, into buf,
// and returns what is there of them.
func (s *Store) readRun(items []item, buf []byte) []byte {
	first, last := items[0].entry, items[len(items)-1].entry
	if first.kind != packed {
		return nil
	}
	f, err := s.readers.get(first.place.pack)
	if err != nil {
		return nil
	}
	defer s.readers.put(f)
	end := int64(last.place.offset-first.place.offset) + recordSize(last.size)
	if end > int64(len(buf)) {
		return nil
	}
	n, err := f.ReadAt(buf[:end], int64(first.place.offset))
	if err != nil && err != io.EOF {
		return nil
	}
	return buf[:n]
}

// bytesIn returns the bytes of it, nil if they are not in records, which begin
// at start.
func (it item) bytesIn(records []byte, start place) []byte {
	from := int64(it.entry.place.offset-start.offset) + packHeader
	to := from + it.entry.size
	if to > int64(len(records)) || !it.digest.Names(records[from:to:to]) {
		return nil
	}
	return records[from:to:to]
}
