package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fstree/fstree/cas"
)

const (
	// objectsWeight bounds what open objects may cost together, in bytes of
	// memory. Every one weighs at least objectWeight, for its descriptor; what
	// had to be put into a temporary file weighs a part of its length.
	objectsWeight = 64 << 20
	objectWeight  = 512 << 10
	spooledShare  = 64

	// inMemory is the largest stream that is kept in memory rather than in a
	// temporary file.
	inMemory = 4 << 20

	// slowest is the rate in bytes per second below which a fetch counts as
	// hanging, once the timeout is over.
	slowest = 1 << 20

	disproofTime = time.Second
)

// object is an open file: verified bytes in any order.
type object struct {
	io.ReaderAt
	io.Closer
	size int64
}

// object opens d, of which size says how long it is believed to be.
func (fs *fileSystem) object(c caller, d cas.Digest, size int64) (*item[cas.Digest, object], error) {
	return fs.objects.take(d, c.wait, func() (object, int64, error) {
		ctx, cancel := fs.within(fs.timeout + time.Duration(max(size, 0)/slowest)*time.Second)
		defer cancel()
		return fs.openObject(ctx, d)
	})
}

func (fs *fileSystem) openObject(ctx context.Context, d cas.Digest) (object, int64, error) {
	o, err := fs.source.Get(ctx, d)
	if err != nil {
		return object{}, 0, named(d, err)
	}
	fs.stats.objects.Add(1)
	if r, ok := o.(cas.RandomObject); ok && o.Size() >= 0 {
		return object{r, o, o.Size()}, objectWeight, nil
	}
	defer o.Close()
	stream, weight, err := spool(o)
	return stream, weight, named(d, err)
}

// spool reads a stream to its end, where it turns out whether it was the right
// one, and makes it readable in any order.
func spool(o cas.Object) (object, int64, error) {
	head, err := io.ReadAll(io.LimitReader(o, inMemory+1))
	if err != nil {
		return object{}, 0, err
	}
	if len(head) <= inMemory {
		r := cas.NewObject(head)
		return object{r, r, r.Size()}, max(int64(len(head)), objectWeight), nil
	}
	f, err := temporary()
	if err != nil {
		return object{}, 0, err
	}
	n, err := f.Write(head)
	rest := int64(0)
	if err == nil {
		rest, err = io.Copy(f, o)
	}
	if err != nil {
		f.Close()
		return object{}, 0, fmt.Errorf("temporary copy: %w", err)
	}
	size := int64(n) + rest
	return object{f, f, size}, objectWeight + size/spooledShare, nil
}

// temporary returns a file without a name, which ends with its descriptor.
func temporary() (*os.File, error) {
	f, err := os.CreateTemp("", "fstree-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// readAt fills buf with the bytes of file id from off, or with what there is
// before its end.
func (fs *fileSystem) readAt(c caller, id uint32, buf []byte, off int64) (int, error) {
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
		fs.disprove(id, o.value.size)
		return 0, &sizeError{d, size, o.value.size}
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

// disprove has the kernel ask anew for the size of node id, after a while in
// which every read of it fails: whoever has seen the wrong size and reads now
// shall not take what he gets for the whole file.
//
// The kernel holds pages locked as long as a read is not answered, and the
// notice waits for those pages: so a reader must not wait for the notice.
func (fs *fileSystem) disprove(id uint32, size int64) {
	if _, known := fs.disproved.LoadOrStore(id, struct{}{}); known {
		return
	}
	fs.running.Go(func() {
		defer fs.disproved.Delete(id)
		select {
		case <-time.After(disproofTime):
			fs.kernel.InodeNotify(number(id), 0, 0)
			fs.table.correct(id, size)
		case <-fs.lifetime.Done():
		}
	})
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
