package worktree

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
)

// pour writes the bytes of o into the new file fd, and returns how many. A
// file that the store holds as a file is shared or copied inside the system
// where the file systems can.
func pour(ctx context.Context, fd int, o cas.Object) (int64, error) {
	if b, ok := o.(interface{ Bytes() []byte }); ok {
		n, err := (&writeFD{ctx, fd}).Write(b.Bytes())
		return int64(n), err
	}
	if f, ok := o.(interface{ File() *os.File }); ok && f.File() != nil {
		n, err := pourFile(ctx, fd, int(f.File().Fd()), o.Size())
		if n > 0 || err == nil {
			return n, err
		}
	}
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(&writeFD{ctx, fd}, onlyReader{o}, buf[:])
}

// copyStep bounds one copy inside the system, so that a cancelled checkout
// ends soon.
const copyStep = 64 << 20

// pourFile copies size bytes of source. It fails without having copied
// anything where the file systems can't.
func pourFile(ctx context.Context, fd, source int, size int64) (int64, error) {
	if unix.IoctlFileClone(fd, source) == nil {
		return size, nil
	}
	var from, to int64
	for to < size {
		if ctx.Err() != nil {
			return to, context.Cause(ctx)
		}
		n, err := unix.CopyFileRange(source, &from, fd, &to, int(min(size-to, copyStep)), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return to, err
		}
		if n == 0 {
			return to, io.ErrUnexpectedEOF
		}
	}
	return to, nil
}

// The standard library's shortcuts are of no use to files that are not its
// own, and would bypass the buffer.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

// readFD reads an open file until its context is done.
type readFD struct {
	ctx context.Context
	fd  int
}

func (r *readFD) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// writeFD writes to an open file until its context is done.
type writeFD struct {
	ctx context.Context
	fd  int
}

func (w *writeFD) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if w.ctx.Err() != nil {
			return written, context.Cause(w.ctx)
		}
		n, err := unix.Write(w.fd, p[written:])
		if err != nil && err != unix.EINTR {
			return written, err
		}
		written += max(n, 0)
	}
	return written, nil
}
