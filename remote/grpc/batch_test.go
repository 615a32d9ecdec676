package grpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/grpc"
	"github.com/fstree/fstree/remote/server"
)

// liar is a server of the extension that sends what it is told to send.
type liar struct {
	pb.UnimplementedStoreServiceServer
	read    func(send func(*pb.ReadObjectsResponse) error)
	write   func(recv func() error, send func(*pb.WriteObjectsResponse) error)
	trees   func(send func(*pb.ReadTreesResponse) error)
	sizes   []uint64
	capable atomic.Int64
}

func (l *liar) GetCapabilities(context.Context, *pb.GetCapabilitiesRequest) (*pb.GetCapabilitiesResponse, error) {
	l.capable.Add(1)
	return &pb.GetCapabilitiesResponse{}, nil
}

func (l *liar) GetSizes(context.Context, *pb.GetSizesRequest) (*pb.GetSizesResponse, error) {
	return &pb.GetSizesResponse{Size: l.sizes}, nil
}

func (l *liar) ReadObjects(s googlegrpc.BidiStreamingServer[pb.ReadObjectsRequest, pb.ReadObjectsResponse]) error {
	l.read(s.Send)
	return nil
}

func (l *liar) WriteObjects(s googlegrpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse]) error {
	l.write(func() error {
		_, err := s.Recv()
		return err
	}, s.Send)
	return nil
}

func (l *liar) ReadTrees(_ *pb.ReadTreesRequest, s googlegrpc.ServerStreamingServer[pb.ReadTreesResponse]) error {
	l.trees(s.Send)
	return nil
}

func serveLiar(t *testing.T, l *liar, timeout time.Duration) *grpc.Store {
	return serveAny(t, timeout, func(s *googlegrpc.Server) { pb.RegisterStoreServiceServer(s, l) })
}

func serveAny(t *testing.T, timeout time.Duration, register func(*googlegrpc.Server)) *grpc.Store {
	t.Helper()
	return open(t, listen(t, register), timeout)
}

// listen starts a server and returns its address.
func listen(t *testing.T, register func(*googlegrpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := googlegrpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(listener)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return listener.Addr().String()
}

// getAll reads two objects in one call.
func getAll(ctx context.Context, s *grpc.Store) error {
	ds := []cas.Digest{cas.Sum([]byte("one")), cas.Sum([]byte("two"))}
	return s.GetMany(ctx, ds, func(_ cas.Digest, o cas.Object, err error) error {
		if err != nil {
			return err
		}
		_, err = io.ReadAll(io.LimitReader(o, 1<<20))
		return err
	})
}

func TestLiesInBatchesAreErrors(t *testing.T) {
	segment := func(object uint64, data string) *pb.ReadObjectsResponse {
		return &pb.ReadObjectsResponse{Segment: []*pb.Segment{{Object: object, Length: uint64(len(data)), Last: true}}, Data: []byte(data)}
	}
	for name, test := range map[string]struct {
		reason string
		read   func(send func(*pb.ReadObjectsResponse) error)
	}{
		"nothing":     {"before its end", func(func(*pb.ReadObjectsResponse) error) {}},
		"one only":    {"before its end", func(send func(*pb.ReadObjectsResponse) error) { send(segment(0, "one")) }},
		"one twice":   {"not expected", func(send func(*pb.ReadObjectsResponse) error) { send(segment(0, "one")); send(segment(0, "one")) }},
		"another":     {"not expected", func(send func(*pb.ReadObjectsResponse) error) { send(segment(2, "one")) }},
		"far away":    {"not expected", func(send func(*pb.ReadObjectsResponse) error) { send(segment(1<<63, "one")) }},
		"wrong bytes": {"corrupt", func(send func(*pb.ReadObjectsResponse) error) { send(segment(0, "two")); send(segment(1, "two")) }},
		"half of it": {"unexpected EOF", func(send func(*pb.ReadObjectsResponse) error) {
			m := segment(0, "on")
			m.Segment[0].Last = false
			send(m)
		}},
		"wrong length": {"segment", func(send func(*pb.ReadObjectsResponse) error) {
			m := segment(0, "one")
			m.Segment[0].Length = 9
			send(m)
		}},
		"longer than announced": {"corrupt", func(send func(*pb.ReadObjectsResponse) error) {
			m := segment(0, "one!")
			m.Segment[0].Last, m.Segment[0].Size = false, 4
			send(m)
		}},
		"failure without reason": {"no reason", func(send func(*pb.ReadObjectsResponse) error) {
			send(&pb.ReadObjectsResponse{Segment: []*pb.Segment{{Failure: &pb.Status{}}}})
		}},
		"endless object": {"corrupt", func(send func(*pb.ReadObjectsResponse) error) {
			m := segment(0, strings.Repeat("x", 1<<20))
			m.Segment[0].Last, m.Segment[0].Size = false, 1000
			for send(m) == nil {
			}
		}},
		"silence": {"no answer for", func(send func(*pb.ReadObjectsResponse) error) {
			time.Sleep(time.Second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveLiar(t, &liar{read: test.read}, 400*time.Millisecond)
			if err := getAll(t.Context(), s); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestLiesAboutUploadsAreErrors(t *testing.T) {
	result := func(object uint64) *pb.WriteObjectsResponse {
		return &pb.WriteObjectsResponse{Result: []*pb.WriteResult{{Object: object}}}
	}
	for name, test := range map[string]struct {
		reason string
		write  func(recv func() error, send func(*pb.WriteObjectsResponse) error)
	}{
		"no result":      {"before its end", func(recv func() error, _ func(*pb.WriteObjectsResponse) error) { recv(); recv() }},
		"at once":        {"before its end", func(func() error, func(*pb.WriteObjectsResponse) error) {}},
		"another result": {"not expected", func(recv func() error, send func(*pb.WriteObjectsResponse) error) { recv(); send(result(7)); recv() }},
		"twice": {"not expected", func(recv func() error, send func(*pb.WriteObjectsResponse) error) {
			recv()
			send(result(0))
			send(result(0))
			recv()
		}},
		"silence": {"no answer for", func(recv func() error, _ func(*pb.WriteObjectsResponse) error) {
			for recv() == nil {
			}
			time.Sleep(time.Second)
		}},
		"silence from the start": {"no answer for", func(func() error, func(*pb.WriteObjectsResponse) error) { time.Sleep(time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveLiar(t, &liar{write: test.write}, 400*time.Millisecond)
			data := castest.Bytes(1<<20, 1)
			err := s.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
				for yield(cas.Sum(data), cas.NewObject(data)) && name == "silence from the start" {
				}
			}, func(_ cas.Digest, err error) error { return err })
			if err == nil || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), "jolt://") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestObjectGivenUpByBothEnds(t *testing.T) {
	reported := make(chan struct{})
	s := serveLiar(t, &liar{write: func(recv func() error, send func(*pb.WriteObjectsResponse) error) {
		recv()
		send(&pb.WriteObjectsResponse{Result: []*pb.WriteResult{{Failure: &pb.Status{Code: uint32(codes.ResourceExhausted), Message: "disk full"}}}})
		for recv() == nil {
		}
	}}, 5*time.Second)
	data := castest.Bytes(1<<20, 1)
	err := s.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
		yield(cas.Sum(data), &breaking{Reader: bytes.NewReader(data), when: reported})
	}, func(_ cas.Digest, err error) error {
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("report: %v", err)
		}
		close(reported)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// breaking is an object that ends in an error once when is closed.
type breaking struct {
	*bytes.Reader
	when chan struct{}
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.Len() == 0 {
		<-b.when
		return 0, errors.New("broke")
	}
	return b.Reader.Read(p)
}

func (b *breaking) Size() int64  { return -1 }
func (b *breaking) Close() error { return nil }

func TestSlowReportIsNotASilentServer(t *testing.T) {
	s := serveLiar(t, &liar{write: func(recv func() error, send func(*pb.WriteObjectsResponse) error) {
		for recv() == nil {
		}
		send(&pb.WriteObjectsResponse{Result: []*pb.WriteResult{{}}})
	}}, 300*time.Millisecond)
	err := s.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
		yield(cas.Sum(nil), cas.NewObject(nil))
	}, func(_ cas.Digest, err error) error {
		time.Sleep(time.Second)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLiesAboutTreesAreErrors(t *testing.T) {
	empty, _ := tree.New(nil)
	data := empty.Encode()
	root := cas.Sum(data)
	digest, _ := root.MarshalBinary()
	node := &pb.TreeNode{Digest: digest, Data: data}
	for name, test := range map[string]struct {
		reason string
		nodes  []*pb.TreeNode
	}{
		"twice":       {"nobody asked for", []*pb.TreeNode{node, node}},
		"wrong bytes": {"corrupt", []*pb.TreeNode{{Digest: digest, Data: data[1:]}}},
		"no digest":   {"not a digest", []*pb.TreeNode{{Data: data}}},
		"too large":   {"not found", []*pb.TreeNode{{Digest: digest, Failure: &pb.Status{Code: 5}}}},
	} {
		s := serveLiar(t, &liar{trees: func(send func(*pb.ReadTreesResponse) error) {
			send(&pb.ReadTreesResponse{Tree: test.nodes})
		}}, time.Second)
		err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, nil, 4, func(n tree.Sized) error { return n.Err })
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongNumberOfSizes(t *testing.T) {
	s := serveLiar(t, &liar{sizes: []uint64{1, 2}}, time.Second)
	if _, err := s.Sizes(t.Context(), []cas.Digest{cas.Sum(nil)}); err == nil || !strings.Contains(err.Error(), "2 answers to 1") {
		t.Errorf("%v", err)
	}
}

func TestServerIsAskedOnceWhatItCanDo(t *testing.T) {
	l := &liar{write: func(recv func() error, send func(*pb.WriteObjectsResponse) error) {
		recv()
		send(&pb.WriteObjectsResponse{Result: []*pb.WriteResult{{}}})
		recv()
	}}
	s := serveLiar(t, l, 5*time.Second)
	for range 3 {
		err := s.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
			yield(cas.Sum(nil), cas.NewObject(nil))
		}, func(_ cas.Digest, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := l.capable.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

var errUnimplemented = status.Error(codes.Unimplemented, "unknown service")

func TestOldServerIsAskedOnceForTheExtension(t *testing.T) {
	var unknown atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j := &jolt{objects: map[string][]byte{}}
	server := googlegrpc.NewServer(googlegrpc.UnknownServiceHandler(func(_ any, s googlegrpc.ServerStream) error {
		unknown.Add(1)
		return errUnimplemented
	}))
	pb.RegisterCacheServiceServer(server, j)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	s := open(t, listener.Addr().String(), 5*time.Second)
	data := []byte("data")
	d := cas.Sum(data)
	for range 3 {
		if err := s.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) { yield(d, cas.NewObject(data)) },
			func(_ cas.Digest, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
		if err := s.GetMany(t.Context(), []cas.Digest{d}, func(_ cas.Digest, _ cas.Object, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
		if sizes, err := s.Sizes(t.Context(), []cas.Digest{d}); err != nil || sizes[0] != -1 {
			t.Fatal(sizes, err)
		}
		if err := tree.WalkSized(t.Context(), s, []cas.Digest{d}, nil, 4, func(tree.Sized) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := unknown.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestClosureOverTheWire(t *testing.T) {
	store := &memory.Store{}
	var dirs []tree.Entry
	for i := range 300 {
		data := castest.Bytes(i, 1)
		store.Add(t.Context(), bytes.NewReader(data))
		leaf, _ := tree.New([]tree.Entry{{Name: "f", Type: tree.File, Perm: 0o644, Digest: cas.Sum(data)}})
		d, _, _ := store.Add(t.Context(), bytes.NewReader(leaf.Encode()))
		dirs = append(dirs, tree.Entry{Name: string(rune('a'+i/26)) + string(rune('a'+i%26)), Type: tree.Dir, Perm: 0o755, Digest: d})
	}
	// One directory is too large for a message of trees.
	var many []tree.Entry
	for i := range 12_000 {
		many = append(many, tree.Entry{Name: strings.Repeat("n", 10) + string(rune('0'+i%10)) + string(rune(0x4e00+i)), Type: tree.File, Perm: 0o644, Digest: cas.Sum(nil)})
	}
	large, err := tree.New(many)
	if err != nil {
		t.Fatal(err)
	}
	largeDigest, n, _ := store.Add(t.Context(), bytes.NewReader(large.Encode()))
	if n < 1<<20 {
		t.Fatalf("%d bytes are not large", n)
	}
	dirs = append(dirs, tree.Entry{Name: "large", Type: tree.Dir, Perm: 0o755, Digest: largeDigest})
	top, _ := tree.New(dirs)
	root, _, _ := store.Add(t.Context(), bytes.NewReader(top.Encode()))
	backend := server.New(store, server.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go backend.GRPC().Serve(listener)
	t.Cleanup(func() { backend.Shutdown(context.Background()) })
	s := open(t, listener.Addr().String(), 5*time.Second)

	have := []cas.Digest{dirs[0].Digest, dirs[1].Digest}
	seen := map[cas.Digest]bool{}
	err = tree.WalkSized(t.Context(), s, []cas.Digest{root}, have, 4, func(n tree.Sized) error {
		seen[n.Digest] = true
		if n.Digest == root || n.Digest == largeDigest || n.Err != nil {
			return n.Err
		}
		size := n.Sizes[0]
		if cas.Sum(castest.Bytes(int(size), 1)) != n.Tree.At(0).Digest {
			t.Errorf("size %d is not that of the file", size)
		}
		return nil
	})
	if err != nil || len(seen) != 300 || seen[have[0]] || !seen[largeDigest] {
		t.Errorf("%d trees, %v", len(seen), err)
	}
	var enough = errors.New("enough")
	if err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, nil, 4, func(tree.Sized) error { return enough }); err != enough {
		t.Errorf("%v", err)
	}
}

func TestPackedTreesThatAreNoneAreErrors(t *testing.T) {
	for name, message := range map[string]*pb.ReadTreesResponse{
		"not zstd":  {Packed: []byte("not zstd"), Plain: 10},
		"too large": {Packed: []byte("not zstd"), Plain: 1 << 40},
	} {
		s := serveLiar(t, &liar{trees: func(send func(*pb.ReadTreesResponse) error) { send(message) }}, time.Second)
		err := tree.WalkSized(t.Context(), s, []cas.Digest{cas.Sum(nil)}, nil, 4, func(n tree.Sized) error { return n.Err })
		if err == nil || !strings.Contains(err.Error(), "unpacked") || !strings.Contains(err.Error(), "jolt://") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
