package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// bulk is a far store that is asked for many objects at a time.
type bulk struct {
	faulty
	batches atomic.Int64
	many    func(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error
}

func (b *bulk) GetMany(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
	b.batches.Add(1)
	if b.many != nil {
		return b.many(ctx, ds, visit)
	}
	return cas.GetMany(ctx, &b.Store, ds, 8, visit)
}

func (b *bulk) addMany(t *testing.T, n int) (ds []cas.Digest) {
	for i := range n {
		ds = append(ds, b.add(t, fmt.Append(nil, "object ", i)))
	}
	return ds
}

func TestManyAreFetchedInOneQuestion(t *testing.T) {
	near, far := &faulty{}, &bulk{}
	ds := far.addMany(t, manyObjects)
	s := open(t, near, far)
	large := far.add(t, castest.Bytes(inMemory+1, 30))
	if err := s.Fetch(t.Context(), append(ds[1:], large)); err != nil {
		t.Fatal(err)
	}
	for i, d := range ds[1:] {
		expect(t, s, d, fmt.Append(nil, "object ", i+1))
	}
	s.Close()
	if far.batches.Load() != 1 || far.asked.Load() > 0 || near.Len() != len(ds) {
		t.Errorf("%d questions and %d single ones, near holds %d", far.batches.Load(), far.asked.Load(), near.Len())
	}
	if objects := s.Stats().Objects; objects != int64(len(ds)) {
		t.Errorf("%d objects were fetched", objects)
	}
}

func TestReaderOfABatchDoesNotWaitForTheRestOfIt(t *testing.T) {
	far := &bulk{}
	ds := far.addMany(t, 10)
	rest := make(chan struct{})
	far.many = func(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
		return cas.GetMany(ctx, &far.Store, ds, 1, func(d cas.Digest, o cas.Object, err error) error {
			if d == ds[5] {
				<-rest
			}
			return visit(d, o, err)
		})
	}
	near := &faulty{}
	near.put = func(ctx context.Context, d cas.Digest, r io.Reader) error {
		<-rest
		return near.Store.Put(ctx, d, r)
	}
	s := open(t, near, far)
	done := make(chan error)
	go func() { done <- s.Fetch(t.Context(), ds) }()
	for far.batches.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	expect(t, s, ds[2], []byte("object 2"))
	if far.asked.Load() != 0 {
		t.Error("it was fetched by itself")
	}
	close(rest)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatABatchLacksIsToldApart(t *testing.T) {
	far := &bulk{}
	ds := far.addMany(t, 10)
	far.Remove(ds[4])
	s := open(t, &faulty{}, far)
	if err := s.Fetch(t.Context(), ds); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	for i, d := range ds {
		if i != 4 {
			expect(t, s, d, fmt.Append(nil, "object ", i))
		}
	}
}

func TestBrokenBatchGoesOnWithWhatIsLeft(t *testing.T) {
	far := &bulk{}
	ds := far.addMany(t, 10)
	s := open(t, &faulty{}, far)
	asked := 0
	far.many = func(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
		asked += len(ds)
		return cas.GetMany(ctx, &far.Store, ds, 1, func(d cas.Digest, o cas.Object, err error) error {
			if d == ds[4] && len(ds) == 10 {
				return cas.ErrUnavailable
			}
			return visit(d, o, err)
		})
	}
	if err := s.Fetch(t.Context(), ds); err != nil || asked != 16 {
		t.Errorf("%v, %d were asked for", err, asked)
	}
}

func TestSilentBatchFailsInTime(t *testing.T) {
	far := &bulk{}
	ds := far.addMany(t, 10)
	far.many = func(ctx context.Context, _ []cas.Digest, _ cas.VisitObject) error {
		<-ctx.Done()
		return ctx.Err()
	}
	s := open(t, &faulty{}, far)
	s.Silence = 50 * time.Millisecond
	if err := s.Fetch(t.Context(), ds); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	far.many = nil
	if err := s.Fetch(t.Context(), ds); err != nil {
		t.Error(err)
	}
}

func TestBatchThatNearCannotKeepIsServed(t *testing.T) {
	near, far := &faulty{}, &bulk{}
	ds := far.addMany(t, 10)
	near.put = func(context.Context, cas.Digest, io.Reader) error { return errBroken }
	s := open(t, near, far)
	if err := s.Fetch(t.Context(), ds); err != nil {
		t.Error(err)
	}
	for i, d := range ds {
		expect(t, s, d, fmt.Append(nil, "object ", i))
	}
	s.Close()
	if len(s.flights) > 0 {
		t.Errorf("%d fetches are open", len(s.flights))
	}
}

func TestWrongBytesInABatchAreNotServed(t *testing.T) {
	near, far := &faulty{}, &bulk{}
	ds := far.addMany(t, 10)
	far.many = func(_ context.Context, ds []cas.Digest, visit cas.VisitObject) error {
		for _, d := range ds {
			if err := visit(d, cas.NewObject([]byte("something else")), nil); err != nil {
				return err
			}
		}
		return nil
	}
	s := open(t, near, far)
	if err := s.Fetch(t.Context(), ds); !errors.As(err, new(*cas.MismatchError)) || near.Len() > 0 {
		t.Errorf("%v, near holds %d", err, near.Len())
	}
}

func TestUnavailableObjectsOfABatchAreAskedForAgain(t *testing.T) {
	far := &bulk{}
	ds := far.addMany(t, 10)
	ds4, ds6 := ds[4], ds[6]
	asked := map[cas.Digest]int{}
	far.many = func(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
		return cas.GetMany(ctx, &far.Store, ds, 1, func(d cas.Digest, o cas.Object, err error) error {
			asked[d]++
			switch {
			case d == ds4 && asked[d] < 3:
				return visit(d, nil, fmt.Errorf("not now: %w", cas.ErrUnavailable))
			case d == ds6 && asked[d] < 2:
				return visit(d, cutOff{o}, nil)
			}
			return visit(d, o, err)
		})
	}
	if err := open(t, &faulty{}, far).Fetch(t.Context(), ds); err != nil {
		t.Error(err)
	}
	for i, d := range ds {
		if want := map[int]int{4: 3, 6: 2}[i]; asked[d] != max(want, 1) {
			t.Errorf("object %d was asked for %d times", i, asked[d])
		}
	}
}

// cutOff is an object whose connection breaks after a byte.
type cutOff struct{ cas.Object }

func (c cutOff) Read(p []byte) (int, error) {
	n, _ := c.Object.Read(p[:1])
	return n, fmt.Errorf("cut: %w", cas.ErrUnavailable)
}

// What fails forever must not be asked for as long as anything else comes.
func TestObjectThatStaysAwayFailsWhileOthersCome(t *testing.T) {
	away := func(cas.Object) (cas.Object, error) { return nil, cas.ErrUnavailable }
	cut := func(o cas.Object) (cas.Object, error) { return cutOff{o}, nil }
	alone := func(s *Store, _, bad cas.Digest) error {
		_, err := cas.ReadAll(t.Context(), s, bad, 1<<20)
		return err
	}
	inBatch := func(s *Store, good, bad cas.Digest) error { return s.Fetch(t.Context(), []cas.Digest{good, bad}) }
	for name, test := range map[string]struct {
		size int
		get  func(cas.Object) (cas.Object, error)
		ask  func(s *Store, good, bad cas.Digest) error
	}{
		"away, alone":                 {1000, away, alone},
		"away, in a batch":            {1000, away, inBatch},
		"cut off, alone":              {1000, cut, alone},
		"cut off, in a batch":         {1000, cut, inBatch},
		"large and cut off, alone":    {inMemory + 1, cut, alone},
		"large and cut off, in batch": {inMemory + 1, cut, inBatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := &bulk{}
			bad, others := far.add(t, castest.Bytes(test.size, 31)), far.addMany(t, 100)
			giveUp := time.Now().Add(10 * time.Second)
			far.get = func(ctx context.Context, d cas.Digest) (cas.Object, error) {
				o, err := far.Store.Get(ctx, d)
				if d == bad && time.Now().Before(giveUp) {
					return test.get(o)
				}
				return o, err
			}
			far.many = func(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
				return cas.GetMany(ctx, single{far}, ds, 2, visit)
			}
			s := open(t, forgetful{&faulty{}}, far)
			s.Silence = 300 * time.Millisecond
			defer goOnReading(t, s, others)()
			if err := test.ask(s, others[0], bad); !errors.Is(err, cas.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
}

// single is a far store that is asked for one object at a time.
type single struct{ cas.Getter }

// forgetful is a near store that holds nothing.
type forgetful struct{ *faulty }

func (forgetful) Put(_ context.Context, _ cas.Digest, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// goOnReading reads ds again and again until it is told to stop.
func goOnReading(t *testing.T, s *Store, ds []cas.Digest) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	read := func(i int) {
		if _, err := cas.ReadAll(ctx, s, ds[i%len(ds)], 1<<20); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	read(0)
	reading.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			read(i)
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		cancel()
		reading.Wait()
	}
}
