package server_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/server"
)

// abandon begins everything that a store can do and finishes none of it.
func abandon(t *testing.T, s remote.Store, ds []cas.Digest, large []byte) {
	enough := errors.New("enough")
	o, err := s.Get(t.Context(), cas.Sum(large))
	if err != nil {
		t.Fatal(err)
	}
	o.Read(make([]byte, 10))
	o.Close()
	if slicer, ok := s.(bao.Slicer); ok {
		r, err := slicer.Slice(t.Context(), cas.Sum(large), bao.Slice{Size: int64(len(large)), Len: int64(len(large))})
		if err != nil {
			t.Fatal(err)
		}
		r.Read(make([]byte, 10))
		r.Close()
	}
	cas.GetMany(t.Context(), s, ds, 8, func(cas.Digest, cas.Object, error) error { return enough })
	cas.PutMany(t.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
		for yield(cas.Sum(large), cas.NewObject(large)) {
		}
	}, 8, func(cas.Digest, error) error { return enough })
	tree.WalkSized(t.Context(), s, ds[:1], nil, 8, func(tree.Sized) error { return enough })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	s.Put(ctx, cas.Sum([]byte("x")), blocking{ctx})
	s.Has(ctx, ds)
	cas.SizesOf(ctx, s, ds)
}

// blocking is a source that waits for its context.
type blocking struct{ ctx context.Context }

func (b blocking) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func TestNothingGoesOnBehindAbandonedCalls(t *testing.T) {
	store := &memory.Store{}
	large := castest.Bytes(4<<20, 1)
	store.Add(t.Context(), bytes.NewReader(large))
	var ds []cas.Digest
	for i := range 5000 {
		d, _, _ := store.Add(t.Context(), bytes.NewReader(castest.Bytes(300, uint64(i))))
		ds = append(ds, d)
	}
	before := runtime.NumGoroutine()
	s := server.New(store, server.Options{})
	for _, url := range []string{"jolt://" + listen(t, s.GRPC().Serve), "http://" + listen(t, s.HTTP().Serve)} {
		far, err := remote.Open(url, remote.Options{Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			abandon(t, far, ds, large)
		}
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
