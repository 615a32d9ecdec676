package mount

import (
	"context"
	"errors"

	"github.com/fstree/fstree/cas"
)

// opener is a source that opens large files without having fetched them: as a
// lazyObject, or as Get does where it can't.
type opener interface {
	Open(ctx context.Context, d cas.Digest, size int64) (cas.Object, error)
}

// lazyObject is fetched as it is read. Its size is a claim: where that is wrong,
// or the object is not there at all, every read fails as cas.IsAbsent tells.
// errors.ErrUnsupported is the error of one that has to be opened anew.
type lazyObject interface {
	cas.RandomObject
	// ReadAtContext is ReadAt for a reader who may leave.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// Fetch fetches what is missing of the object.
	Fetch(ctx context.Context) error
}

func (fs *fileSystem) open(ctx context.Context, d cas.Digest, size int64) (cas.Object, error) {
	if source, ok := fs.source.(opener); ok && size >= 0 {
		return source.Open(ctx, d, size)
	}
	return fs.source.Get(ctx, d)
}

// readLazily reads from what may have to be fetched for that.
func (fs *fileSystem) readLazily(c caller, id uint32, o *item[cas.Digest, object], buf []byte, off int64) (n int, err error) {
	ctx, cancel := fs.within(fs.patience(o.value.size))
	defer cancel()
	err = c.during(ctx, func(ctx context.Context) (err error) {
		n, err = o.value.lazy.ReadAtContext(ctx, buf, off)
		return err
	})
	switch {
	case n == len(buf):
		return n, nil
	case errors.Is(err, errors.ErrUnsupported):
		fs.objects.discard(o)
		return 0, &readError{o.key, err}
	case cas.IsAbsent(err):
		fs.doubt(id, o)
	}
	return 0, named(o.key, err)
}

// doubted is the key of a node in fileSystem.disproved while its size is asked
// for again.
type doubted uint32

// doubt asks once more for the size of file id, which could not be read as o:
// it is the size that may be wrong.
func (fs *fileSystem) doubt(id uint32, o *item[cas.Digest, object]) {
	fs.objects.discard(o)
	if _, known := fs.disproved.LoadOrStore(doubted(id), struct{}{}); known {
		return
	}
	fs.running.Go(func() {
		defer fs.disproved.Delete(doubted(id))
		ctx, cancel := fs.within(fs.opt.Timeout)
		defer cancel()
		sizes, err := cas.SizesOf(ctx, fs.source, []cas.Digest{o.key})
		if err == nil && len(sizes) == 1 && isBelievable(sizes[0]) && sizes[0] != o.value.size {
			fs.disprove(id, &sizeError{o.key, o.value.size, sizes[0]})
		}
	})
}
