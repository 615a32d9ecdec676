package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// rangeThreshold is the size from which on it pays to move an object in parts.
// Larger ones have an outboard beside their file, and may be here in part.
const rangeThreshold = 1 << 20

// ranged tells whether d is kept with an outboard.
func ranged(d cas.Digest, size int64) bool {
	return d.Algorithm() == cas.BLAKE3 && size > rangeThreshold
}

// outboardPath returns where the outboard of d is. It is there only beside the
// file of d, and what is in it is not trusted: whoever reads it verifies.
func (s *Store) outboardPath(d cas.Digest) string {
	hex := d.Hex()
	return s.path(outboardsDir, hex[:2], hex[2:])
}

// naming makes the name of the bytes that are written to it.
type naming interface {
	io.Writer
	// name returns the name of all size bytes.
	name(size int64) (cas.Digest, error)
}

func newNaming(a cas.Algorithm, out *newOutboard) naming {
	if a == cas.BLAKE3 {
		return &treeNaming{bao.NewHasher(out), out}
	}
	return plainNaming{cas.NewHasher(a)}
}

type plainNaming struct{ *cas.Hasher }

func (n plainNaming) name(int64) (cas.Digest, error) {
	defer n.Release()
	return n.Digest(), nil
}

// treeNaming makes the outboard as well.
type treeNaming struct {
	*bao.Hasher
	out *newOutboard
}

func (n *treeNaming) name(size int64) (cas.Digest, error) {
	n.out.unwanted = size <= rangeThreshold // nothing of it was written yet
	d, _, err := n.Finish()
	return d, err
}

// newOutboard is an outboard on its way. It becomes a file when the first byte
// of it is written, if it is wanted.
type newOutboard struct {
	store    *Store
	temp     *temp
	unwanted bool
}

func (o *newOutboard) WriteAt(p []byte, off int64) (int, error) {
	if o.unwanted {
		return len(p), nil
	}
	if o.temp == nil {
		t, err := o.store.newTemp()
		if err != nil {
			return 0, err
		}
		o.temp = t
	}
	return o.temp.WriteAt(p, off)
}

// file returns the name of the file in tmp/, none if there is none.
func (o *newOutboard) file() string {
	if o.temp == nil {
		return ""
	}
	return o.temp.name
}

func (o *newOutboard) discard() {
	if o.temp != nil {
		o.temp.discard()
	}
}

// openOutboard opens the outboard of d, whose file has size bytes. Where there
// is none, or none of the right length, it is made, and the file proved by that.
func (s *Store) openOutboard(ctx context.Context, d cas.Digest, f *os.File, size int64) (*os.File, error) {
	if out, err := s.findOutboard(d, size); err == nil {
		return out, nil
	}
	select {
	case s.proofs <- struct{}{}:
		defer func() { <-s.proofs }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if out, err := s.findOutboard(d, size); err == nil {
		return out, nil // somebody else was quicker
	}
	return s.makeOutboard(ctx, d, f, size)
}

func (s *Store) findOutboard(d cas.Digest, size int64) (*os.File, error) {
	out, err := os.Open(s.outboardPath(d))
	if err != nil {
		return nil, err
	}
	info, err := out.Stat()
	if err == nil && info.Size() != bao.OutboardSize(size) {
		err = bao.ErrOutboard
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (s *Store) makeOutboard(ctx context.Context, d cas.Digest, f *os.File, size int64) (*os.File, error) {
	t, err := s.newTemp()
	if err != nil {
		return nil, err
	}
	got, err := bao.HashAt(ctx, f, size, t)
	if err == nil && got != d {
		err = &cas.MismatchError{Want: d, Got: got}
	}
	if err == nil {
		p := publication{Digest: d, Size: size, Outboard: t.name, Keep: s.limits()}
		err = s.ask(ctx, func(ctx context.Context, x index) error { return x.publish(ctx, p) })
	}
	if err != nil {
		t.discard()
		return nil, err
	}
	t.unlink()
	return t.file, nil
}

// moveOutboard gives the outboard of d, if there is one, its final place. Without
// it the object is whole as well.
func (x *engine) moveOutboard(d cas.Digest, from string) {
	if from == "" {
		return
	}
	path := x.store.outboardPath(d)
	err := os.Mkdir(filepath.Dir(path), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = os.Rename(from, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.store.log.Warn("an outboard was not kept", "cache", x.store.dir, "object", d, "cause", err)
	}
}

// removeOutboard removes the outboard of d, if there is one.
func (s *Store) removeOutboard(d cas.Digest) error {
	if d.Algorithm() != cas.BLAKE3 {
		return nil
	}
	return ignoreMissing(os.Remove(s.outboardPath(d)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweepOutboards removes outboards without an object. They are there only where
// files of objects were removed by hand, together with the index.
func (s *Store) sweepOutboards() {
	s.eachIn(outboardsDir, func(dir string) error {
		names, err := os.ReadDir(dir)
		for _, name := range names {
			object := s.path(objectsDir, filepath.Base(dir), name.Name())
			if _, missing := os.Lstat(object); errors.Is(missing, fs.ErrNotExist) {
				err = errors.Join(err, os.Remove(filepath.Join(dir, name.Name())))
			}
		}
		return err
	})
}

// checkOutboard returns a MismatchError if the bytes of f are not d, and removes
// an outboard that does not fit to them.
func (s *Store) checkOutboard(ctx context.Context, d cas.Digest, f *os.File, size int64) error {
	if info, err := f.Stat(); err != nil || info.Size() != size {
		return errors.Join(err, &cas.MismatchError{Want: d})
	}
	old, err := s.findOutboard(d, size)
	c := comparison{old: old, differs: err != nil}
	if old != nil {
		defer old.Close()
	}
	got, err := bao.HashAt(ctx, f, size, &c)
	if err != nil {
		return err
	}
	if got != d {
		return &cas.MismatchError{Want: d, Got: got}
	}
	if c.differs {
		return s.removeOutboard(d)
	}
	return nil
}

// comparison compares what is written to it with what is there.
type comparison struct {
	old     *os.File
	differs bool
}

func (c *comparison) WriteAt(p []byte, off int64) (int, error) {
	if c.differs {
		return len(p), nil
	}
	was := make([]byte, len(p))
	_, err := c.old.ReadAt(was, off)
	c.differs = err != nil || string(was) != string(p)
	return len(p), nil
}
