package bao

import (
	"fmt"
	"io"
	"sync"
)

const pageSize = 4096

// A buffer is what walking through an object takes.
type buffer struct {
	group [GroupSize]byte
	page  [pageSize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// records reads an outboard by pages: below a parent of 4 MiB, all records are
// on one page.
type records struct {
	r    io.ReaderAt
	buf  *[pageSize]byte
	off  int64 // where buf begins
	size int   // how much of buf there is
}

func (b *buffer) records(outboard io.ReaderAt) records {
	return records{r: outboard, buf: &b.page}
}

// at returns the record of the parent that divides the object before group i.
// Outboards that are not yet whole need to reach no farther than that.
func (rs *records) at(i int64) (*record, error) {
	off := recordOffset(i)
	if err := rs.load(off - off%pageSize); err != nil {
		return nil, err
	}
	in := int(off - rs.off)
	if in+recordSize > rs.size {
		return nil, fmt.Errorf("%w: it ends before byte %d", ErrOutboard, off+recordSize)
	}
	return (*record)(rs.buf[in:]), nil
}

func (rs *records) load(page int64) error {
	if rs.size > 0 && rs.off == page {
		return nil
	}
	n, err := rs.r.ReadAt(rs.buf[:], page)
	rs.off, rs.size = page, n
	if err != nil && err != io.EOF {
		return fmt.Errorf("outboard: %w", err)
	}
	return nil
}
