package server

import (
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

// ReadSlice sends ranges of any length: what it holds at a time is one message,
// and the flow control of the stream waits for whoever reads.
func (s *storeService) ReadSlice(r *pb.ReadSliceRequest, stream grpc.ServerStreamingServer[pb.ReadSliceResponse]) error {
	slicer, ok := s.server.store.(bao.Slicer)
	if !ok {
		return status.Error(codes.Unimplemented, "the store of this server does not prove ranges")
	}
	d, slice, err := sliceOf(r)
	if err != nil {
		return toStatus(err)
	}
	o, err := slicer.Slice(stream.Context(), d, slice)
	s.server.metrics.noteRead(err)
	if err != nil {
		return toStatus(damaged(err))
	}
	defer o.Close()
	w := bulk.NewWriter(func(message *bulk.Out) error { return stream.SendMsg(message) },
		bulk.LinkOf(stream.Context()), r.GetAcceptZstd())
	defer w.Free()
	if _, err = io.Copy(w, o); err == nil {
		err = w.Flush()
	}
	return toStatus(damaged(err))
}

// sliceOf returns what is asked for, which is a range of an object.
func sliceOf(r *pb.ReadSliceRequest) (cas.Digest, bao.Slice, error) {
	d, err := cas.DigestFromBytes(r.GetDigest())
	if err != nil {
		return d, bao.Slice{}, err
	}
	size := bulk.SizeFromWire(r.GetSize())
	switch {
	case size < 0:
		err = status.Errorf(codes.InvalidArgument, "a slice of object %s of unknown size", d)
	case r.GetOffset() > uint64(size) || r.GetLength() > uint64(size)-r.GetOffset():
		err = status.Errorf(codes.InvalidArgument, "%d bytes from %d are not a range of %d bytes", r.GetLength(), r.GetOffset(), size)
	}
	return d, bao.Slice{Size: size, Off: int64(r.GetOffset()), Len: int64(r.GetLength()), ProveSize: r.GetProveSize()}, err
}
