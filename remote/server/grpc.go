package server

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

const (
	// pieceSize is what clients of CacheService are used to.
	pieceSize = 64 << 10

	// missingBatch bounds the digests of one HasTreeResponse.
	missingBatch = 1000
)

// stillWalking is how often a silent walk says that it goes on.
const stillWalking = 5 * time.Second

// cacheService is the service that all clients know.
type cacheService struct {
	pb.UnimplementedCacheServiceServer
	server *Server
}

func (c *cacheService) HasObject(ctx context.Context, r *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	ds, err := parseDigests(r.GetDigest())
	if err != nil {
		return nil, toStatus(err)
	}
	present, err := c.server.store.Has(ctx, ds)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HasObjectResponse{Present: present}, nil
}

func parseDigests(texts []string) ([]cas.Digest, error) {
	ds := make([]cas.Digest, len(texts))
	for i, text := range texts {
		d, err := cas.ParseDigest(text)
		if err != nil {
			return nil, err
		}
		ds[i] = d
	}
	return ds, nil
}

func (c *cacheService) HasTree(r *pb.HasTreeRequest, stream grpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	roots, err := parseDigests(r.GetDigest())
	if err != nil {
		return toStatus(err)
	}
	pulse := startPulse(stream)
	err = tree.FindMissing(stream.Context(), c.server.store, roots, c.server.opt.Parallel, pulse.report)
	pulse.stop()
	return toStatus(err)
}

// pulse sends the pieces of an answer, and empty ones while there are none.
type pulse struct {
	end  context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	stream grpc.ServerStreamingServer[pb.HasTreeResponse]
	quiet  bool // since the last beat
}

func startPulse(stream grpc.ServerStreamingServer[pb.HasTreeResponse]) *pulse {
	ctx, end := context.WithCancel(stream.Context())
	p := &pulse{end: end, stream: stream}
	p.done.Go(func() {
		ticker := time.NewTicker(stillWalking)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.beat()
			case <-ctx.Done():
				return
			}
		}
	})
	return p
}

// stop waits until nothing is sent any more.
func (p *pulse) stop() {
	p.end()
	p.done.Wait()
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		p.stream.Send(&pb.HasTreeResponse{}) // a failure ends the walk by its context
	}
	p.quiet = true
}

func (p *pulse) report(trees, files []cas.Digest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = false
	for batch := range slices.Chunk(trees, missingBatch) {
		if err := p.stream.Send(&pb.HasTreeResponse{MissingTrees: texts(batch)}); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(files, missingBatch) {
		if err := p.stream.Send(&pb.HasTreeResponse{MissingObjects: texts(batch)}); err != nil {
			return err
		}
	}
	return nil
}

func texts(ds []cas.Digest) []string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return texts
}

func (c *cacheService) ReadObject(r *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	d, err := cas.ParseDigest(r.GetDigest())
	if err != nil {
		return toStatus(err)
	}
	o, err := c.server.open(stream.Context(), d)
	if err != nil {
		return toStatus(damaged(err))
	}
	defer o.Close()
	// gRPC would compress for whoever compresses requests, which costs more
	// than it saves on the links that these clients have.
	if err := grpc.SetSendCompressor(stream.Context(), "identity"); err != nil {
		return toStatus(err)
	}
	for {
		err := sendPiece(stream, o)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return toStatus(damaged(err))
		}
	}
}

// sendPiece returns io.EOF at the end of o.
func sendPiece(stream grpc.ServerStream, o cas.Object) error {
	data := bulk.NewBuffer()
	n, err := wire.Fill(o, data.Space()[:pieceSize])
	data.Extend(n)
	if n == 0 {
		data.Free()
		return err
	}
	if err := stream.SendMsg(&bulk.Out{DataField: 1, Data: data}); err != nil {
		return err
	}
	return err
}

// open is Get, counted.
func (s *Server) open(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.store.Get(ctx, d)
	s.metrics.noteRead(err)
	return o, err
}

func (c *cacheService) WriteObject(stream grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	u := &upload{stream: stream, data: bulk.In{DataField: 2}}
	defer u.data.Free()
	if u.receive(); u.err == io.EOF {
		return status.Error(codes.InvalidArgument, "an upload without a message")
	}
	if u.err != nil {
		return u.err
	}
	d, err := cas.ParseDigest(u.digest)
	if err != nil {
		return toStatus(err)
	}
	present, err := c.server.store.Has(stream.Context(), []cas.Digest{d})
	if err != nil {
		return toStatus(err)
	}
	if present[0] {
		return alreadyExists(d)
	}
	if err := c.server.store.Put(stream.Context(), d, u); err != nil {
		return toStatus(err)
	}
	if u.err != io.EOF { // somebody else was quicker
		return alreadyExists(d)
	}
	return stream.SendAndClose(&pb.WriteObjectResponse{})
}

func alreadyExists(d cas.Digest) error {
	return status.Errorf(codes.AlreadyExists, "object %s is here already", d)
}

// upload reads the bytes of one WriteObject.
type upload struct {
	stream grpc.ServerStream
	digest string // as the first message says
	data   bulk.In
	err    error
}

func (u *upload) Read(p []byte) (int, error) {
	for u.data.Remaining() == 0 && u.err == nil {
		u.receive()
	}
	if u.data.Remaining() == 0 {
		return 0, u.err
	}
	return u.data.Read(p)
}

func (u *upload) receive() {
	if u.err = u.stream.RecvMsg(&u.data); u.err != nil {
		return
	}
	var fields pb.WriteObjectRequest
	if u.err = proto.Unmarshal(u.data.Fields, &fields); u.err != nil {
		return
	}
	if u.digest == "" {
		u.digest = fields.Digest
	}
	if fields.Digest != u.digest && fields.Digest != "" {
		u.err = status.Errorf(codes.InvalidArgument, "an upload of %s continues as %s", u.digest, fields.Digest)
		u.data.Free()
	}
}
