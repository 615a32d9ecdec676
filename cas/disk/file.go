package disk

import (
	"context"
	"io"
	"os"

	"github.com/fstree/fstree/cas"
)

// objectPath returns where the file of d is. Digests of other algorithms than
// BLAKE3 have the algorithm's name as a suffix.
func (s *Store) objectPath(d cas.Digest) string {
	hex := d.Hex()
	name := hex[2:]
	if d.Algorithm() != cas.BLAKE3 {
		name += "." + d.Algorithm().String()
	}
	return s.path(objectsDir, hex[:2], name)
}

// openFile opens the file of d. One that does not look as it did when it was
// proved is proved anew, before anybody gets a byte of it. Its error is
// fs.ErrNotExist if the file is gone, and a MismatchError if it is damaged.
func (s *Store) openFile(ctx context.Context, d cas.Digest, e entry) (cas.RandomObject, error) {
	f, err := os.Open(s.objectPath(d))
	if err != nil {
		return nil, err
	}
	if err := s.trust(ctx, d, e, f); err != nil {
		f.Close()
		return nil, err
	}
	return newFile(f, e.size), nil
}

// trust returns nil if f holds the bytes of d.
func (s *Store) trust(ctx context.Context, d cas.Digest, e entry, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.size {
		return &cas.MismatchError{Want: d}
	}
	if s.fits(e.identity, info) {
		return nil
	}
	return s.prove(ctx, d, f)
}

// prove hashes f, one file at a time, unless somebody else was quicker, and
// tells the index how a file with the right bytes looks.
func (s *Store) prove(ctx context.Context, d cas.Digest, f *os.File) error {
	select {
	case s.proofs <- struct{}{}:
		defer func() { <-s.proofs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e, err := s.lookupOne(ctx, d)
	if err != nil {
		return err
	}
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if e.kind == filed && s.fits(e.identity, before) {
		return nil
	}
	if err := hashFile(ctx, d, f); err != nil {
		return err
	}
	it := item{d, entry{kind: filed, size: before.Size(), identity: identityOf(before)}}
	return s.ask(ctx, func(ctx context.Context, x index) error { return x.record(ctx, []item{it}, s.limits()) })
}

// hashFile returns a MismatchError if the bytes of f are not d.
func hashFile(ctx context.Context, d cas.Digest, f *os.File) error {
	hasher := cas.NewHasher(d.Algorithm())
	defer hasher.Release()
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	r := &contextReader{ctx, io.NewSectionReader(f, 0, 1<<62)}
	for {
		n, err := r.Read(buf[:])
		hasher.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hasher.Digest(); got != d {
		return &cas.MismatchError{Want: d, Got: got}
	}
	return nil
}
