package mount

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
)

func (fs *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	id, n, status := fs.node(&in.InHeader)
	if !status.Ok() || !n.isFile() {
		return nil, or(status, fuse.EISDIR)
	}
	if in.Offset == 0 {
		fs.sweep(id)
	}
	got, err := fs.readAt(fs.caller(cancel, &in.InHeader), id, buf, int64(in.Offset))
	if err != nil {
		return nil, fs.fail("read", id, err)
	}
	fs.stats.reads.Add(1)
	fs.stats.bytes.Add(int64(got))
	return fuse.ReadResultData(buf[:got]), fuse.OK
}

// readAt fills buf with the bytes of file id from off, or with what there is
// before its end.
func (fs *fileSystem) readAt(c caller, id uint32, buf []byte, off int64) (int, error) {
	if err, known := fs.disproved.Load(id); known {
		return 0, err.(*sizeError)
	}
	n, err := fs.sized(c, id)
	if err != nil || off >= n.size {
		return 0, err
	}
	e, err := fs.entry(c, id)
	if err != nil {
		return 0, err
	}
	buf = buf[:min(int64(len(buf)), n.size-off)]
	got, err := fs.readObject(c, id, n.size, e.Digest, buf, off)
	if errors.As(err, new(*readError)) {
		// It could be opened but not read: it was damaged or lost under our
		// hands, and the source may have it anew.
		got, err = fs.readObject(c, id, n.size, e.Digest, buf, off)
	}
	return got, err
}

func (fs *fileSystem) readObject(c caller, id uint32, size int64, d cas.Digest, buf []byte, off int64) (int, error) {
	o, err := fs.object(c, d, size)
	if err != nil {
		return 0, err
	}
	defer fs.objects.release(o)
	if o.value.size != size {
		return 0, fs.disprove(id, &sizeError{d, size, o.value.size})
	}
	if o.value.lazy != nil {
		return fs.readLazily(c, id, o, buf, off)
	}
	n, err := o.value.ReadAt(buf, off)
	if n < len(buf) {
		fs.objects.discard(o)
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return 0, &readError{d, err}
	}
	return n, nil
}

// disproofTime is how long reads of a file fail whose size was wrong.
const disproofTime = time.Second

// disprove has the kernel ask anew for the size of node id, after a while in
// which every read of it fails with err: whoever has seen the wrong size and
// reads now shall not take what he gets for the whole file.
//
// The kernel holds pages locked as long as a read is not answered, and the
// notice waits for those pages: so a reader must not wait for the notice.
func (fs *fileSystem) disprove(id uint32, err *sizeError) error {
	if _, known := fs.disproved.LoadOrStore(id, err); known {
		return err
	}
	fs.running.Go(func() {
		defer fs.disproved.Delete(id)
		select {
		case <-time.After(disproofTime):
			fs.table.correct(id, err.was)
			fs.kernel.InodeNotify(fs.number(id), 0, 0)
		case <-fs.lifetime.Done():
		}
	})
	return err
}

// sizeError reports a size that the content has disproved.
type sizeError struct {
	digest       cas.Digest
	claimed, was int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("object %s has %d bytes, not the %d that were claimed", e.digest, e.was, e.claimed)
}

// readError reports an open object that could not be read.
type readError struct {
	digest cas.Digest
	err    error
}

func (e *readError) Error() string { return fmt.Sprintf("object %s: %v", e.digest, e.err) }
func (e *readError) Unwrap() error { return e.err }
