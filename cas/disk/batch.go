package disk

import (
	"context"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

// batch is small objects, each once, in the form in which they will lie in a
// pack. An object that is read into it is not copied until it is written.
type batch struct {
	records []byte // whole ones, with room behind them for one more
	items   []item // what records holds; offsets are relative to its start
	names   map[cas.Digest]struct{}
}

// A batch with this much in it is full.
const (
	batchBytes = 512 << 10
	batchCount = 512
)

// maxRecord is the room for an object that is just too large for a pack.
const maxRecord = packHeader + inlineLimit + 1 + packTrailer

var batches = sync.Pool{New: func() any {
	return &batch{records: make([]byte, 0, batchBytes+maxRecord), names: map[cas.Digest]struct{}{}}
}}

func newBatch() *batch { return batches.Get().(*batch) }

// release gives b back for reuse.
func (b *batch) release() {
	b.empty()
	batches.Put(b)
}

func (b *batch) empty() {
	b.records, b.items = b.records[:0], b.items[:0]
	clear(b.names)
}

func (b *batch) full() bool { return len(b.records) >= batchBytes || len(b.items) >= batchCount }

// space is where the bytes of the next object go. If it is filled, the object
// is too large for a pack.
func (b *batch) space() []byte {
	start := len(b.records) + packHeader
	return b.records[start : start+inlineLimit+1]
}

// seal adds the object d, whose size bytes are in space already.
func (b *batch) seal(d cas.Digest, size int) {
	if _, known := b.names[d]; known {
		return
	}
	b.names[d] = struct{}{}
	at := place{offset: uint32(len(b.records))}
	b.items = append(b.items, item{d, entry{kind: packed, size: int64(size), place: at}})
	b.records = appendRecord(b.records, d, b.space()[:size])
}

// add adds the object d.
func (b *batch) add(d cas.Digest, data []byte) {
	copy(b.space(), data)
	b.seal(d, len(data))
}

// dropHeld takes out what s holds already.
func (b *batch) dropHeld(ctx context.Context, s *Store) error {
	ds := b.digests()
	if err := s.keep(ds...); err != nil {
		return err
	}
	if likely, err := b.likelyNew(ctx, s, ds); err != nil || likely {
		return err
	}
	sizes, err := s.sizes(ctx, ds, false)
	if err != nil {
		return err
	}
	all, items := b.records, b.items[:0]
	b.records = b.records[:0]
	for i, it := range b.items {
		if sizes[i] >= 0 {
			continue
		}
		start := it.entry.place.offset
		it.entry.place.offset = uint32(len(b.records))
		b.records = append(b.records, all[start:int64(start)+recordSize(it.entry.size)]...)
		items = append(items, it)
	}
	b.items = items
	return nil
}

func (b *batch) digests() []cas.Digest {
	ds := make([]cas.Digest, len(b.items))
	for i := range b.items {
		ds[i] = b.items[i].digest
	}
	return ds
}

// sample is how many objects stand for a whole batch.
const sample = 8

// likelyNew tells whether s holds none of a sample of ds. The question for all
// would take as long as storing them, and is worth it only where much is known:
// of the rest, less than one object in twenty is known and goes unnoticed. It
// is written once more, and what is entered in the index stays as it was.
func (b *batch) likelyNew(ctx context.Context, s *Store, ds []cas.Digest) (bool, error) {
	if len(ds) <= sample {
		return false, nil
	}
	some := make([]cas.Digest, sample)
	for i := range some {
		some[i] = ds[i*len(ds)/sample]
	}
	sizes, err := s.sizes(ctx, some, false)
	return err == nil && slices.Max(sizes) < 0, err
}

// writeTo appends b to the pack p.
func (b *batch) writeTo(p *pack) error {
	for i := range b.items {
		at := &b.items[i].entry.place
		at.pack, at.offset = p.id, at.offset+uint32(p.end)
	}
	return p.append(b.records)
}
