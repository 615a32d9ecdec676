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

// errPackGone means that objects were to be entered whose pack is gone: who
// wrote it ended before it was heard, and its pack was compacted.
var errPackGone = errors.New("what was written is gone")

func (x *engine) record(_ context.Context, items []item, keep limits) error {
	now := x.clock()
	packs := packLengths{}
	err := x.change(func(c *change) error {
		for _, it := range items {
			old, err := x.get(c.txn, it.digest)
			if err != nil {
				return err
			}
			switch {
			case it.entry.kind == filed && old.kind == 0:
				continue // it was dropped meanwhile
			case it.entry.kind == packed && old.kind != 0 && x.store.looksRight(it.digest, old, packs):
				it.entry = old
			case it.entry.kind == packed && !x.store.looksRight(it.digest, it.entry, packs):
				return fmt.Errorf("%w: pack %s", errPackGone, packName(it.entry.place.pack))
			}
			it.entry.used = now
			if err := c.set(it.digest, old, it.entry); err != nil {
				return err
			}
		}
		return nil
	})
	if len(items) == 0 {
		x.countPartials() // they have grown
	}
	x.filterSoon()
	x.evictSoon(keep)
	return err
}

// publish notes d with an identity that fits no file, moves the file, and then
// notes its identity. Wherever that ends too early, the file either is not
// there, or is proved by whoever opens it first; no file is ever without an
// entry. The outboard follows: an object without one is no harm.
func (x *engine) publish(_ context.Context, p publication) error {
	if strings.ContainsRune(p.Temp+p.Outboard+p.Parts, filepath.Separator) {
		return x.failed(fs.ErrInvalid)
	}
	d := p.Digest
	x.files.Lock()
	defer x.files.Unlock()
	data, outboard := x.store.sources(p)
	published := x.published(d)
	if published {
		x.moveOutboard(d, outboard)
	}
	if published || data == "" {
		return nil
	}
	e := entry{kind: filed, size: p.Size, used: x.clock()}
	if err := x.replace(d, e); err != nil {
		return err
	}
	info, err := x.move(p, data)
	moved := err == nil || errors.Is(err, fs.ErrNotExist) && x.moved(d, p.Size)
	if moved {
		x.moveOutboard(d, outboard)
	}
	if moved && err != nil {
		return nil
	}
	if err != nil {
		return x.failed(errors.Join(err, x.forgetLocked(item{d, e})))
	}
	e.identity = identityOf(info)
	if p.Parts != "" {
		e.identity = e.identity.untilReboot(x.store.boot)
		x.partialBytes.Add(-bytesOnDisk(info))
	}
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
	return err == nil && entries[0].kind == filed && x.store.fits(entries[0].identity, info)
}

// moved tells whether an owner that went away before it could answer has moved
// the file of d.
func (x *engine) moved(d cas.Digest, size int64) bool {
	info, err := os.Lstat(x.store.objectPath(d))
	return err == nil && info.Size() == size
}

// sources returns where the files of p are, none for one that it has not.
func (s *Store) sources(p publication) (data, outboard string) {
	if p.Parts != "" {
		return s.path(partialDir, p.Parts, partData), s.path(partialDir, p.Parts, partOutboard)
	}
	if p.Temp != "" {
		data = s.path(tmpDir, p.Temp)
	}
	if p.Outboard != "" {
		outboard = s.path(tmpDir, p.Outboard)
	}
	return data, outboard
}

func (x *engine) move(p publication, from string) (os.FileInfo, error) {
	if err := p.check(from); err != nil {
		return nil, err
	}
	path := x.store.objectPath(p.Digest)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := p.rename(from, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// rename moves the file of p. The one of parts becomes read-only, as those of all
// objects are, and it does so before: who finds it under its final name may look
// at it at once, and must not see it change.
func (p publication) rename(from, to string) error {
	if p.Parts == "" {
		return os.Rename(from, to)
	}
	if err := os.Chmod(from, 0o444); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if err != nil {
		os.Chmod(from, 0o600)
	}
	return err
}

// check returns an error for parts that are not those that were verified.
func (p publication) check(from string) error {
	if p.Parts == "" {
		return nil
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if identityOf(info).inode != p.Inode || info.Size() != p.Size {
		return fs.ErrInvalid
	}
	return nil
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
