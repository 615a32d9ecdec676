package grpc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/grpc"
)

// sink is a server of the extension that takes every object and keeps none.
type sink struct {
	pb.UnimplementedStoreServiceServer
	capabilities []pb.Capability
	asked        atomic.Int64 // for them
	packed       atomic.Int64 // messages
}

func (s *sink) GetCapabilities(context.Context, *pb.GetCapabilitiesRequest) (*pb.GetCapabilitiesResponse, error) {
	s.asked.Add(1)
	time.Sleep(50 * time.Millisecond) // others may ask meanwhile
	return &pb.GetCapabilitiesResponse{Capability: s.capabilities}, nil
}

func (s *sink) GetSizes(context.Context, *pb.GetSizesRequest) (*pb.GetSizesResponse, error) {
	return &pb.GetSizesResponse{Size: []uint64{0}}, nil
}

func (s *sink) WriteObjects(stream googlegrpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse]) error {
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if message.Plain > 0 {
			s.packed.Add(1)
		}
		for _, segment := range message.Segment {
			if segment.Last {
				stream.Send(&pb.WriteObjectsResponse{Result: []*pb.WriteResult{{Object: segment.Object}}})
			}
		}
	}
}

// wire makes a server look as if it were on another machine, behind a link of
// 10 MB/s.
type wire struct {
	net.Conn
	sent *atomic.Int64 // bytes
}

func (w wire) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func (w wire) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * 100)
	w.sent.Add(int64(len(p)))
	return w.Conn.Write(p)
}

// openFar returns a store far away, and how many bytes were sent to it.
func openFar(t *testing.T, s *sink) (*grpc.Store, *atomic.Int64) {
	t.Helper()
	address := listen(t, func(g *googlegrpc.Server) { pb.RegisterStoreServiceServer(g, s) })
	sent := &atomic.Int64{}
	far, err := grpc.OpenWith("jolt://"+address, address, grpc.Options{Timeout: 10 * time.Second, Parallel: 4},
		googlegrpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			return wire{conn, sent}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return far, sent
}

// TestUploadsShrinkOnASlowLinkIfTheServerTakesThat: whatever was asked of it
// before.
func TestUploadsShrinkOnASlowLinkIfTheServerTakesThat(t *testing.T) {
	zstd := []pb.Capability{pb.Capability_CAPABILITY_ZSTD}
	sizes := func(s *grpc.Store) error {
		_, err := s.Sizes(t.Context(), []cas.Digest{cas.Sum(nil)})
		return err
	}
	for _, test := range []struct {
		name   string
		can    []pb.Capability
		before func(*grpc.Store) error
	}{
		{"with zstd", zstd, nil},
		{"with zstd, after a question", zstd, sizes},
		{"without zstd", nil, nil},
		{"without zstd, after a question", nil, sizes},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &sink{capabilities: test.can}
			far, sent := openFar(t, server)
			if test.before != nil {
				if err := test.before(far); err != nil {
					t.Fatal(err)
				}
			}
			total := 0
			err := far.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
				for i := range 16 {
					data := bytes.Repeat(fmt.Appendf(nil, "line %d of many\n", i), 64<<10)
					total += len(data)
					if !yield(cas.Sum(data), cas.NewObject(data)) {
						return
					}
				}
			}, func(_ cas.Digest, err error) error { return err })
			if err != nil {
				t.Fatal(err)
			}
			shrunk := sent.Load() < int64(total/2)
			if packed := server.packed.Load() > 0; packed != shrunk || shrunk != (test.can != nil) {
				t.Errorf("%d bytes were sent for %d, compressed: %v", sent.Load(), total, packed)
			}
		})
	}
}

// TestServerIsAskedOnceWhatItCanDoByAllWhoAskAtOnce: two questions about
// closures, as a push with a hint makes them, and an upload.
func TestServerIsAskedOnceWhatItCanDoByAllWhoAskAtOnce(t *testing.T) {
	server := &sink{}
	far, _ := openFar(t, server)
	done := make(chan error)
	for range 3 {
		go func() {
			// There is no HasTree: that this fails is another matter.
			far.FindMissing(t.Context(), []cas.Digest{cas.Sum(nil)}, func(_, _ []cas.Digest) error { return nil })
			done <- nil
		}()
		go func() {
			done <- far.PutMany(t.Context(), func(yield func(cas.Digest, cas.Object) bool) {
				yield(cas.Sum(nil), cas.NewObject(nil))
			}, func(_ cas.Digest, err error) error { return err })
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := server.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestWhoWaitsForAnothersQuestionObeysItsOwnContext and takes the question over
// where the other one gave up.
func TestWhoWaitsForAnothersQuestionObeysItsOwnContext(t *testing.T) {
	server := &sink{}
	far, _ := openFar(t, server)
	put := func(ctx context.Context) error {
		return far.PutMany(ctx, func(yield func(cas.Digest, cas.Object) bool) {
			yield(cas.Sum(nil), cas.NewObject(nil))
		}, func(_ cas.Digest, err error) error { return err })
	}
	first, giveUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- put(first) }()
	for server.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := put(impatient); err == nil || time.Since(start) > 40*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	giveUp()
	if err := <-failed; err == nil {
		t.Error("a cancelled upload succeeds")
	}
	if err := put(t.Context()); err != nil {
		t.Error(err)
	}
}
