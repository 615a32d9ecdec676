package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	if objects, _ := s.Fetched(); objects != int64(len(ds)) {
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
