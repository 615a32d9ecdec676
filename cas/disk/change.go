package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

func (x *engine) record(_ context.Context, items []item, keep limits) error {
	now := x.clock()
	packs := packLengths{}
	err := x.change(func(c *change) error {
		for _, it := range items {
			old, err := get(c.txn, it.digest)
			if err != nil {
				return err
			}
			switch {
			case it.entry.kind == filed && old.kind == 0:
				continue // it was dropped meanwhile
			case it.entry.kind == packed && old.kind != 0 && x.store.looksRight(it.digest, old, packs):
				it.entry = old
			}
			it.entry.used = now
			if err := c.set(it.digest, old, it.entry); err != nil {
				return err
			}
		}
		return nil
	})
	x.evictSoon(keep)
	return err
}

// publish notes d with an identity that fits no file, moves the file, and then
// notes its identity. Wherever that ends too early, the file either is not
// there, or is proved by whoever opens it first; no file is ever without an
// entry. The outboard follows: an object without one is no harm.
func (x *engine) publish(_ context.Context, p publication) error {
	if strings.ContainsRune(p.Temp+p.Outboard, filepath.Separator) {
		return x.failed(fs.ErrInvalid)
	}
	d := p.Digest
	x.files.Lock()
	defer x.files.Unlock()
	published := x.published(d)
	if published && p.Outboard != "" {
		x.moveOutboard(d, x.store.path(tmpDir, p.Outboard))
	}
	if published || p.Temp == "" {
		return nil
	}
	e := entry{kind: filed, size: p.Size, used: x.clock()}
	if err := x.replace(d, e); err != nil {
		return err
	}
	info, err := x.move(d, p.Temp)
	moved := err == nil || errors.Is(err, fs.ErrNotExist) && x.moved(d, p.Size)
	if moved && p.Outboard != "" {
		x.moveOutboard(d, x.store.path(tmpDir, p.Outboard))
	}
	if moved && err != nil {
		return nil
	}
	if err != nil {
		return x.failed(errors.Join(err, x.forgetLocked(item{d, e})))
	}
	e.identity = identityOf(info)
	err = x.replace(d, e)
	x.evictSoon(p.Keep)
	return err
}

// published tells whether d is a file that looks right.
func (x *engine) published(d cas.Digest) bool {
	info, err := os.Lstat(x.store.objectPath(d))
	if err != nil {
		return false
	}
	entries, err := x.entries([]cas.Digest{d})
	return err == nil && entries[0].kind == filed && entries[0].identity == identityOf(info)
}

// moved tells whether an owner that went away before it could answer has moved
// the file of d.
func (x *engine) moved(d cas.Digest, size int64) bool {
	info, err := os.Lstat(x.store.objectPath(d))
	return err == nil && info.Size() == size
}

func (x *engine) move(d cas.Digest, temp string) (os.FileInfo, error) {
	path := x.store.objectPath(d)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.Rename(x.store.path(tmpDir, temp), path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

func (x *engine) replace(d cas.Digest, e entry) error {
	return x.change(func(c *change) error {
		old, err := get(c.txn, d)
		if err != nil {
			return err
		}
		return c.set(d, old, e)
	})
}

func (x *engine) forget(_ context.Context, it item) error {
	return x.store.withoutBallast(func() error {
		x.files.Lock()
		defer x.files.Unlock()
		return x.forgetLocked(it)
	})
}

func (x *engine) forgetLocked(it item) error {
	return x.losing(func() error {
		return x.change(func(c *change) error {
			now, err := get(c.txn, it.digest)
			if err != nil {
				return err
			}
			it.entry.used = now.used
			if now.kind == 0 || now != it.entry {
				return nil // somebody stored it anew
			}
			if err := x.setAside(it); err != nil {
				return err
			}
			return c.drop(it.digest, now)
		})
	})
}

// setAside moves the file of a damaged object out of the way.
func (x *engine) setAside(it item) error {
	if it.entry.kind != filed {
		return nil // its record stays in the pack, where nothing points to it
	}
	name := strings.ReplaceAll(it.digest.String(), ":", "-")
	err := ignoreMissing(os.Rename(x.store.objectPath(it.digest), x.store.path(damagedDir, name)))
	return errors.Join(err, x.store.removeOutboard(it.digest))
}

func (x *engine) list(_ context.Context, after cas.Digest) (items []item, err error) {
	err = x.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{objectKey}})
		defer it.Close()
		for it.Seek(append(keyOf(after), 0)); it.Valid() && len(items) < batchCount; it.Next() {
			found, err := x.itemOf(it.Item())
			if err != nil {
				return err
			}
			items = append(items, found)
		}
		return nil
	})
	return items, err
}

func (x *engine) itemOf(found *badger.Item) (it item, err error) {
	x.read.Add(1)
	it.digest, err = cas.DigestFromBytes(found.Key()[1:])
	if err == nil {
		err = found.Value(func(b []byte) (err error) { it.entry, err = decodeEntry(it.digest, b); return err })
	}
	if err != nil {
		return it, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return it, nil
}

// each calls fn for every object in the index.
func (x *engine) each(ctx context.Context, fn func(item) error) error {
	for after := (cas.Digest{}); ; {
		items, err := x.list(ctx, after)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, it := range items {
			if err := fn(it); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		after = items[len(items)-1].digest
	}
}
