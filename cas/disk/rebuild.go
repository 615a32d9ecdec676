package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
)

// The mark is a file that holds the number of attempts to open the index that
// did not succeed. An index that may have ended two processes is made anew.
type mark struct{ path string }

const maxAttempts = 2

func (s *Store) mark() mark { return mark{s.path(runDir, "attempts")} }

func (m mark) read() int {
	text, err := os.ReadFile(m.path)
	if err != nil {
		return 0
	}
	attempts, _ := strconv.Atoi(string(text))
	return attempts
}

func (m mark) write(attempts int) {
	os.WriteFile(m.path, strconv.AppendInt(nil, int64(attempts), 10), 0o600)
}

func (m mark) remove() { os.Remove(m.path) }

// errDamaged means that the index itself is damaged.
var errDamaged = errors.New("the index is damaged")

// openIndex opens the index; one that is damaged it sets aside and makes anew.
func openIndex(s *Store) (x *engine, err error) {
	m := s.mark()
	attempts := m.read()
	m.write(attempts + 1)
	defer m.remove()
	err = errDamaged
	if attempts < maxAttempts {
		x, err = openEngine(s)
	}
	if !errors.Is(err, errDamaged) {
		return x, err
	}
	s.log.Warn("made the index anew", "cache", s.dir, "cause", err)
	if err := s.setIndexAside(); err != nil {
		return nil, fmt.Errorf("cache %s: cannot set the index aside: %w", s.dir, err)
	}
	return openEngine(s)
}

// setIndexAside keeps the last damaged index, for whoever wants to know.
func (s *Store) setIndexAside() error {
	aside := s.path(damagedDir, "index")
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(s.path(indexDir), aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.MkdirAll(s.path(indexDir), 0o700)
}

// rebuild enters what lies in packs and files. Nothing is hashed: packed
// objects are proved whenever they are read, files when they are opened first.
func (x *engine) rebuild() error {
	start := time.Now()
	b := builder{engine: x}
	if err := errors.Join(b.packs(), b.files(), b.flush()); err != nil {
		return err
	}
	x.store.sweepOutboards()
	x.store.log.Debug("rebuilt the index", "cache", x.store.dir, "objects", x.totals.Objects, "took", time.Since(start))
	return nil
}

type builder struct {
	engine *engine
	items  []item
}

func (b *builder) packs() error {
	names, err := os.ReadDir(b.engine.store.path(packsDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if id, ok := parsePackName(name.Name()); ok {
			if err := b.pack(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) pack(id uint64) error {
	f, err := os.Open(b.engine.store.packPath(id))
	if err != nil {
		return err
	}
	defer f.Close()
	return scanPack(f, id, b.add)
}

func (b *builder) files() error {
	objects := b.engine.store.path(objectsDir)
	dirs, err := os.ReadDir(objects)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		names, err := os.ReadDir(filepath.Join(objects, dir.Name()))
		if err != nil {
			continue // not a directory, not ours
		}
		for _, name := range names {
			d, err := parseObjectPath(dir.Name(), name.Name())
			info, statErr := name.Info()
			if err != nil || statErr != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := b.add(item{d, entry{kind: filed, size: info.Size()}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) add(it item) error {
	b.items = append(b.items, it)
	if len(b.items) < batchCount {
		return nil
	}
	return b.flush()
}

// flush enters what is not known yet. What lies twice is known by its first
// place.
func (b *builder) flush() error {
	now := b.engine.clock()
	err := b.engine.change(func(c *change) error {
		for _, it := range b.items {
			old, err := get(c.txn, it.digest)
			if err != nil {
				return err
			}
			if old.kind != 0 {
				continue
			}
			it.entry.used = now
			if err := c.set(it.digest, old, it.entry); err != nil {
				return err
			}
		}
		return nil
	})
	b.items = b.items[:0]
	return err
}

// parseObjectPath is the reverse of objectPath.
func parseObjectPath(dir, name string) (cas.Digest, error) {
	hex, algorithm, found := strings.Cut(name, ".")
	if !found {
		algorithm = cas.BLAKE3.String()
	}
	return cas.ParseDigest(algorithm + ":" + dir + hex)
}
