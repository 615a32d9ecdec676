package transfer_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/internal/oldserver"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/transfer"
)

// calls counts how many are made and how many are under way at once. Each takes
// a while.
type calls struct{ all, now, most atomic.Int64 }

const callPause = 20 * time.Millisecond

func (c *calls) pause() {
	c.all.Add(1)
	now := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	time.Sleep(callPause)
}

// TestBasicCallsAreMadeSideBySide: a server that has only the calls for single
// objects is kept busy with many of them.
func TestBasicCallsAreMadeSideBySide(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	made := &calls{}
	old, s := &oldserver.Server{Pause: made.pause}, grpc.NewServer()
	pb.RegisterCacheServiceServer(s, old)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(listener)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	store := &memory.Store{}
	root := deepTree(t, store, 300, 3, "deepest")
	expect := func(what string, run func() error) {
		t.Helper()
		made.all.Store(0)
		made.most.Store(0)
		start := time.Now()
		if err := run(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		calls, took := made.all.Load(), time.Since(start)
		t.Logf("%s: %d calls in %s, up to %d at once", what, calls, took, made.most.Load())
		if calls < int64(store.Len()) || made.most.Load() < 32 {
			t.Errorf("%s: %d calls, only %d at once", what, calls, made.most.Load())
		}
		if alone := time.Duration(calls) * callPause; took > alone/4 {
			t.Errorf("%s: %s, less than four times as fast as one call at a time (%s)", what, took, alone)
		}
	}
	near := &memory.Store{}
	expect("push", func() error {
		return transfer.Push(t.Context(), store, openRemote(t, listener.Addr().String()), root, transfer.Options{Parallel: 64})
	})
	expectClosure(t, &old.Store, root)
	expect("pull", func() error {
		return transfer.Pull(t.Context(), openRemote(t, listener.Addr().String()), near, root, transfer.Options{Parallel: 64})
	})
	expectClosure(t, near, root)
}
