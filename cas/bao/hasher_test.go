package bao_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	reference "lukechampine.com/blake3/bao"
)

func TestOutboardIsThatOfTheBaoSpecificationInAnotherOrder(t *testing.T) {
	for _, size := range append(sizes, 16<<20) {
		o := newObject(t, size)
		want, root := reference.EncodeBuf(o.data, 6, true)
		wantDigest, _ := cas.DigestFromBytes(append([]byte{byte(cas.BLAKE3)}, root[:]...))
		if o.digest != wantDigest || o.digest != cas.Sum(o.data) {
			t.Errorf("size %d: digest %s, want %s", size, o.digest, wantDigest)
		}
		if int64(len(o.outboard)) != bao.OutboardSize(o.size()) {
			t.Errorf("size %d: outboard has %d bytes, OutboardSize says %d", size, len(o.outboard), bao.OutboardSize(o.size()))
		}
		got := append(header(o.size()), preorder(o.outboard, 0, (o.size()+group-1)/group)...)
		if !bytes.Equal(got, want) {
			t.Errorf("size %d: the outboard differs", size)
		}
	}
}

func TestHasherDoesNotCareHowItIsFed(t *testing.T) {
	for _, size := range sizes {
		want := newObject(t, size)
		for _, step := range []int{1000, 1024, group - 1, group, group + 1, 4 * group, 1<<20 + 5, 16 << 20} {
			var outboard bao.Buffer
			h := bao.NewHasher(&outboard)
			for rest := want.data; len(rest) > 0; {
				n, err := h.Write(rest[:min(step, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			d, n, err := h.Finish()
			if err != nil || d != want.digest || n != want.size() || !bytes.Equal(outboard, want.outboard) {
				t.Fatalf("size %d in steps of %d: %s of %d bytes, %v", size, step, d, n, err)
			}
		}
	}
}

// Beyond 64 MiB the Hasher writes the outboard in blocks.
func TestOutboardOfSeveralBlocks(t *testing.T) {
	const size = 2*(64<<20) + 3*group + 5
	var hashed, read bao.Buffer
	h := bao.NewHasher(&hashed)
	if _, err := io.Copy(h, io.NewSectionReader(pattern{}, 0, size)); err != nil {
		t.Fatal(err)
	}
	d, n, err := h.Finish()
	if err != nil || n != size {
		t.Fatal(n, err)
	}
	atOnce, err := bao.HashAt(t.Context(), pattern{}, size, &read)
	if err != nil || atOnce != d || !bytes.Equal(hashed, read) {
		t.Fatalf("HashAt: %s, %v; Hasher: %s", atOnce, err, d)
	}
	var want bao.Buffer = make([]byte, reference.EncodedSize(size, 6, true))
	if _, err := reference.Encode(&want, io.NewSectionReader(pattern{}, 0, size), size, 6, true); err != nil {
		t.Fatal(err)
	}
	if got := append(header(size), preorder(hashed, 0, size/group+1)...); !bytes.Equal(got, want) {
		t.Fatal("the outboard differs")
	}
}

type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestHasherMemoryDoesNotFollowTheObject(t *testing.T) {
	piece := make([]byte, 1<<20)
	h := bao.NewHasher(nowhere{})
	before := liveHeap()
	for range 256 {
		h.Write(piece)
	}
	if grown := liveHeap() - before; grown > 200<<10 {
		t.Errorf("%d bytes are held for 256 MiB", grown)
	}
	if _, n, err := h.Finish(); n != 256<<20 || err != nil {
		t.Fatal(n, err)
	}
}

func liveHeap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give up what they hold after two
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

type fullDisk struct{}

var errFull = errors.New("disk full")

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, errFull }

func TestOutboardThatCannotBeWrittenIsAnError(t *testing.T) {
	h := bao.NewHasher(fullDisk{})
	h.Write(make([]byte, 3*group))
	if _, _, err := h.Finish(); err != errFull {
		t.Errorf("Finish: %v", err)
	}
	h = bao.NewHasher(fullDisk{})
	if _, err := io.Copy(h, io.NewSectionReader(pattern{}, 0, 80<<20)); err != errFull {
		t.Errorf("Write: %v", err)
	}
	if _, err := bao.HashAt(t.Context(), pattern{}, 80<<20, fullDisk{}); err != errFull {
		t.Errorf("HashAt: %v", err)
	}
}

func TestHashAtEndsWithItsContextAndWithItsFile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var outboard bao.Buffer
	if _, err := bao.HashAt(ctx, pattern{}, 1<<50, &outboard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, size := range []int64{1, group, 100 * group} {
		short := bytes.NewReader(make([]byte, size-1))
		if _, err := bao.HashAt(t.Context(), short, size, &outboard); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a file that has shrunk from %d bytes: %v", size, err)
		}
	}
}

// pattern is an endless object, made where it is read.
type pattern struct{}

func (pattern) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at := (off + 4095) &^ 4095; at < off+int64(len(p)); at += 4096 {
		p[at-off] = byte(at>>12) ^ byte(at>>20)
	}
	return len(p), nil
}
