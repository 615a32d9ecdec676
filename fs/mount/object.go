package mount

import (
	"context"
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
	// hanging once the timeout is over, and longest bounds what it explains.
	slowest = 1 << 20
	longest = 24 * time.Hour
)

// object is an open file: verified bytes in any order.
type object struct {
	io.ReaderAt
	io.Closer
	size int64
	lazy lazyObject // nil if reading fetches nothing
}

// object opens d, of which size says how long it is believed to be.
func (fs *fileSystem) object(c caller, d cas.Digest, size int64) (*item[cas.Digest, object], error) {
	return fs.objects.take(d, c.wait, func() (object, int64, error) {
		ctx, cancel := fs.within(fs.patience(size))
		defer cancel()
		return fs.openObject(ctx, d, size)
	})
}

// patience bounds what may have to fetch a file of this size.
func (fs *fileSystem) patience(size int64) time.Duration {
	seconds := min(max(size, 0)/slowest, int64(longest/time.Second))
	return fs.opt.Timeout + time.Duration(seconds)*time.Second
}

func (fs *fileSystem) openObject(ctx context.Context, d cas.Digest, size int64) (object, int64, error) {
	o, err := fs.open(ctx, d, size)
	if err != nil {
		return object{}, 0, named(d, err)
	}
	fs.stats.objects.Add(1)
	if r, ok := o.(cas.RandomObject); ok && o.Size() >= 0 {
		lazy, _ := o.(lazyObject)
		return object{r, o, o.Size(), lazy}, objectWeight, nil
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
		return object{r, r, r.Size(), nil}, max(int64(len(head)), objectWeight), nil
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
		return object{}, 0, err
	}
	size := int64(n) + rest
	return object{f, f, size, nil}, objectWeight + size/spooledShare, nil
}

// temporary returns a file without a name, which ends with its descriptor.
func temporary() (*os.File, error) {
	f, err := os.CreateTemp("", "fstree-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
