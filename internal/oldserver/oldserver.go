// Package oldserver is a server with the four basic calls and nothing else, for
// tests and benchmarks.
package oldserver

import (
	"bytes"
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
)

// Server is fstree.CacheService over a map. Its zero value is ready.
type Server struct {
	pb.UnimplementedCacheServiceServer
	Store memory.Store
	Pause func() // called once by every call; may be nil
}

func (s *Server) pause() {
	if s.Pause != nil {
		s.Pause()
	}
}

// HasObject tells which objects are here.
func (s *Server) HasObject(ctx context.Context, r *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	s.pause()
	present, err := s.Store.Has(ctx, digests(r.Digest...))
	return &pb.HasObjectResponse{Present: present}, err
}

// HasTree tells what is missing of closures.
func (s *Server) HasTree(r *pb.HasTreeRequest, stream grpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	s.pause()
	return tree.FindMissing(stream.Context(), &s.Store, digests(r.Digest...), 1, func(trees, files []cas.Digest) error {
		return stream.Send(&pb.HasTreeResponse{MissingTrees: texts(trees), MissingObjects: texts(files)})
	})
}

// maxObject bounds an object that is read: it is sent in one message.
const maxObject = 1 << 20

// ReadObject sends an object.
func (s *Server) ReadObject(r *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	s.pause()
	data, err := cas.ReadAll(stream.Context(), &s.Store, digests(r.Digest)[0], maxObject)
	if err != nil {
		return status.Error(codes.NotFound, err.Error())
	}
	return stream.Send(&pb.ReadObjectResponse{Data: data})
}

// WriteObject stores an object.
func (s *Server) WriteObject(stream grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	var data bytes.Buffer
	var name string
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name = m.Digest
		data.Write(m.Data)
	}
	s.pause()
	if err := s.Store.Put(stream.Context(), digests(name)[0], &data); err != nil {
		return err
	}
	return stream.SendAndClose(&pb.WriteObjectResponse{})
}

func digests(texts ...string) []cas.Digest {
	ds := make([]cas.Digest, len(texts))
	for i, text := range texts {
		ds[i], _ = cas.ParseDigest(text)
	}
	return ds
}

func texts(ds []cas.Digest) []string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return texts
}
