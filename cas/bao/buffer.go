package bao

import "io"

// Buffer is an outboard in memory, for objects whose size is known to be
// harmless. The zero Buffer is empty; it grows as it is written. It may be read
// by many at once, but by nobody while it is written.
type Buffer []byte

// WriteAt puts p at byte off, and zeros where nothing was written before it.
func (b *Buffer) WriteAt(p []byte, off int64) (int, error) {
	if grow := off + int64(len(p)) - int64(len(*b)); grow > 0 {
		*b = append(*b, make([]byte, grow)...)
	}
	return copy((*b)[off:], p), nil
}

// ReadAt reads as io.ReaderAt says.
func (b Buffer) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(b)) {
		n = copy(p, b[off:])
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}
