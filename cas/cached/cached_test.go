package cached

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
)

// whole lets the suite put into far what it then gets through the cache.
type whole struct {
	*Store
	cas.Putter
}

func TestStore(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		far := &memory.Store{}
		return whole{open(t, &memory.Store{}, far), far}
	})
}

func open(t *testing.T, near cas.Store, far Far) *Store {
	s := New(near, far)
	t.Cleanup(func() { s.Close() })
	return s
}

// faulty is a store whose methods can be replaced.
type faulty struct {
	memory.Store
	get    func(ctx context.Context, d cas.Digest) (cas.Object, error)
	put    func(ctx context.Context, d cas.Digest, r io.Reader) error
	sizes  func(ctx context.Context, ds []cas.Digest) ([]int64, error)
	slice  func(ctx context.Context, d cas.Digest, s bao.Slice) (io.ReadCloser, error)
	part   func(p bao.PartialObject) bao.PartialObject
	slices atomic.Int64
	asked  atomic.Int64
	stored atomic.Int64
}

func (f *faulty) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	f.asked.Add(1)
	if f.get != nil {
		return f.get(ctx, d)
	}
	return f.Store.Get(ctx, d)
}

func (f *faulty) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if f.put != nil {
		return f.put(ctx, d, r)
	}
	f.stored.Add(1)
	return f.Store.Put(ctx, d, r)
}

func (f *faulty) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	if f.sizes != nil {
		return f.sizes(ctx, ds)
	}
	return f.Store.Sizes(ctx, ds)
}

func (f *faulty) Slice(ctx context.Context, d cas.Digest, s bao.Slice) (io.ReadCloser, error) {
	f.slices.Add(1)
	if f.slice != nil {
		return f.slice(ctx, d, s)
	}
	return f.Store.Slice(ctx, d, s)
}

func (f *faulty) OpenPartial(ctx context.Context, d cas.Digest, size int64) (bao.PartialObject, error) {
	p, err := f.Store.OpenPartial(ctx, d, size)
	if err == nil && f.part != nil {
		p = f.part(p)
	}
	return p, err
}

func (f *faulty) add(t *testing.T, data []byte) cas.Digest {
	t.Helper()
	d, _, err := f.Add(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func expect(t *testing.T, s *Store, d cas.Digest, want []byte) {
	t.Helper()
	if got, err := cas.ReadAll(t.Context(), s, d, 1<<30); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d bytes", len(got), err, len(want))
	}
}

var errBroken = errors.New("broken")

func TestEverybodyWaitsForOneFetch(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(1<<20, 1)
	d := far.add(t, data)
	start := make(chan struct{})
	far.get = func(ctx context.Context, d cas.Digest) (cas.Object, error) {
		<-start
		return far.Store.Get(ctx, d)
	}
	s := open(t, &memory.Store{}, far)
	var readers sync.WaitGroup
	for range 64 {
		readers.Go(func() { expect(t, s, d, data) })
	}
	time.Sleep(50 * time.Millisecond)
	close(start)
	readers.Wait()
	expect(t, s, d, data)
	if n := far.asked.Load(); n != 1 {
		t.Errorf("far was asked %d times", n)
	}
	if got := s.Stats(); got.Objects != 1 || got.Bytes != 1<<20 {
		t.Errorf("fetched %d objects, %d bytes", got.Objects, got.Bytes)
	}
}

func TestInterruptedReaderLeavesTheFetchRunning(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(1000, 2)
	d := far.add(t, data)
	start := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	far.get = func(ctx context.Context, d cas.Digest) (cas.Object, error) {
		cancel(errBroken)
		<-start
		return far.Store.Get(ctx, d)
	}
	s := open(t, &memory.Store{}, far)
	if _, err := s.Get(ctx, d); !errors.Is(err, errBroken) {
		t.Errorf("an interrupted reader got %v", err)
	}
	close(start)
	expect(t, s, d, data)
	if n := far.asked.Load(); n != 1 {
		t.Errorf("far was asked %d times", n)
	}
}

func TestFailedFetchIsTriedAgain(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(1000, 3)
	d := far.add(t, data)
	far.get = func(context.Context, cas.Digest) (cas.Object, error) { return nil, errBroken }
	s := open(t, &memory.Store{}, far)
	if _, err := s.Get(t.Context(), d); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	far.get = nil
	expect(t, s, d, data)
}

func TestSilentFarFailsInTime(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(1000, 4)
	d := far.add(t, data)
	for name, get := range map[string]func(context.Context, cas.Digest) (cas.Object, error){
		"before the first byte": func(ctx context.Context, _ cas.Digest) (cas.Object, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"in the middle": func(ctx context.Context, d cas.Digest) (cas.Object, error) {
			r := io.MultiReader(bytes.NewReader(data[:500]), readerFunc(func([]byte) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			}))
			return cas.Verify(d, io.NopCloser(r), -1), nil
		},
	} {
		far.get = get
		s := open(t, &memory.Store{}, far)
		s.Silence = 50 * time.Millisecond
		if _, err := s.Get(t.Context(), d); !errors.Is(err, cas.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSlowFarThatKeepsSendingIsGivenTime(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(20, 5)
	d := far.add(t, data)
	far.get = func(_ context.Context, d cas.Digest) (cas.Object, error) {
		rest := bytes.NewReader(data)
		slow := readerFunc(func(p []byte) (int, error) {
			time.Sleep(20 * time.Millisecond)
			return rest.Read(p[:1])
		})
		return cas.Verify(d, io.NopCloser(slow), -1), nil
	}
	s := open(t, &memory.Store{}, far)
	s.Silence = 200 * time.Millisecond
	expect(t, s, d, data)
}

func TestSlowNearIsNotTakenForASilentFar(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	data := castest.Bytes(1000, 6)
	d := far.add(t, data)
	near.put = func(ctx context.Context, d cas.Digest, r io.Reader) error {
		data, err := io.ReadAll(r)
		time.Sleep(200 * time.Millisecond)
		return errors.Join(err, ctx.Err(), near.Store.Put(ctx, d, bytes.NewReader(data)))
	}
	s := open(t, near, far)
	s.Silence = 50 * time.Millisecond
	expect(t, s, d, data)
	if objects := s.Stats().Objects; objects != 1 {
		t.Errorf("%d objects were kept", objects)
	}
}

func TestFullNearIsServedFromFar(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	data := castest.Bytes(100_000, 7)
	d := far.add(t, data)
	near.put = func(_ context.Context, _ cas.Digest, r io.Reader) error {
		io.CopyN(io.Discard, r, 1000)
		return errBroken
	}
	expect(t, open(t, near, far), d, data)
}

func TestBrokenNearIsServedFromFar(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	data := castest.Bytes(100_000, 8)
	d := far.add(t, data)
	near.get = func(context.Context, cas.Digest) (cas.Object, error) { return nil, errBroken }
	s := open(t, near, far)
	expect(t, s, d, data)
	far.Remove(d)
	_, err := s.Get(t.Context(), d)
	if !errors.Is(err, errBroken) || !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("%v, want both causes", err)
	}
}

func TestForgetfulNearIsServedFromFar(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	data := castest.Bytes(100_000, 9)
	d := far.add(t, data)
	near.put = func(_ context.Context, _ cas.Digest, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	expect(t, open(t, near, far), d, data)
}

func TestWrongBytesFromFarAreNeitherKeptNorServed(t *testing.T) {
	data := castest.Bytes(100_000, 10)
	for name, open := range map[string]func(cas.Digest) cas.Object{
		"noticed by far":     func(d cas.Digest) cas.Object { return cas.Verify(d, io.NopCloser(bytes.NewReader(data[1:])), -1) },
		"not noticed by far": func(cas.Digest) cas.Object { return cas.NewObject(data[1:]) },
	} {
		near, far := &faulty{}, &faulty{}
		d := far.add(t, data)
		far.get = func(_ context.Context, d cas.Digest) (cas.Object, error) { return open(d), nil }
		s := New(near, far)
		if _, err := s.Get(t.Context(), d); !errors.As(err, new(*cas.MismatchError)) {
			t.Errorf("%s: %v, want a MismatchError", name, err)
		}
		if near.Len() != 0 {
			t.Errorf("%s: near keeps the bytes", name)
		}
		s.Close()
	}
}

func TestDamagedNearObjectIsFetchedAgain(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	data := castest.Bytes(1000, 11)
	d := far.add(t, data)
	near.get = func(ctx context.Context, d cas.Digest) (cas.Object, error) {
		if near.stored.Load() == 0 {
			return nil, &cas.MismatchError{Want: d}
		}
		return near.Store.Get(ctx, d)
	}
	expect(t, open(t, near, far), d, data)
}

func TestCloseEndsFetchesAndWaiters(t *testing.T) {
	far := &faulty{}
	data := castest.Bytes(1000, 12)
	d := far.add(t, data)
	far.get = func(ctx context.Context, _ cas.Digest) (cas.Object, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s := New(&memory.Store{}, far)
	failed := make(chan error)
	go func() {
		_, err := s.Get(t.Context(), d)
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	s.Close()
	if err := <-failed; !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("the waiter got %v, want ErrUnavailable", err)
	}
	if _, err := s.Get(t.Context(), d); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("after Close: %v, want ErrUnavailable", err)
	}
}

func TestKnownSizesSurviveAnUnreachableFar(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	here, there := near.add(t, []byte("near")), far.add(t, []byte("there"))
	s := open(t, near, far)
	if sizes, err := s.Sizes(t.Context(), []cas.Digest{there, here}); err != nil || sizes[0] != 5 || sizes[1] != 4 {
		t.Errorf("%v, %v", sizes, err)
	}
	far.sizes = func(context.Context, []cas.Digest) ([]int64, error) { return nil, errBroken }
	sizes, err := s.Sizes(t.Context(), []cas.Digest{there, here})
	if !errors.Is(err, errBroken) || len(sizes) != 2 || sizes[0] != -1 || sizes[1] != 4 {
		t.Errorf("%v, %v; want what near knows, and the error", sizes, err)
	}
}

func TestFarIsAskedOnlyForWhatNearLacks(t *testing.T) {
	near, far := &faulty{}, &faulty{}
	here := near.add(t, []byte("near"))
	far.sizes = func(_ context.Context, ds []cas.Digest) ([]int64, error) {
		t.Errorf("far was asked for %v", ds)
		return nil, errBroken
	}
	s := open(t, near, far)
	if sizes, err := s.Sizes(t.Context(), []cas.Digest{here}); err != nil || sizes[0] != 4 {
		t.Errorf("%v, %v", sizes, err)
	}
}
