package cached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
)

const largeSize = 4<<20 + 12345

// large is a store over near and far, and an object that only far holds.
func large(t *testing.T) (near, far *faulty, s *Store, d cas.Digest, data []byte) {
	near, far = &faulty{}, &faulty{}
	data = castest.Bytes(largeSize, 20)
	return near, far, open(t, near, far), far.add(t, data), data
}

func openLazily(t *testing.T, s *Store, d cas.Digest, size int64) *Lazy {
	t.Helper()
	o, err := s.Open(t.Context(), d, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	l, ok := o.(*Lazy)
	if !ok {
		t.Fatalf("%T is not lazy", o)
	}
	return l
}

// expectAt reads n bytes at off, and wants those of data.
func expectAt(t *testing.T, r io.ReaderAt, data []byte, off, n int64) {
	t.Helper()
	got := make([]byte, n)
	m, err := r.ReadAt(got, off)
	want := data[min(off, int64(len(data))):min(off+n, int64(len(data)))]
	if !bytes.Equal(got[:m], want) || err != nil && (err != io.EOF || int64(m) == n) {
		t.Fatalf("%d bytes at %d: %d right %v, %v", n, off, m, bytes.Equal(got[:m], want), err)
	}
}

func TestSmallReadMovesItsRangeOnly(t *testing.T) {
	_, far, s, d, data := large(t)
	l := openLazily(t, s, d, largeSize)
	if far.slices.Load()+far.asked.Load() > 0 {
		t.Error("opening asked far")
	}
	for i, off := range []int64{2_500_000, 1_000_000, 4_000_000, largeSize - 10, 3_200_000} {
		expectAt(t, l, data, off, 4096)
		if n := far.slices.Load(); n > int64(i)+1 {
			t.Errorf("%d round trips for %d reads", n, i+1)
		}
	}
	if got := s.Stats(); got.Objects != 0 || got.Bytes > 6*(bao.GroupSize+4096) {
		t.Errorf("%d objects, %d bytes were fetched", got.Objects, got.Bytes)
	}
	expectAt(t, l, data, 2_500_000, 4096)
	if n := far.slices.Load(); n != 5 {
		t.Errorf("what was here was fetched again: %d slices", n)
	}
}

func TestSequentialReaderIsReadAheadOf(t *testing.T) {
	_, far, s, d, data := large(t)
	l := openLazily(t, s, d, largeSize)
	for off := int64(0); off < largeSize; off += 64 << 10 {
		expectAt(t, l, data, off, 64<<10)
		time.Sleep(time.Millisecond)
	}
	if n := far.slices.Load(); n > 12 {
		t.Errorf("%d slices were fetched", n)
	}
	if bytes := s.Stats().Bytes; bytes > largeSize+64<<10 {
		t.Errorf("%d bytes were fetched", bytes)
	}
	if o, err := s.near.Get(t.Context(), d); err != nil {
		t.Errorf("it is not whole: %v", err)
	} else {
		o.Close()
	}
}

func TestSequentialReaderIsReadAheadOfOnceThereIsRoom(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(16<<20, 22)
	s := open(t, &faulty{}, far)
	l := openLazily(t, s, far.add(t, data), int64(len(data)))
	for range aheadParallel {
		s.aheads <- struct{}{}
	}
	for off := int64(0); off < int64(len(data)); off += 128 << 10 {
		if off == 1<<20 {
			for range aheadParallel {
				<-s.aheads
			}
		}
		expectAt(t, l, data, off, 128<<10)
		time.Sleep(time.Millisecond)
	}
	if n := far.slices.Load(); n > 25 {
		t.Errorf("%d slices were fetched", n)
	}
}

func TestReadsInAnyOrderAreRight(t *testing.T) {
	near, far, s, d, data := large(t)
	var readers sync.WaitGroup
	for seed := range uint64(8) {
		l := openLazily(t, s, d, largeSize)
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			off := int64(0)
			for range 60 {
				if r.IntN(3) == 0 {
					off = r.Int64N(largeSize)
				}
				n := r.Int64N(300_000)
				got := make([]byte, n)
				m, err := l.ReadAt(got, off)
				if err != nil && err != io.EOF || !bytes.Equal(got[:m], data[min(off, largeSize):min(off+n, largeSize)]) {
					t.Errorf("%d bytes at %d: %d, %v", n, off, m, err)
				}
				off += n
			}
		})
	}
	readers.Wait()
	o, err := s.Open(t.Context(), d, largeSize)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if l, ok := o.(*Lazy); ok {
		if err := l.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if bytes := s.Stats().Bytes; bytes > largeSize*5/4 {
		t.Errorf("%d bytes were fetched", bytes)
	}
	if present, err := near.Has(t.Context(), []cas.Digest{d}); err != nil || !present[0] || far.asked.Load() > 0 {
		t.Errorf("whole: %v, %v; %d times fetched whole", present, err, far.asked.Load())
	}
}

func TestReadersOfOneRangeShareOneFetch(t *testing.T) {
	_, far, s, d, data := large(t)
	start := make(chan struct{})
	far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		<-start
		return far.Store.Slice(ctx, d, slice)
	}
	var readers sync.WaitGroup
	for range 64 {
		l := openLazily(t, s, d, largeSize)
		readers.Go(func() {
			got := make([]byte, 10_000)
			if _, err := l.ReadAt(got, 2<<20); err != nil || !bytes.Equal(got, data[2<<20:2<<20+10_000]) {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	close(start)
	readers.Wait()
	if n := far.slices.Load(); n != 1 {
		t.Errorf("%d slices were fetched", n)
	}
}

func TestInterruptedReaderLeavesTheRangeComing(t *testing.T) {
	_, far, s, d, data := large(t)
	start := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		cancel(errBroken)
		<-start
		return far.Store.Slice(ctx, d, slice)
	}
	l := openLazily(t, s, d, largeSize)
	if _, err := l.ReadAtContext(ctx, make([]byte, 100), 1<<20); !errors.Is(err, errBroken) {
		t.Errorf("an interrupted reader got %v", err)
	}
	close(start)
	expectAt(t, l, data, 1<<20, 100)
	if n := far.slices.Load(); n != 1 {
		t.Errorf("%d slices were fetched", n)
	}
}

func TestSilentFarEndsReadsInTime(t *testing.T) {
	_, far, s, d, data := large(t)
	s.Silence = 400 * time.Millisecond
	hanging := func(ctx context.Context, prefix io.Reader) io.ReadCloser {
		return io.NopCloser(io.MultiReader(prefix, readerFunc(func([]byte) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})))
	}
	for name, slice := range map[string]func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error){
		"before the answer": func(ctx context.Context, _ cas.Digest, _ bao.Slice) (io.ReadCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"at the beginning": func(ctx context.Context, _ cas.Digest, _ bao.Slice) (io.ReadCloser, error) {
			return hanging(ctx, bytes.NewReader(nil)), nil
		},
		"in the middle": func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
			r, err := far.Store.Slice(ctx, d, slice)
			return hanging(ctx, io.LimitReader(r, 40_000)), err
		},
	} {
		far.slice = slice
		l := openLazily(t, s, d, largeSize)
		begin := time.Now()
		if _, err := l.ReadAt(make([]byte, 100), 1<<20); !errors.Is(err, cas.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		far.slice = nil
		time.Sleep(2 * grudge)
		expectAt(t, l, data, 1<<20, 100)
		l.Close()
		far.Store.Remove(d)
		d = far.add(t, data)
		near := &faulty{}
		s.near = near
	}
}

func TestFarThatComesBackIsNotNoticed(t *testing.T) {
	_, far, s, d, data := large(t)
	l := openLazily(t, s, d, largeSize)
	expectAt(t, l, data, 0, 100)
	var away atomic.Int64
	far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		switch away.Add(1) {
		case 1: // breaks off
			r, err := far.Store.Slice(ctx, d, slice)
			broken := readerFunc(func([]byte) (int, error) { return 0, fmt.Errorf("cut: %w", cas.ErrUnavailable) })
			return io.NopCloser(io.MultiReader(io.LimitReader(r, 100_000), broken)), err
		case 2, 3:
			return nil, cas.ErrUnavailable
		}
		return far.Store.Slice(ctx, d, slice)
	}
	expectAt(t, l, data, 1<<20, 1<<20)
	if bytes := s.Stats().Bytes; bytes > 2<<20 {
		t.Errorf("%d bytes were fetched for one MiB", bytes)
	}
}

func TestFarThatStaysAwayFailsAtOnce(t *testing.T) {
	_, far, s, d, _ := large(t)
	far.slice = func(context.Context, cas.Digest, bao.Slice) (io.ReadCloser, error) { return nil, cas.ErrUnavailable }
	l := openLazily(t, s, d, largeSize)
	begin := time.Now()
	if _, err := l.ReadAt(make([]byte, 100), 0); !errors.Is(err, cas.ErrUnavailable) {
		t.Error(err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWrongSlicesAreNeitherServedNorKept(t *testing.T) {
	for name, spoil := range map[string]func(sent []byte) []byte{
		"wrong bytes": func(sent []byte) []byte { sent[len(sent)-10] ^= 1; return sent },
		"wrong proof": func(sent []byte) []byte { sent[10] ^= 1; return sent },
		"truncated":   func(sent []byte) []byte { return sent[:len(sent)/2] },
		"nothing":     func(sent []byte) []byte { return nil },
	} {
		_, far, s, d, data := large(t)
		far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
			r, err := far.Store.Slice(ctx, d, slice)
			if err != nil {
				return nil, err
			}
			sent, err := io.ReadAll(r)
			return io.NopCloser(bytes.NewReader(spoil(sent))), err
		}
		l := openLazily(t, s, d, largeSize)
		if n, err := l.ReadAt(make([]byte, 100), 2<<20); n > 0 || !errors.As(err, new(*cas.MismatchError)) {
			t.Errorf("%s: %d bytes, %v; want a MismatchError", name, n, err)
		}
		far.slice = nil
		time.Sleep(2 * grudge)
		expectAt(t, l, data, 2<<20, 100)
	}
}

// lying has every slice of a store end in a wrong byte.
func lying(far *faulty) func(context.Context, cas.Digest, bao.Slice) (io.ReadCloser, error) {
	return func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		r, err := far.Store.Slice(ctx, d, slice)
		if err != nil {
			return nil, err
		}
		sent, err := io.ReadAll(r)
		sent[len(sent)-1] ^= 1
		return io.NopCloser(bytes.NewReader(sent)), err
	}
}

func TestObjectWhosePartsAreWrongIsFetchedWhole(t *testing.T) {
	_, far, s, d, data := large(t)
	far.slice = lying(far)
	l := openLazily(t, s, d, largeSize)
	if n, err := l.ReadAt(make([]byte, 100), 2<<20); n > 0 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%d bytes, %v; want ErrUnsupported", n, err)
	}
	o, err := s.Open(t.Context(), d, largeSize)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if far.slices.Load() != 2 || far.asked.Load() != 1 {
		t.Errorf("%d slices, %d objects were asked for", far.slices.Load(), far.asked.Load())
	}
}

func TestObjectThatIsWrongIsFetchedWholeOnce(t *testing.T) {
	_, far, s, d, data := large(t)
	far.slice = lying(far)
	far.get = func(context.Context, cas.Digest) (cas.Object, error) { return cas.NewObject(data[1:]), nil }
	l := openLazily(t, s, d, largeSize)
	l.ReadAt(make([]byte, 100), 2<<20)
	l.Close()
	time.Sleep(2 * grudge)
	if _, err := s.Open(t.Context(), d, largeSize); !errors.As(err, new(*cas.MismatchError)) {
		t.Errorf("%v, want a MismatchError", err)
	}
	for range 3 {
		l := openLazily(t, s, d, largeSize)
		_, err := l.ReadAt(make([]byte, 100), 2<<20)
		if !errors.As(err, new(*cas.MismatchError)) || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, want a MismatchError", err)
		}
		l.Close()
	}
	if n := far.asked.Load(); n != 1 {
		t.Errorf("it was fetched whole %d times", n)
	}
	far.slice = nil
	time.Sleep(2 * grudge)
	expectAt(t, openLazily(t, s, d, largeSize), data, 2<<20, 100)
}

func TestWrongSizeIsAnErrorOfEveryRead(t *testing.T) {
	_, far, s, d, data := large(t)
	for _, size := range []int64{largeSize - 1, largeSize + 1, 2 * largeSize, lazySize} {
		l := openLazily(t, s, d, size)
		if n, err := l.ReadAt(make([]byte, 100), 0); n > 0 || !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("size %d: %d bytes, %v; want ErrNotFound", size, n, err)
		}
	}
	// A far store that plays along: it sends the groups of the real object.
	far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		slice.Size = largeSize
		return far.Store.Slice(ctx, d, slice)
	}
	for _, size := range []int64{largeSize - 1, largeSize + 1, 2 * largeSize, lazySize} {
		l := openLazily(t, s, d, size)
		time.Sleep(2 * grudge)
		if n, err := l.ReadAt(make([]byte, 100), 0); n > 0 || !errors.As(err, new(*cas.MismatchError)) {
			t.Errorf("size %d: %d bytes, %v; want a MismatchError", size, n, err)
		}
	}
	expectAt(t, openLazily(t, s, d, largeSize), data, 0, 100)
}

// unkeeping is a partial object whose store is full.
type unkeeping struct {
	bao.PartialObject
	full *atomic.Bool
}

func (u unkeeping) Add(ctx context.Context, s bao.Slice, r io.Reader) error {
	if !u.full.Load() {
		return u.PartialObject.Add(ctx, s, r)
	}
	io.CopyN(io.Discard, r, 1000)
	return &bao.KeepError{Err: errBroken}
}

func TestRangesThatNearCannotKeepAreServed(t *testing.T) {
	near, _, s, d, data := large(t)
	var full atomic.Bool
	near.part = func(p bao.PartialObject) bao.PartialObject { return unkeeping{p, &full} }
	l := openLazily(t, s, d, largeSize)
	expectAt(t, l, data, 3<<20, 70_000)
	full.Store(true)
	for off := int64(0); off < largeSize; off += 100_000 {
		expectAt(t, l, data, off, 100_000)
	}
	if bytes := s.Stats().Bytes; bytes > largeSize*3/2 {
		t.Errorf("%d bytes were fetched", bytes)
	}
	full.Store(false)
	s.unkept.until.Store(0)
	if err := l.Fetch(t.Context()); err != nil {
		t.Error(err)
	}
	expectAt(t, l, data, 0, largeSize)
}

func TestNothingIsFetchedToBeKeptByAFullNear(t *testing.T) {
	near, _, s, d, data := large(t)
	var full atomic.Bool
	full.Store(true)
	near.part = func(p bao.PartialObject) bao.PartialObject { return unkeeping{p, &full} }
	l := openLazily(t, s, d, largeSize)
	for range 3 {
		if err := l.Fetch(t.Context()); !errors.Is(err, errUnkept) {
			t.Errorf("%v, want errUnkept", err)
		}
	}
	if n := s.Stats().Bytes; n > 1<<20 {
		t.Errorf("%d bytes were fetched", n)
	}
	expectAt(t, l, data, 0, 100_000)
}

func TestMemoryForUnkeptRangesIsBounded(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(3*unkeptBytes, 21)
	d := far.add(t, data)
	s := open(t, &faulty{}, far)
	s.unkept.until.Store(1<<63 - 1)
	l := openLazily(t, s, d, int64(len(data)))
	for off := int64(0); off < int64(len(data)); off += piece {
		expectAt(t, l, data, off, piece)
	}
	l.object.mu.Lock()
	defer l.object.mu.Unlock()
	held := 0
	for _, f := range l.object.flights {
		held += len(f.data)
	}
	if held > unkeptBytes {
		t.Errorf("%d bytes are in memory", held)
	}
}

// unreadable is a partial object that says that everything is here, and has
// nothing.
type unreadable struct{ bao.PartialObject }

func (unreadable) Missing(int64, int64) []bao.Slice  { return nil }
func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestRangesThatNearCannotReadAreServed(t *testing.T) {
	near, _, s, d, data := large(t)
	near.part = func(p bao.PartialObject) bao.PartialObject { return unreadable{p} }
	expectAt(t, openLazily(t, s, d, largeSize), data, 3<<20, 70_000)
}

func TestFarThatProvesNothingIsFetchedWhole(t *testing.T) {
	_, far, s, d, data := large(t)
	far.slice = func(context.Context, cas.Digest, bao.Slice) (io.ReadCloser, error) {
		return nil, errors.ErrUnsupported
	}
	if _, err := openLazily(t, s, d, largeSize).ReadAt(make([]byte, 1), 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
	o, err := s.Open(t.Context(), d, largeSize)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if far.slices.Load() != 1 || far.asked.Load() != 1 {
		t.Errorf("%d slices, %d objects", far.slices.Load(), far.asked.Load())
	}
}

func TestWhatCannotBeProvedIsFetchedWhole(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	small := castest.Bytes(lazySize-1, 22)
	s := open(t, near, far)
	d := far.add(t, small)
	o, err := s.Open(t.Context(), d, int64(len(small)))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, ok := o.(*Lazy); ok || far.slices.Load() > 0 {
		t.Errorf("%T", o)
	}
}

func TestCloseEndsReads(t *testing.T) {
	_, far, s, d, _ := large(t)
	far.slice = func(ctx context.Context, _ cas.Digest, _ bao.Slice) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	l := openLazily(t, s, d, largeSize)
	failed := make(chan error)
	go func() {
		_, err := l.ReadAt(make([]byte, 1), 0)
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	s.Close()
	if err := <-failed; !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("the waiter got %v", err)
	}
	if _, err := l.ReadAt(make([]byte, 1), 1<<20); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestBrokenFetchIsResumed(t *testing.T) {
	_, far, s, d, data := large(t)
	var sent atomic.Int64
	far.slice = func(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
		r, err := far.Store.Slice(ctx, d, slice)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(readerFunc(func(p []byte) (int, error) {
			if sent.Load() > largeSize/2 {
				return 0, errBroken
			}
			n, err := r.Read(p)
			sent.Add(int64(n))
			return n, err
		})), nil
	}
	l := openLazily(t, s, d, largeSize)
	if err := l.Fetch(t.Context()); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	l.Close()
	far.slice = nil
	time.Sleep(2 * grudge)
	l = openLazily(t, s, d, largeSize)
	if err := l.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectAt(t, l, data, 0, largeSize)
	if bytes := s.Stats().Bytes; bytes > largeSize*5/4 {
		t.Errorf("%d bytes were fetched", bytes)
	}
}

func TestClosedLazyObjectsAreForgotten(t *testing.T) {
	_, _, s, d, data := large(t)
	for range 3 {
		l := openLazily(t, s, d, largeSize)
		expectAt(t, l, data, 1<<20, 100)
		l.Close()
		l.Close()
	}
	s.Close()
	if n := len(s.lazies); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

// fragile is an object that can be broken.
type fragile struct {
	cas.RandomObject
	broken *atomic.Bool
}

func (f fragile) ReadAt(p []byte, off int64) (int, error) {
	if f.broken.Load() {
		return 0, errBroken
	}
	return f.RandomObject.ReadAt(p, off)
}

func TestWholeObjectThatIsLostIsFetchedAgain(t *testing.T) {
	near, far, s, d, data := large(t)
	var broken atomic.Bool
	near.get = func(ctx context.Context, d cas.Digest) (cas.Object, error) {
		o, err := near.Store.Get(ctx, d)
		if err != nil || broken.Load() {
			return nil, &cas.NotFoundError{Digest: d}
		}
		return fragile{o.(cas.RandomObject), &broken}, nil
	}
	l := openLazily(t, s, d, largeSize)
	if err := l.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectAt(t, l, data, 1<<20, 100)
	near.Remove(d)
	broken.Store(true)
	slices := far.slices.Load()
	expectAt(t, l, data, 1<<20, 100)
	expectAt(t, l, data, 1<<20, 100)
	if n := far.slices.Load(); n != slices+1 {
		t.Errorf("%d slices were fetched for one", n-slices)
	}
}
