package mount

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
)

// pattern is a huge file that need not exist: so many bytes that follow from
// their place. Most are zero, as in a sparse file.
type pattern int64

const (
	patternBlock = 4096
	patternMark  = 48 // bytes that are not zero at the beginning of a block
)

// ReadAt fills all of p, as io.ReaderAt says.
func (size pattern) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(int64(size)-off, 0)))
	clear(p[:n])
	for start := off - off%patternBlock; start < off+int64(n); start += patternBlock {
		mark := patternMarkAt(start)
		from := max(off-start, 0)
		if from < patternMark {
			copy(p[max(start-off, 0):n], mark[from:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// patternMarkAt is what the block at start begins with: nothing in one of four.
func patternMarkAt(start int64) (mark [patternMark]byte) {
	r := rand.New(rand.NewPCG(uint64(start), 11))
	if r.IntN(4) == 0 {
		return mark
	}
	for i := 0; i < patternMark; i += 8 {
		binary.LittleEndian.PutUint64(mark[i:], r.Uint64())
	}
	return mark
}

// patternStore is a far store with a pattern in a tree. It sends the file in
// parts only: there is no other way to have it in time.
type patternStore struct {
	memory.Store
	size     pattern
	digest   cas.Digest
	outboard outboardFile
}

// outboardFile is an outboard in memory.
type outboardFile []byte

func (o outboardFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(o).ReadAt(p, off)
}

func (o outboardFile) WriteAt(p []byte, off int64) (int, error) { return copy(o[off:], p), nil }

// newPatternStore returns the store, and the root of a tree with the file
// "pattern".
func newPatternStore(size int64) (s *patternStore, root cas.Digest, err error) {
	s = &patternStore{size: pattern(size), outboard: make(outboardFile, bao.OutboardSize(size))}
	s.digest, err = bao.HashAt(context.Background(), s.size, size, s.outboard)
	if err != nil {
		return nil, root, err
	}
	t, err := tree.New([]tree.Entry{{Name: "pattern", Type: tree.File, Perm: 0o644, Digest: s.digest}})
	if err != nil {
		return nil, root, err
	}
	root, _, err = s.Add(context.Background(), bytes.NewReader(t.Encode()))
	return s, root, err
}

func (s *patternStore) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if d == s.digest {
		return nil, errors.New("nobody shall have the whole pattern")
	}
	return s.Store.Get(ctx, d)
}

func (s *patternStore) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	sizes, err := s.Store.Sizes(ctx, ds)
	for i, d := range ds {
		if d == s.digest {
			sizes[i] = int64(s.size)
		}
	}
	return sizes, err
}

func (s *patternStore) Slice(_ context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	if d != s.digest || slice.Size != int64(s.size) {
		return nil, &cas.NotFoundError{Digest: d}
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(bao.WriteSlice(w, s.size, s.outboard, slice)) }()
	return r, nil
}

const (
	patternSize    = 1 << 30
	patternReaders = 8
	patternReads   = 10_000 // of all readers
)

func TestHugeFileIsRightWhereverItIsRead(t *testing.T) {
	m := mountChild(t, childOptions{Pattern: patternSize, Cached: true, Disk: t.TempDir()})
	var readers [patternReaders]func() error
	for i := range readers {
		reader := role(t, "pattern", "FILE="+m.path("pattern"), fmt.Sprint("SEED=", i))
		var stderr bytes.Buffer
		reader.Stderr = &stderr
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		readers[i] = func() error {
			if err := reader.Wait(); err != nil {
				return fmt.Errorf("%w: %s", err, &stderr)
			}
			return nil
		}
	}
	for i, wait := range readers {
		if err := wait(); err != nil {
			t.Errorf("reader %d: %v", i, err)
		}
	}
	// Each read is in a group, or in two, and not all groups are distinct.
	if n := m.report().Fetched; n > patternReads*2*bao.GroupSize*5/4 {
		t.Errorf("%d MiB were fetched", n>>20)
	}
}

// readPattern reads here and there in a pattern and compares.
func readPattern(path, seed string) error {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := rand.New(rand.NewPCG(n, 12))
	got, want := make([]byte, 8<<10), make([]byte, 8<<10)
	for range patternReads / patternReaders {
		off, n := r.Int64N(patternSize), r.IntN(len(got))
		m, err := f.ReadAt(got[:n], off)
		if err != nil && err != io.EOF {
			return err
		}
		wanted, _ := pattern(patternSize).ReadAt(want[:n], off)
		if m != wanted || !bytes.Equal(got[:m], want[:wanted]) {
			return fmt.Errorf("%d bytes at %d are %d, or wrong", n, off, m)
		}
	}
	return nil
}
