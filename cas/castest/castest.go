// Package castest is the suite that every store passes, the remote ones over a
// loopback server: what package cas promises, as tests.
package castest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
)

// Run tests the stores that open returns, a fresh and empty one for each call.
func Run(t *testing.T, open func(t *testing.T) cas.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, cas.Store)
	}{
		{"PutGet", putGet},
		{"PutTwice", putTwice},
		{"AbsentObjectIsNotFound", absent},
		{"HasAnswersInOrder", hasInOrder},
		{"WrongBytesAreRefused", wrongBytes},
		{"BrokenReaderLeavesNothing", brokenReader},
		{"OtherAlgorithms", otherAlgorithms},
		{"CancelledContext", cancelled},
		{"Concurrent", concurrent},
		{"Sizes", sizes},
		{"Add", add},
		{"AddMany", addMany},
		{"RandomAccess", randomAccess},
		{"Batches", batches},
		{"BatchSurvivesBadObjects", badObjectsInBatch},
		{"BatchEndsWhenItsCallerWishes", batchEnds},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// lengths lie around every boundary that a store may care for: empty, small,
// BLAKE3 chunks, wire messages, the inline threshold, the range threshold.
var lengths = []int{0, 1, 1023, 1024, 1025, 4096, 65535, 65536, 65537, 1 << 18, 1<<20 + 1, 3<<20 + 17}

// Bytes returns n bytes that look random and depend on n and seed alone.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(n), byte(n >> 8), byte(n >> 16)})
	r.Read(b)
	return b
}

func put(t *testing.T, s cas.Store, data []byte) cas.Digest {
	t.Helper()
	d := cas.Sum(data)
	if err := s.Put(t.Context(), d, bytes.NewReader(data)); err != nil {
		t.Fatalf("Put of %d bytes: %v", len(data), err)
	}
	return d
}

func expect(t *testing.T, s cas.Getter, d cas.Digest, want []byte) {
	t.Helper()
	o, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatalf("Get of %d bytes: %v", len(want), err)
	}
	defer o.Close()
	if size := o.Size(); size != -1 && size != int64(len(want)) {
		t.Errorf("Size is %d, want %d", size, len(want))
	}
	got, err := io.ReadAll(o)
	if err != nil {
		t.Fatalf("read of %d bytes: %v", len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read of %d bytes returned %d other bytes", len(want), len(got))
	}
}

func expectAbsent(t *testing.T, s cas.Store, d cas.Digest) {
	t.Helper()
	present, err := s.Has(t.Context(), []cas.Digest{d})
	if err != nil {
		t.Fatalf("Has: %v", err)
	}
	if present[0] {
		t.Fatalf("Has says that %s is there", d)
	}
	_, err = cas.ReadAll(t.Context(), s, d, 1<<30)
	if !errors.Is(err, cas.ErrNotFound) {
		t.Fatalf("Get returned %v, want ErrNotFound", err)
	}
}

func putGet(t *testing.T, s cas.Store) {
	for _, n := range lengths {
		data := Bytes(n, 1)
		expect(t, s, put(t, s, data), data)
	}
}

func putTwice(t *testing.T, s cas.Store) {
	for _, n := range lengths {
		data := Bytes(n, 2)
		put(t, s, data)
		expect(t, s, put(t, s, data), data)
	}
}

func absent(t *testing.T, s cas.Store) {
	expectAbsent(t, s, cas.Sum([]byte("never stored")))
}

func hasInOrder(t *testing.T, s cas.Store) {
	var ds []cas.Digest
	for i := range 3000 {
		data := fmt.Appendf(nil, "object %d", i)
		ds = append(ds, cas.Sum(data))
		if i%100 == 0 {
			put(t, s, data)
		}
	}
	present, err := s.Has(t.Context(), ds)
	if err != nil || len(present) != len(ds) {
		t.Fatalf("Has of %d digests: %d answers, %v", len(ds), len(present), err)
	}
	for i, p := range present {
		if p != (i%100 == 0) {
			t.Errorf("answer %d is %v", i, p)
		}
	}
	if none, err := s.Has(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("Has of nothing: %v, %v", none, err)
	}
}

func wrongBytes(t *testing.T, s cas.Store) {
	for _, n := range lengths {
		data := Bytes(n, 3)
		d := cas.Sum(append(bytes.Clone(data), 'x'))
		err := s.Put(t.Context(), d, bytes.NewReader(data))
		var mismatch *cas.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Want != d {
			t.Errorf("Put of %d wrong bytes returned %v, want a MismatchError", n, err)
		}
		expectAbsent(t, s, d)
	}
}

func brokenReader(t *testing.T, s cas.Store) {
	broken := errors.New("source broke")
	for _, n := range lengths {
		data := Bytes(n, 4)
		d := cas.Sum(data)
		r := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))
		if err := s.Put(t.Context(), d, r); !errors.Is(err, broken) {
			t.Errorf("Put returned %v, want the reader's error", err)
		}
		expectAbsent(t, s, d)
	}
}

func otherAlgorithms(t *testing.T, s cas.Store) {
	for _, text := range []string{
		"sha1:a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	} {
		d := cas.MustParseDigest(text)
		if err := s.Put(t.Context(), d, bytes.NewReader([]byte("test"))); err != nil {
			t.Fatalf("Put %s: %v", d, err)
		}
		expect(t, s, d, []byte("test"))
		expectAbsent(t, s, cas.Sum([]byte("test")))
	}
}

func cancelled(t *testing.T, s cas.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := Bytes(3<<20, 5)
	d := cas.Sum(data)
	if err := s.Put(ctx, d, bytes.NewReader(data)); err == nil {
		expect(t, s, d, data) // quick enough is fine; half is not
		return
	}
	expectAbsent(t, s, d)
}

func concurrent(t *testing.T, s cas.Store) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 {
				n := lengths[(worker+i)%len(lengths)]
				data := Bytes(n, uint64(i%5))
				d := cas.Sum(data)
				if err := s.Put(t.Context(), d, bytes.NewReader(data)); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				got, err := cas.ReadAll(t.Context(), s, d, 1<<30)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("Get of %d bytes: %d bytes, %v", n, len(got), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func sizes(t *testing.T, s cas.Store) {
	ds := []cas.Digest{cas.Sum([]byte("never stored"))}
	for _, n := range lengths {
		ds = append(ds, put(t, s, Bytes(n, 6)))
	}
	got, err := cas.SizesOf(t.Context(), s, ds)
	if err != nil || len(got) != len(ds) {
		t.Fatalf("Sizes: %v, %v", got, err)
	}
	_, knows := s.(cas.Sizer)
	for i, size := range got {
		if i > 0 && knows && size != int64(lengths[i-1]) || (i == 0 || !knows) && size != -1 {
			t.Errorf("size %d is %d", i, size)
		}
	}
}

func add(t *testing.T, s cas.Store) {
	adder, ok := s.(cas.Adder)
	if !ok {
		return // a rarer power, which this store does not claim
	}
	for _, n := range lengths {
		data := Bytes(n, 7)
		d, size, err := adder.Add(t.Context(), bytes.NewReader(data))
		if err != nil || d != cas.Sum(data) || size != int64(n) {
			t.Fatalf("Add of %d bytes: %s, %d, %v", n, d, size, err)
		}
		expect(t, s, d, data)
	}
	broken := errors.New("source broke")
	data := Bytes(100_000, 8)
	if _, _, err := adder.Add(t.Context(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("Add returned %v, want the reader's error", err)
	}
	expectAbsent(t, s, cas.Sum(data))
}

func randomAccess(t *testing.T, s cas.Store) {
	for _, n := range lengths {
		data := Bytes(n, 9)
		o, err := s.Get(t.Context(), put(t, s, data))
		if err != nil {
			t.Fatal(err)
		}
		r, ok := o.(cas.RandomObject)
		if !ok {
			o.Close()
			return // streams only
		}
		for _, off := range []int{0, n / 3, n - 1, n} {
			buf := make([]byte, 1000)
			want := data[max(off, 0):]
			got, err := r.ReadAt(buf, int64(max(off, 0)))
			if !bytes.Equal(buf[:got], want[:min(len(want), len(buf))]) {
				t.Errorf("ReadAt(%d) of %d bytes returned %d wrong bytes", off, n, got)
			}
			if err != nil && err != io.EOF || err == nil && got < len(buf) {
				t.Errorf("ReadAt(%d) of %d bytes: %d, %v", off, n, got, err)
			}
		}
		o.Close()
	}
}
