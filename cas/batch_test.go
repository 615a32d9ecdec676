package cas_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
)

// slow takes a second for everything and counts what it does at a time.
type slow struct {
	memory   memory.Store
	inFlight atomic.Int64
	peak     atomic.Int64
	open     atomic.Int64
}

func (s *slow) step() {
	s.peak.Store(max(s.peak.Load(), s.inFlight.Add(1)))
	time.Sleep(time.Second)
	s.inFlight.Add(-1)
}

func (s *slow) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	s.step()
	o, err := s.memory.Get(ctx, d)
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &counted{o, &s.open}, nil
}

type counted struct {
	cas.Object
	open *atomic.Int64
}

func (c *counted) Close() error {
	c.open.Add(-1)
	return c.Object.Close()
}

func numbers(n int) (ds []cas.Digest, data [][]byte) {
	for i := range n {
		data = append(data, fmt.Append(nil, i))
		ds = append(ds, cas.Sum(data[i]))
	}
	return ds, data
}

func TestGetManyAsksAheadAndKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		ds, data := numbers(100)
		for i, b := range data {
			if i != 50 {
				put(t, &s.memory, b)
			}
		}
		begin := time.Now()
		var visited []cas.Digest
		err := cas.GetMany(t.Context(), s, ds, 10, func(d cas.Digest, o cas.Object, err error) error {
			if d == ds[50] != errors.Is(err, cas.ErrNotFound) || (o == nil) != (err != nil) {
				t.Errorf("object %d: %v, %v", len(visited), o, err)
			}
			visited = append(visited, d)
			return nil
		})
		if err != nil || !slices.Equal(visited, ds) {
			t.Errorf("%d visited, %v", len(visited), err)
		}
		if took := time.Since(begin); s.peak.Load() > 10 || took > 11*time.Second {
			t.Errorf("%d at a time, %s", s.peak.Load(), took)
		}
		if s.open.Load() != 0 {
			t.Errorf("%d objects are open", s.open.Load())
		}
	})
}

func put(t *testing.T, s cas.Putter, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), cas.Sum(data), cas.NewObject(data)); err != nil {
		t.Fatal(err)
	}
}

func TestVisitMayEndGetMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		ds, data := numbers(100)
		for _, b := range data {
			put(t, &s.memory, b)
		}
		enough := errors.New("enough")
		visits := 0
		err := cas.GetMany(t.Context(), s, ds, 10, func(cas.Digest, cas.Object, error) error {
			visits++
			return enough
		})
		if err != enough || visits != 1 || s.open.Load() != 0 || s.inFlight.Load() != 0 {
			t.Errorf("%v after %d visits, %d objects are open, %d on their way", err, visits, s.open.Load(), s.inFlight.Load())
		}
	})
}

func TestGetManyOfNothing(t *testing.T) {
	if err := cas.GetMany(t.Context(), &slow{}, nil, 10, nil); err != nil {
		t.Error(err)
	}
}

func (s *slow) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	s.step()
	return s.memory.Put(ctx, d, r)
}

func TestPutManyStoresSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		ds, data := numbers(100)
		data = append(data, make([]byte, 1<<20))
		ds = append(ds, cas.Sum(data[100]))
		wrong := cas.Sum([]byte("wrong"))
		begin := time.Now()
		reported := map[cas.Digest]error{}
		err := cas.PutMany(t.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
			for i, d := range ds {
				if i == 50 {
					d = wrong
				}
				if !yield(d, cas.NewObject(data[i])) {
					return
				}
			}
		}, 10, func(d cas.Digest, err error) error {
			reported[d] = err
			return nil
		})
		if err != nil || len(reported) != 101 || s.memory.Len() != 100 {
			t.Errorf("%d reported, %d stored, %v", len(reported), s.memory.Len(), err)
		}
		for d, err := range reported {
			var mismatch *cas.MismatchError
			if errors.As(err, &mismatch) != (d == wrong) {
				t.Errorf("%s: %v", d, err)
			}
		}
		if took := time.Since(begin); s.peak.Load() > 11 || took > 12*time.Second {
			t.Errorf("%d at a time, %s", s.peak.Load(), took)
		}
	})
}

func TestReportMayEndPutMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		enough := errors.New("enough")
		yielded := 0
		err := cas.PutMany(t.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
			for yield(cas.Sum(fmt.Append(nil, yielded)), cas.NewObject(fmt.Append(nil, yielded))) {
				yielded++
			}
		}, 2, func(cas.Digest, error) error { return enough })
		if err != enough || yielded > 5 || s.inFlight.Load() != 0 {
			t.Errorf("%v after %d objects", err, yielded)
		}
	})
}
