package grpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/grpc"
)

// sliced is a server whose slices are made by a function.
type sliced struct {
	pb.UnimplementedStoreServiceServer
	slice func(s googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error
}

func (s *sliced) ReadSlice(_ *pb.ReadSliceRequest, stream googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
	return s.slice(stream)
}

func serveSlices(t *testing.T, timeout time.Duration, slice func(googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error) *grpc.Store {
	return serveAny(t, timeout, func(s *googlegrpc.Server) { pb.RegisterStoreServiceServer(s, &sliced{slice: slice}) })
}

// readSlice opens and reads a slice as somebody does who believes everything.
func readSlice(ctx context.Context, s bao.Slicer, d cas.Digest, slice bao.Slice) ([]byte, error) {
	r, err := s.Slice(ctx, d, slice)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestLiesInSlicesAreErrors(t *testing.T) {
	data := castest.Bytes(3<<20, 1)
	slice := bao.Slice{Size: 3 << 20, Off: 1 << 20, Len: 1 << 20, ProveSize: true}
	var store memory.Store
	d, _, _ := store.Add(t.Context(), bytes.NewReader(data))
	right, err := readSlice(t.Context(), &store, d, slice)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(right)
	wrong[len(wrong)/2] ^= 1
	for name, test := range map[string]struct {
		reason string
		pieces [][]byte
		again  bool // the last piece, without an end
	}{
		"wrong bytes": {reason: "are wrong", pieces: [][]byte{wrong}},
		"nothing":     {reason: "not of 3145728 bytes"},
		"too short":   {reason: "ends early", pieces: [][]byte{right[:len(right)-1]}},
		"too long":    {reason: "goes on", pieces: [][]byte{right, {1}}},
		"endless":     {reason: "goes on", pieces: [][]byte{right}, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSlices(t, 5*time.Second, func(s googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
				for _, piece := range test.pieces {
					s.Send(&pb.ReadSliceResponse{Data: piece})
				}
				for test.again && s.Send(&pb.ReadSliceResponse{Data: right}) == nil {
				}
				return nil
			})
			if name != "wrong bytes" {
				if got, err := readSlice(t.Context(), s, d, slice); !errors.As(err, new(*bao.Error)) || len(got) > len(right) {
					t.Errorf("a reader that does not verify got %d bytes, %v", len(got), err)
				}
			}
			partial, err := (&memory.Store{}).OpenPartial(t.Context(), d, slice.Size)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Slice(t.Context(), d, slice)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			err = partial.Add(t.Context(), slice, r)
			if !errors.As(err, new(*bao.Error)) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSilentSliceIsUnavailable(t *testing.T) {
	for name, slice := range map[string]func(googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error{
		"from the start": func(s googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
			<-s.Context().Done()
			return nil
		},
		"in the middle": func(s googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
			s.Send(&pb.ReadSliceResponse{Data: []byte("a first piece")})
			<-s.Context().Done()
			return nil
		},
	} {
		s := serveSlices(t, 300*time.Millisecond, slice)
		_, err := readSlice(t.Context(), s, cas.Sum(nil), bao.Slice{Size: 3 << 20, Len: 1})
		if !errors.Is(err, cas.ErrUnavailable) || strings.Count(err.Error(), "jolt://") != 1 || !strings.Contains(err.Error(), "no answer for 300ms") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCancelledSliceEndsAtOnceWithItsCause(t *testing.T) {
	s := serveSlices(t, time.Minute, func(s googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
		s.Send(&pb.ReadSliceResponse{Data: []byte("a first piece")})
		<-s.Context().Done()
		return nil
	})
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(gaveUp) })
	start := time.Now()
	_, err := readSlice(ctx, s, cas.Sum(nil), bao.Slice{Size: 3 << 20, Len: 1})
	if !errors.Is(err, gaveUp) || time.Since(start) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// withoutSlices is a server of the extension as it was before it had slices.
type withoutSlices struct {
	pb.UnimplementedStoreServiceServer
	calls atomic.Int64
}

func (w *withoutSlices) GetCapabilities(context.Context, *pb.GetCapabilitiesRequest) (*pb.GetCapabilitiesResponse, error) {
	return &pb.GetCapabilitiesResponse{}, nil
}

func (w *withoutSlices) ReadSlice(*pb.ReadSliceRequest, googlegrpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
	w.calls.Add(1)
	return errUnimplemented
}

func (w *withoutSlices) GetSizes(context.Context, *pb.GetSizesRequest) (*pb.GetSizesResponse, error) {
	return &pb.GetSizesResponse{Size: []uint64{8}}, nil
}

func (w *withoutSlices) WriteObjects(s googlegrpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse]) error {
	s.Recv()
	s.Send(&pb.WriteObjectsResponse{Result: []*pb.WriteResult{{}}})
	s.Recv()
	return nil
}

func TestServerWithoutSlicesIsAskedOnceForThem(t *testing.T) {
	for _, test := range []struct {
		name  string
		asks  bool // what it can do
		calls int64
	}{{"by a slice", false, 1}, {"by its capabilities", true, 0}} {
		w := &withoutSlices{}
		s := serveAny(t, 5*time.Second, func(s *googlegrpc.Server) { pb.RegisterStoreServiceServer(s, w) })
		if test.asks {
			objects := func(yield func(cas.Digest, cas.Object) bool) { yield(cas.Sum(nil), cas.NewObject(nil)) }
			if err := s.PutMany(t.Context(), objects, func(_ cas.Digest, err error) error { return err }); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			_, err := s.Slice(t.Context(), cas.Sum(nil), bao.Slice{Size: 3 << 20, Len: 1})
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "jolt://") {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if n := w.calls.Load(); n != test.calls {
			t.Errorf("%s: asked %d times", test.name, n)
		}
		if sizes, err := s.Sizes(t.Context(), []cas.Digest{cas.Sum(nil)}); err != nil || sizes[0] != 7 {
			t.Errorf("%s: the rest of the extension is lost: %v, %v", test.name, sizes, err)
		}
	}
}
