package disk

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

// filter tells of most objects that are not in the index that they are not, at a
// tenth of the price of a look there. Who stores what is new asks of each object
// whether it is known: those looks take longer than entering it.
//
// It is a Bloom filter of one size: with a million objects it is of no help with
// one absent object in fifty, with four million with half of them. What leaves
// the index stays in it.
type filter struct {
	lines [filterLines]filterLine
}

// A filterLine has the bits of one object, and a line of the processor's cache.
type filterLine [8]atomic.Uint64

const filterLines = 1 << 14 // 1 MiB

// place returns the line of d, and what to take its bits from. A digest is as
// good as a hash of itself.
func (f *filter) place(d cas.Digest) (line *filterLine, bits uint64) {
	var buf [maxDigest]byte
	name, _ := d.AppendBinary(buf[:0])
	return &f.lines[binary.LittleEndian.Uint32(name[1:])%filterLines], binary.LittleEndian.Uint64(name[5:])
}

// filterProbes is how many bits each object has, of which nine of a digest choose
// one.
const filterProbes = 4

func (f *filter) add(d cas.Digest) {
	line, bits := f.place(d)
	for range filterProbes {
		line[bits>>6%8].Or(1 << (bits % 64))
		bits >>= 9
	}
}

// lacks tells whether d was certainly not added.
func (f *filter) lacks(d cas.Digest) bool {
	line, bits := f.place(d)
	for range filterProbes {
		if line[bits>>6%8].Load()&(1<<(bits%64)) == 0 {
			return true
		}
		bits >>= 9
	}
	return false
}

// strangers are the objects that an engine was asked for and does not know.
type strangers struct {
	looks  atomic.Int64           // how often the index was looked at for one
	filter atomic.Pointer[filter] // has what was entered since it was made; nil if there is none
	whole  atomic.Bool            // it has everything
}

// get is get for who asks for objects that may well be new.
func (x *engine) get(txn *badger.Txn, d cas.Digest) (entry, error) {
	if x.strangers.whole.Load() && x.strangers.filter.Load().lacks(d) {
		return entry{}, nil
	}
	e, err := get(txn, d)
	if err == nil && e.kind == 0 {
		x.strangers.looks.Add(1)
	}
	return e, err
}

// A filter is made when it would have paid: to enter an object that is there
// takes a quarter of a look. Fewer looks than minLooks are not worth its memory.
const minLooks = 1024

// filterSoon makes the filter, in the background, if it is time.
func (x *engine) filterSoon() {
	n := &x.strangers
	if n.filter.Load() != nil || n.looks.Load() < minLooks {
		return
	}
	x.mu.Lock() // so that no change is under way that does not know of the filter
	defer x.mu.Unlock()
	if n.filter.Load() != nil || n.looks.Load() < x.totals.Objects/4 || x.lifetime.Err() != nil {
		return
	}
	n.filter.Store(new(filter))
	x.background.Go(func() {
		err := x.view(x.fillFilter)
		if err != nil {
			x.store.log.Debug("there is no filter", "cache", x.store.dir, "cause", err)
		}
		n.whole.Store(err == nil)
	})
}

// fillFilter adds all that is in the index.
func (x *engine) fillFilter(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{objectKey}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if x.lifetime.Err() != nil {
			return context.Cause(x.lifetime)
		}
		d, err := cas.DigestFromBytes(it.Item().Key()[1:])
		if err != nil {
			return errDamaged
		}
		x.strangers.filter.Load().add(d)
	}
	return nil
}
