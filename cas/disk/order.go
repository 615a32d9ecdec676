package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

// The order lets an eviction begin with the objects that were not used for the
// longest time, and read no others. It is a queue of records in the index:
//
//	'u' + u32 bucket + u64 number → names of objects, u32 checksum
//
// Every object has its name in a bucket of time that is not later than its last
// use. It gets there in the change that enters the object. The last names wait
// beside the totals, which such a change writes anyway, until there are enough of
// them for a record. A use leaves the name where it is: an eviction that meets it
// moves it to where it belongs by then. So a use costs nothing here when it
// happens, and at most one move later on, however often an object is used in
// between. The name of an object that is gone is dropped when it is met.

// bucketGrain makes buckets of 64 seconds. Within one, objects are evicted in any
// order.
const bucketGrain = 6

func bucketOf(used uint32) uint32 { return used >> bucketGrain }

// shortName is the length of a name: the start of a digest in its binary form,
// so that names take a sixteenth of the index. Objects that start alike, one in
// four thousand of a million, are all looked at where one is named.
const shortName = 1 + 4

func nameOf(d cas.Digest) []byte { return keyOf(d)[1:][:shortName] }

// orderPlace is where in the order a record is.
type orderPlace struct {
	bucket uint32
	number uint64 // no two records of a bucket have the same
}

func (p orderPlace) key() []byte {
	b := binary.BigEndian.AppendUint32([]byte{orderKey}, p.bucket)
	return binary.BigEndian.AppendUint64(b, p.number)
}

// orderRecord is a record of the order.
type orderRecord struct {
	place orderPlace
	names []byte
}

// value has a checksum, over the key as well: an object whose name is lost would
// never be evicted.
func (r orderRecord) value() []byte {
	return binary.LittleEndian.AppendUint32(slices.Clip(r.names), r.checksum())
}

func (r orderRecord) checksum() uint32 {
	return crc32.Update(crc32.Checksum(r.place.key(), castagnoli), castagnoli, r.names)
}

func (r orderRecord) equal(o orderRecord) bool {
	return r.place == o.place && bytes.Equal(r.names, o.names)
}

func orderRecordOf(found *badger.Item) (r orderRecord, err error) {
	key := found.Key()
	value, err := found.ValueCopy(nil)
	if err == nil {
		r, err = decodeOrderRecord(key, value)
	}
	if err != nil {
		return r, fmt.Errorf("%w: a record of the order: %w", errDamaged, err)
	}
	return r, nil
}

// decodeOrderRecord is the reverse of key and value. The error is errMalformed.
func decodeOrderRecord(key, value []byte) (r orderRecord, err error) {
	end := len(value) - 4
	if len(key) != 1+4+8 || end < 0 || end%shortName != 0 {
		return r, errMalformed
	}
	r.place = orderPlace{binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(key[5:])}
	r.names = value[:end:end]
	if r.checksum() != binary.LittleEndian.Uint32(value[end:]) {
		return r, errMalformed
	}
	return r, nil
}

// name enters a name in the bucket of used.
func (c *change) name(name []byte, used uint32) {
	bucket := bucketOf(used)
	c.names[bucket] = append(c.names[bucket], name...)
}

// settleNames writes records of what was entered with name, except for names of
// the latest bucket while they are few. The number of the last change that was
// made before numbers the records: there is only one change at a time.
func (c *change) settleNames() error {
	if w := c.waiting; len(w.names) > 0 {
		c.names[w.place.bucket] = append(w.names, c.names[w.place.bucket]...)
	}
	latest := uint32(0)
	for bucket := range c.names {
		latest = max(latest, bucket)
	}
	c.waiting = orderRecord{}
	for bucket, names := range c.names {
		r := orderRecord{orderPlace{bucket: bucket}, names}
		if bucket == latest && len(names) < maxWaiting*shortName && !c.allRecords {
			c.waiting = r
			continue
		}
		r.place.number = c.txn.ReadTs()
		if err := c.setRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// maxWaiting is how many names make a record.
const maxWaiting = 32

// setRecord makes r the record at its place; one without names is no record.
func (c *change) setRecord(r orderRecord) error {
	if len(r.names) == 0 {
		return c.txn.Delete(r.place.key())
	}
	return c.txn.Set(r.place.key(), r.value())
}

// records returns the next records from a place on, all of one bucket, with
// batchCount names unless the first has more. None means that there are no more.
func records(txn *badger.Txn, from orderPlace) (rs []orderRecord, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{orderKey}})
	defer it.Close()
	names := 0
	for it.Seek(from.key()); it.Valid(); it.Next() {
		r, err := orderRecordOf(it.Item())
		if err != nil {
			return nil, err
		}
		names += len(r.names) / shortName
		if len(rs) > 0 && (names > batchCount || r.place.bucket != rs[0].place.bucket) {
			break
		}
		rs = append(rs, r)
	}
	return rs, nil
}

// completeOrder names every object, once, in an index that was written by a
// version of this program that knew no order.
func (x *engine) completeOrder(ctx context.Context) error {
	x.mu.Lock()
	complete := x.totals.Ordered
	x.mu.Unlock()
	if complete {
		return nil
	}
	if err := x.dropOrder(ctx); err != nil {
		return err
	}
	for after := (cas.Digest{}); ctx.Err() == nil; {
		items, err := x.list(ctx, after)
		if err != nil {
			return err
		}
		err = x.change(func(c *change) error {
			for _, it := range items {
				c.name(nameOf(it.digest), it.entry.used)
			}
			c.totals.Ordered = len(items) == 0
			return nil
		})
		if err != nil || len(items) == 0 {
			return err
		}
		after = items[len(items)-1].digest
	}
	return context.Cause(ctx)
}

// dropOrder removes what an attempt to complete the order has left that did not
// get to its end.
func (x *engine) dropOrder(ctx context.Context) error {
	for ctx.Err() == nil {
		var old []orderRecord
		err := x.view(func(txn *badger.Txn) (err error) {
			old, err = records(txn, orderPlace{})
			return err
		})
		if err != nil || len(old) == 0 {
			return err
		}
		err = x.change(func(c *change) error {
			for _, r := range old {
				if err := c.setRecord(orderRecord{place: r.place}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
