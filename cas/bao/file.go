package bao

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/fstree/fstree/cas"
	"lukechampine.com/blake3/guts"
)

const pieceGroups = 4

var pieces = sync.Pool{New: func() any { return new([pieceGroups * GroupSize]byte) }}

// HashAt returns the digest of the size bytes of r, and writes the outboard to
// out as a Hasher does. It reads and hashes on all cores at once, and holds
// 256 KiB for each of them. When ctx is done it ends with the context's error.
func HashAt(ctx context.Context, r io.ReaderAt, size int64, out io.WriterAt) (cas.Digest, error) {
	h := NewHasher(out)
	var tops [blockGroups]guts.Node
	for whole := size / GroupSize; whole > 0; {
		n := min(whole, blockGroups)
		if err := hashGroups(ctx, r, h.size, tops[:n]); err != nil {
			return cas.Digest{}, err
		}
		for _, top := range tops[:n] {
			h.add(top, GroupSize)
		}
		if h.err != nil {
			return cas.Digest{}, h.err
		}
		whole -= n
	}
	h.buf = make([]byte, size%GroupSize)
	if err := readAt(r, h.buf, h.size); err != nil {
		return cas.Digest{}, err
	}
	d, _, err := h.Finish()
	return d, err
}

// hashGroups hashes the groups of r from start on.
func hashGroups(ctx context.Context, r io.ReaderAt, start int64, tops []guts.Node) error {
	return inParallel((len(tops)+pieceGroups-1)/pieceGroups, blockGroups, func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf := pieces.Get().(*[pieceGroups * GroupSize]byte)
		defer pieces.Put(buf)
		first := i * pieceGroups
		tops := tops[first:min(first+pieceGroups, len(tops))]
		start := start + int64(first)*GroupSize
		if err := readAt(r, buf[:len(tops)*GroupSize], start); err != nil {
			return err
		}
		for g := range tops {
			tops[g] = hash(buf[g*GroupSize:][:GroupSize], start+int64(g)*GroupSize)
		}
		return nil
	})
}

// readAt fills p. An end before that is io.ErrUnexpectedEOF.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("bytes %d to %d: %w", off, off+int64(len(p)), err)
}

// inParallel calls f with 0 to n-1, on at most so many cores, and returns when
// all calls have. After an error it begins no others, and returns it.
func inParallel(n, cores int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	work := func() {
		for failed.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if err := f(i); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
	}
	var wg sync.WaitGroup
	for range min(n, cores, runtime.GOMAXPROCS(0)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
