package disk

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

// change is a set of changes to the index that happens as a whole or not at
// all.
type change struct {
	txn    *badger.Txn
	totals totals
	packs  map[uint64]int64 // the packs that change, with their new number
	engine *engine

	names      map[uint32][]byte // what is named in the order, by bucket
	waiting    orderRecord       // names that are in no record after this change
	allRecords bool              // there are to be none of them
}

// change runs fn and keeps what it did, unless it returns an error.
func (x *engine) change(fn func(*change) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.changeLocked(fn)
}

func (x *engine) changeLocked(fn func(*change) error) error {
	if x.stuck {
		return x.failed(errStuck)
	}
	c := &change{
		txn: x.db.NewTransaction(true), totals: x.totals, packs: map[uint64]int64{}, engine: x,
		names: map[uint32][]byte{}, waiting: x.waiting,
	}
	defer c.txn.Discard()
	err := guard(func() error {
		if err := fn(c); err != nil {
			return err
		}
		return c.commit()
	})
	if err != nil {
		return x.failed(err)
	}
	x.totals, x.waiting = c.totals, c.waiting
	for id, used := range c.packs {
		x.packs[id] = used
		if used == 0 {
			delete(x.packs, id)
		}
	}
	return nil
}

func (c *change) commit() error {
	if err := c.settleNames(); err != nil {
		return err
	}
	if c.totals != c.engine.totals || !c.waiting.equal(c.engine.waiting) {
		if err := c.txn.Set([]byte{totalsKey}, appendTotals(nil, c.totals, c.waiting)); err != nil {
			return err
		}
	}
	for id, used := range c.packs {
		key := binary.BigEndian.AppendUint64([]byte{packKey}, id)
		err := error(nil)
		if used == 0 {
			err = c.txn.Delete(key)
		} else {
			err = c.txn.Set(key, binary.LittleEndian.AppendUint64(nil, uint64(used)))
		}
		if err != nil {
			return err
		}
	}
	return c.engine.wait(func(done chan error) {
		c.txn.CommitWith(func(err error) { done <- err })
	})
}

func (c *change) count(e entry, sign int64) {
	if e.kind == 0 {
		return
	}
	c.totals = c.totals.add(e, sign)
	if e.kind == packed {
		id := e.place.pack
		used, ok := c.packs[id]
		if !ok {
			used = c.engine.packs[id]
		}
		c.packs[id] = used + sign*recordSize(e.size)
	}
}

// set makes e the entry of d, whose entry was old. Where the clock went back an
// object gets another name: the one it has is in a later bucket.
func (c *change) set(d cas.Digest, old, e entry) error {
	key := keyOf(d)
	if old.kind == 0 || e.used < old.used {
		c.name(key[1:][:shortName], e.used)
	}
	c.count(old, -1)
	c.count(e, +1)
	if f := c.engine.strangers.filter.Load(); f != nil {
		f.add(d)
	}
	return c.txn.Set(key, appendEntry(make([]byte, 0, filedEntrySize), d, e))
}

// drop removes the entry of d, which was old.
func (c *change) drop(d cas.Digest, old entry) error {
	c.count(old, -1)
	return c.txn.Delete(keyOf(d))
}
