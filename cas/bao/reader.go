package bao

import (
	"errors"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
)

// ReaderAt reads an object from bytes that are not trusted, such as a file's,
// and verifies each group that it touches with an outboard that is not trusted
// either. Nothing is remembered: what is read twice is verified twice. It is
// safe for concurrent use if both of its readers are.
type ReaderAt struct {
	digest   cas.Digest
	root     chain
	size     int64
	data     io.ReaderAt
	outboard io.ReaderAt
}

// NewReaderAt returns a ReaderAt for the object d of size bytes. It may also be
// given the files of a Partial, and then reads the ranges that are present.
// With a wrong size it delivers right bytes or errors, but may end in the wrong
// place. It fails with errors.ErrUnsupported if d is not BLAKE3.
func NewReaderAt(d cas.Digest, size int64, data, outboard io.ReaderAt) (*ReaderAt, error) {
	root, err := rootOf(d)
	if err != nil {
		return nil, err
	}
	if size < 0 {
		return nil, fmt.Errorf("object %s can't be of %d bytes", d, size)
	}
	return &ReaderAt{d, root, size, data, outboard}, nil
}

// Size returns the length that NewReaderAt was given.
func (r *ReaderAt) Size() int64 { return r.size }

// ReadAt reads verified bytes, as io.ReaderAt says. Bytes that are wrong or not
// there end in an *Error, a wrong outboard in ErrOutboard, and errors of the
// readers are passed on; the n bytes before were verified, the rest of p may
// hold anything.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	short := int64(len(p)) > r.size-off
	if short {
		p = p[:max(r.size-off, 0)]
	}
	if len(p) > 0 {
		buf := buffers.Get().(*buffer)
		defer buffers.Put(buf)
		v := &reading{ReaderAt: r, records: buf.records(r.outboard), buf: &buf.group, p: p, off: off}
		err = v.read(whole(r.size, r.root))
		n = v.n
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// reading is one call of ReadAt.
type reading struct {
	*ReaderAt
	records records
	buf     *[GroupSize]byte
	p       []byte // where the bytes from off go
	off     int64
	n       int // how many are there
}

func (v *reading) read(t subtree) error {
	if !t.overlaps(span{v.off, v.off + int64(len(v.p))}) {
		return nil
	}
	if t.size() <= GroupSize {
		return v.group(t)
	}
	left, right, err := v.children(t)
	if err != nil {
		return err
	}
	if err := v.read(left); err != nil {
		return err
	}
	return v.read(right)
}

func (v *reading) children(t subtree) (left, right subtree, err error) {
	r, err := v.records.at(t.mid() / GroupSize)
	if err != nil {
		return left, right, fmt.Errorf("object %s: %w", v.digest, err)
	}
	left, right, ok := t.children(r)
	if !ok {
		err = fmt.Errorf("object %s: %w: it does not prove bytes %d to %d", v.digest, ErrOutboard, t.start, t.end)
	}
	return left, right, err
}

// group reads what is wanted of t: into p if that is all, else beside it.
func (v *reading) group(t subtree) error {
	dst := v.p[v.n:]
	direct := t.start == v.off+int64(v.n) && t.size() <= int64(len(dst))
	data := v.buf[:t.size()]
	if direct {
		data = dst[:t.size()]
	}
	if err := v.verify(t, data); err != nil {
		return err
	}
	if direct {
		v.n += len(data)
	} else {
		v.n += copy(dst, data[v.off+int64(v.n)-t.start:])
	}
	return nil
}

// verify fills data with the bytes of t.
func (v *reading) verify(t subtree, data []byte) error {
	n, err := v.data.ReadAt(data, t.start)
	switch {
	case n < len(data) && err == io.EOF:
		return &Error{v.digest, fmt.Sprintf("it ends before byte %d", t.end)}
	case n < len(data):
		return fmt.Errorf("object %s: %w", v.digest, err)
	case !t.holds(data):
		return &Error{v.digest, fmt.Sprintf("bytes %d to %d are wrong", t.start, t.end)}
	}
	return nil
}
