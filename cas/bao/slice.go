package bao

import (
	"fmt"
	"io"
)

// Slice says what is asked for and what is sent: the groups that hold Len
// bytes from Off on, and the proof of the size if that is wanted. Both sides
// must agree about all four fields; nothing of them is in the bytes. A Slice
// with ProveSize and without Len proves the size alone.
type Slice struct {
	Size      int64 // of the object, as both sides believe
	Off, Len  int64 // the range, not beyond Size
	ProveSize bool
}

// check returns an error for a range that is not inside an object.
func (s Slice) check() error {
	if s.Size < 0 || s.Off < 0 || s.Len < 0 || s.Off > s.Size || s.Len > s.Size-s.Off {
		return fmt.Errorf("%d bytes from %d are not a range of %d bytes", s.Len, s.Off, s.Size)
	}
	return nil
}

func (s Slice) wants(part span) bool {
	return s.Len > 0 && part.overlaps(span{s.Off, s.Off + s.Len})
}

// EncodedSize returns the exact number of bytes that the slice is sent in. It
// is meaningless for a range that is not inside the object.
func (s Slice) EncodedSize() int64 {
	part := span{0, s.Size}
	if !s.ProveSize {
		return s.rangeSize(part)
	}
	n := int64(0)
	for part.size() > GroupSize {
		mid := part.mid()
		n += recordSize + s.rangeSize(span{part.start, mid})
		part.start = mid
	}
	n += s.rangeSize(part)
	for part.size() > chunkSize {
		n += recordSize
		part.start = part.mid()
	}
	return n + part.size()
}

// rangeSize returns how many bytes the range takes inside part. It visits the
// two edges of the range only.
func (s Slice) rangeSize(part span) int64 {
	switch {
	case !s.wants(part):
		return 0
	case s.Off <= part.start && part.end <= s.Off+s.Len:
		return part.size() + OutboardSize(part.size())
	case part.size() <= GroupSize:
		return part.size()
	}
	mid := part.mid()
	return recordSize + s.rangeSize(span{part.start, mid}) + s.rangeSize(span{mid, part.end})
}

// WriteSlice writes s, taken from an object and its outboard, to w, with many
// small writes. It reads no more than the groups in the range, and the last
// one for the proof of the size. It does not verify: whoever reads the slice
// does.
func WriteSlice(w io.Writer, data, outboard io.ReaderAt, s Slice) error {
	if err := s.check(); err != nil {
		return err
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	e := &encoder{s, w, data, buf.records(outboard), &buf.group}
	if s.ProveSize {
		return e.sizeAndRange()
	}
	return e.rangeIn(span{0, s.Size})
}

type encoder struct {
	Slice
	w       io.Writer
	data    io.ReaderAt
	records records
	buf     *[GroupSize]byte
}

// sizeAndRange writes the right edge of the tree, and then the subtrees to the
// left of it.
func (e *encoder) sizeAndRange() error {
	var lefts []span
	part := span{0, e.Size}
	for part.size() > GroupSize {
		if err := e.record(part); err != nil {
			return err
		}
		mid := part.mid()
		lefts = append(lefts, span{part.start, mid})
		part.start = mid
	}
	if err := e.lastChunk(part); err != nil {
		return err
	}
	for _, left := range lefts {
		if err := e.rangeIn(left); err != nil {
			return err
		}
	}
	return e.rangeIn(part)
}

// lastChunk writes the right edge inside the last group.
func (e *encoder) lastChunk(part span) error {
	data := e.buf[:part.size()]
	if err := readAt(e.data, data, part.start); err != nil {
		return err
	}
	for len(data) > chunkSize {
		mid := leftSize(int64(len(data)))
		r := newRecord(
			finish(hash(data[:mid], part.start), false),
			finish(hash(data[mid:], part.start+mid), false))
		if _, err := e.w.Write(r[:]); err != nil {
			return err
		}
		data, part.start = data[mid:], part.start+mid
	}
	_, err := e.w.Write(data)
	return err
}

func (e *encoder) rangeIn(part span) error {
	if !e.wants(part) {
		return nil
	}
	if part.size() <= GroupSize {
		return e.group(part)
	}
	if err := e.record(part); err != nil {
		return err
	}
	mid := part.mid()
	if err := e.rangeIn(span{part.start, mid}); err != nil {
		return err
	}
	return e.rangeIn(span{mid, part.end})
}

func (e *encoder) record(part span) error {
	r, err := e.records.at(part.mid() / GroupSize)
	if err != nil {
		return err
	}
	_, err = e.w.Write(r[:])
	return err
}

func (e *encoder) group(part span) error {
	data := e.buf[:part.size()]
	if err := readAt(e.data, data, part.start); err != nil {
		return err
	}
	_, err := e.w.Write(data)
	return err
}
