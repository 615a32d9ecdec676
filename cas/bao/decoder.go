package bao

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fstree/fstree/cas"
)

// Decoder reads a slice and verifies it on the way. It holds one group and a
// path of the tree, whatever sizes it was given, and never allocates or reads
// what the stream says: the stream says nothing but hashes and bytes.
type Decoder struct {
	digest cas.Digest
	slice  Slice
	r      stream
	todo   []subtree // what comes next is last
	record record
	buf    []byte
	err    error
	// keep gets the verified record of each parent that divides the object
	// before group i, before the bytes below it are read.
	keep func(i int64, r *record) error
}

// NewDecoder returns a Decoder for the slice s of d, which r delivers. It fails
// if s is not a range, and with errors.ErrUnsupported if d is not BLAKE3.
func NewDecoder(d cas.Digest, s Slice, r io.Reader) (*Decoder, error) {
	root, err := rootOf(d)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, err
	}
	return &Decoder{
		digest: d,
		slice:  s,
		r:      stream{r: bufio.NewReader(r)},
		todo:   []subtree{whole(s.Size, root)},
		keep:   func(int64, *record) error { return nil },
	}, nil
}

// Next returns the next group of the range: its verified bytes, which are
// valid until the call after, and where in the object they are. Groups come
// whole and in order. If a proof of the size was asked for, no group comes
// before the size is proved. After the last group Next reads to the end of the
// stream and returns io.EOF: everything that was asked for was there, and
// nothing else.
//
// A slice that does not fit the digest and the size, or is too short or too
// long, ends in an *Error. Errors of the reader are passed on.
func (d *Decoder) Next() (off int64, data []byte, err error) {
	if d.err == nil {
		off, data, d.err = d.next()
	}
	if d.err != nil {
		return 0, nil, d.err
	}
	return off, data, nil
}

func (d *Decoder) next() (int64, []byte, error) {
	if d.buf == nil {
		d.buf = make([]byte, min(d.slice.Size, GroupSize))
		if d.slice.ProveSize {
			if err := d.proveSize(); err != nil {
				return 0, nil, err
			}
		}
	}
	for len(d.todo) > 0 {
		t := d.pop()
		if !d.slice.wants(t.span) {
			continue
		}
		if t.size() <= GroupSize {
			data, err := d.bytes(t)
			return t.start, data, err
		}
		left, right, err := d.parent(t)
		if err == nil {
			err = d.keep(t.mid()/GroupSize, &d.record)
		}
		if err != nil {
			return 0, nil, err
		}
		d.todo = append(d.todo, right, left)
	}
	return 0, nil, d.end()
}

func (d *Decoder) pop() subtree {
	last := len(d.todo) - 1
	t := d.todo[last]
	d.todo = d.todo[:last]
	return t
}

// proveSize goes down the right edge, to the last chunk, and leaves to do what
// is on its left, and the last group. The records of the edge are kept when the
// size is known to be right, for it tells where they belong.
func (d *Decoder) proveSize() error {
	t := d.pop()
	var lefts []subtree
	var edge []record
	for t.size() > GroupSize {
		left, right, err := d.parent(t)
		if err != nil {
			return d.wrongSize(err)
		}
		lefts = append(lefts, left)
		edge = append(edge, d.record)
		t = right
	}
	if err := d.lastChunk(t); err != nil {
		return d.wrongSize(err)
	}
	for i, left := range lefts {
		if err := d.keep(left.end/GroupSize, &edge[i]); err != nil {
			return err
		}
	}
	slices.Reverse(lefts)
	d.todo = append(append(d.todo, t), lefts...)
	return nil
}

func (d *Decoder) lastChunk(t subtree) (err error) {
	for t.size() > chunkSize && err == nil {
		_, t, err = d.parent(t)
	}
	if err != nil {
		return err
	}
	_, err = d.bytes(t)
	return err
}

// wrongSize says that it may be the size that is wrong, where that is so.
func (d *Decoder) wrongSize(err error) error {
	if bad := (*Error)(nil); errors.As(err, &bad) {
		return d.corrupt("it is not of %d bytes, or the proof is wrong", d.slice.Size)
	}
	return err
}

// parent reads and verifies the children of t.
func (d *Decoder) parent(t subtree) (left, right subtree, err error) {
	if err := d.read(d.record[:]); err != nil {
		return left, right, err
	}
	left, right, ok := t.children(&d.record)
	if !ok {
		return left, right, d.corrupt("the proof of bytes %d to %d is wrong", t.start, t.end)
	}
	return left, right, nil
}

// bytes reads and verifies the bytes of t, at most a group.
func (d *Decoder) bytes(t subtree) ([]byte, error) {
	data := d.buf[:t.size()]
	if err := d.read(data); err != nil {
		return nil, err
	}
	if !t.holds(data) {
		return nil, d.corrupt("bytes %d to %d are wrong", t.start, t.end)
	}
	return data, nil
}

func (d *Decoder) end() error {
	switch n, err := d.r.fill(make([]byte, 1)); {
	case n > 0:
		return d.corrupt("its slice goes on behind the end")
	case err == io.EOF:
		return io.EOF
	default:
		return d.broken(err)
	}
}

func (d *Decoder) read(p []byte) error {
	switch n, err := d.r.fill(p); {
	case n == len(p):
		return nil
	case err == io.EOF:
		return d.corrupt("its slice ends early")
	default:
		return d.broken(err)
	}
}

func (d *Decoder) broken(err error) error { return fmt.Errorf("slice of object %s: %w", d.digest, err) }

func (d *Decoder) corrupt(format string, args ...any) error {
	return &Error{d.digest, fmt.Sprintf(format, args...)}
}

// stream fills buffers. Unlike io.ReadFull it keeps the regular end of its
// reader apart from io.ErrUnexpectedEOF, which a broken connection may return.
type stream struct{ r io.Reader }

func (s stream) fill(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = s.r.Read(p[n:])
		n += m
	}
	return n, err
}
