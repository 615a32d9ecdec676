package server

import (
	"context"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

// storeService is the service of our own clients: the same objects in bulk.
type storeService struct {
	pb.UnimplementedStoreServiceServer
	server *Server
}

func (s *storeService) GetCapabilities(context.Context, *pb.GetCapabilitiesRequest) (*pb.GetCapabilitiesResponse, error) {
	capabilities := []pb.Capability{
		pb.Capability_CAPABILITY_GET_SIZES,
		pb.Capability_CAPABILITY_READ_OBJECTS,
		pb.Capability_CAPABILITY_WRITE_OBJECTS,
		pb.Capability_CAPABILITY_READ_TREES,
		pb.Capability_CAPABILITY_ZSTD,
	}
	if _, ok := s.server.store.(bao.Slicer); ok {
		capabilities = append(capabilities, pb.Capability_CAPABILITY_READ_SLICE)
	}
	return &pb.GetCapabilitiesResponse{Capability: capabilities}, nil
}

func (s *storeService) GetSizes(ctx context.Context, r *pb.GetSizesRequest) (*pb.GetSizesResponse, error) {
	ds, err := bulk.ParseDigests(r.GetDigests())
	if err != nil {
		return nil, toStatus(err)
	}
	sizes, err := cas.SizesOf(ctx, s.server.store, ds)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.GetSizesResponse{Size: wireSizes(sizes)}, nil
}

func wireSizes(sizes []int64) []uint64 {
	out := make([]uint64, len(sizes))
	for i, size := range sizes {
		out[i] = bulk.SizeToWire(size)
	}
	return out
}

// toFailure is toStatus for one object of many. The names in err may be any
// bytes, and what protobuf sends as text must be UTF-8.
func toFailure(err error) *pb.Status {
	st := status.Convert(toStatus(err))
	failure := &pb.Status{Code: uint32(st.Code()), Message: strings.ToValidUTF8(st.Message(), "\uFFFD")}
	if got := gotOf(err); !got.IsZero() {
		failure.Got, _ = got.AppendBinary(nil)
	}
	return failure
}

func (s *storeService) ReadObjects(stream grpc.BidiStreamingServer[pb.ReadObjectsRequest, pb.ReadObjectsResponse]) error {
	var packer *bulk.Packer
	first := 0
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		ds, err := bulk.ParseDigests(request.GetDigests())
		if err != nil {
			return toStatus(err)
		}
		if packer == nil {
			packer = bulk.NewPacker(func(message *bulk.Out) error { return stream.SendMsg(message) },
				bulk.LinkOf(stream.Context()), request.GetAcceptZstd())
			defer packer.Free()
		}
		if err := s.readSome(stream.Context(), ds, first, packer); err != nil {
			return toStatus(err)
		}
		first += len(ds)
	}
}

// readSome sends ds, the first of which has the number first.
func (s *storeService) readSome(ctx context.Context, ds []cas.Digest, first int, packer *bulk.Packer) error {
	numbers := numberAll(ds, first)
	err := cas.GetMany(ctx, s.server.store, ds, s.server.opt.Parallel, func(d cas.Digest, o cas.Object, err error) error {
		number := numbers.take(d)
		s.server.metrics.noteRead(err)
		if err != nil {
			return packer.Failure(number, toFailure(damaged(err)))
		}
		start := &pb.Segment{Object: number, Size: bulk.SizeToWire(o.Size())}
		return packer.Object(start, o, func(err error) *pb.Status { return toFailure(damaged(err)) })
	})
	if err != nil {
		return err
	}
	return packer.Flush()
}

// numbers finds the place of a digest in a question that may hold it more than
// once.
type numbers struct {
	first int
	head  map[cas.Digest]int // places that are not taken, as a list
	next  []int
}

func numberAll(ds []cas.Digest, first int) *numbers {
	n := &numbers{first: first, head: make(map[cas.Digest]int, len(ds)), next: make([]int, len(ds))}
	for i := len(ds) - 1; i >= 0; i-- {
		if later, ok := n.head[ds[i]]; ok {
			n.next[i] = later
		}
		n.head[ds[i]] = i
	}
	return n
}

func (n *numbers) take(d cas.Digest) uint64 {
	i := n.head[d]
	n.head[d] = n.next[i]
	return uint64(n.first + i)
}

// errSender is the end of an object that its sender took back.
var errSender = status.Error(codes.Aborted, "the sender could not read the object")
