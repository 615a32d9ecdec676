package transfer_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/transfer"
)

// basic is a server with the four basic calls and nothing else. Each takes a
// while; basic counts how many are made and how many are under way at once.
type basic struct {
	pb.UnimplementedCacheServiceServer
	memory.Store
	calls, now, most atomic.Int64
}

const basicPause = 20 * time.Millisecond

func (b *basic) pause() {
	b.calls.Add(1)
	now := b.now.Add(1)
	for most := b.most.Load(); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
	}
	time.Sleep(basicPause)
	b.now.Add(-1)
}

func parse(texts []string) []cas.Digest {
	ds := make([]cas.Digest, len(texts))
	for i, text := range texts {
		ds[i], _ = cas.ParseDigest(text)
	}
	return ds
}

func (b *basic) HasObject(ctx context.Context, r *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	b.pause()
	present, err := b.Has(ctx, parse(r.Digest))
	return &pb.HasObjectResponse{Present: present}, err
}

func (b *basic) HasTree(r *pb.HasTreeRequest, s grpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	b.pause()
	return tree.FindMissing(s.Context(), &b.Store, parse(r.Digest), 1, func(trees, files []cas.Digest) error {
		response := &pb.HasTreeResponse{}
		for _, d := range trees {
			response.MissingTrees = append(response.MissingTrees, d.String())
		}
		for _, d := range files {
			response.MissingObjects = append(response.MissingObjects, d.String())
		}
		return s.Send(response)
	})
}

func (b *basic) ReadObject(r *pb.ReadObjectRequest, s grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	b.pause()
	data, err := cas.ReadAll(s.Context(), &b.Store, parse([]string{r.Digest})[0], 1<<20)
	if err != nil {
		return status.Error(codes.NotFound, err.Error())
	}
	return s.Send(&pb.ReadObjectResponse{Data: data})
}

func (b *basic) WriteObject(s grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	var data bytes.Buffer
	var name string
	for {
		m, err := s.Recv()
		if err != nil {
			break
		}
		name = m.Digest
		data.Write(m.Data)
	}
	b.pause()
	if err := b.Put(s.Context(), parse([]string{name})[0], &data); err != nil {
		return err
	}
	return s.SendAndClose(&pb.WriteObjectResponse{})
}

// TestBasicCallsAreMadeSideBySide: a server that has only the calls for single
// objects is kept busy with many of them.
func TestBasicCallsAreMadeSideBySide(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, s := &basic{}, grpc.NewServer()
	pb.RegisterCacheServiceServer(s, b)
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
		b.calls.Store(0)
		b.most.Store(0)
		start := time.Now()
		if err := run(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		calls, took := b.calls.Load(), time.Since(start)
		t.Logf("%s: %d calls in %s, up to %d at once", what, calls, took, b.most.Load())
		if calls < int64(store.Len()) || b.most.Load() < 32 {
			t.Errorf("%s: %d calls, only %d at once", what, calls, b.most.Load())
		}
		if alone := time.Duration(calls) * basicPause; took > alone/4 {
			t.Errorf("%s: %s, less than four times as fast as one call at a time (%s)", what, took, alone)
		}
	}
	near := &memory.Store{}
	expect("push", func() error {
		return transfer.Push(t.Context(), store, openRemote(t, listener.Addr().String()), root, transfer.Options{Parallel: 64})
	})
	expectClosure(t, &b.Store, root)
	expect("pull", func() error {
		return transfer.Pull(t.Context(), openRemote(t, listener.Addr().String()), near, root, transfer.Options{Parallel: 64})
	})
	expectClosure(t, near, root)
}
