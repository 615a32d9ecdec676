package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
)

const (
	// pieceSize is what clients of CacheService are used to.
	pieceSize = 64 << 10

	// missingBatch bounds the digests of one HasTreeResponse.
	missingBatch = 1000
)

// stillWalking is how often a silent walk says that it goes on.
const stillWalking = 5 * time.Second

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

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
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for {
		n, err := o.Read(buf[:])
		if n > 0 {
			if err := stream.Send(&pb.ReadObjectResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return toStatus(damaged(err))
		}
	}
}

// damaged says that an object which is here is broken, which is not the fault
// of whoever asks for it.
func damaged(err error) error {
	var mismatch *cas.MismatchError
	if errors.As(err, &mismatch) {
		return status.Error(codes.DataLoss, err.Error())
	}
	return err
}

// open is Get, counted.
func (s *Server) open(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.store.Get(ctx, d)
	if err == nil || errors.Is(err, cas.ErrNotFound) {
		s.metrics.count(err == nil)
	}
	return o, err
}

func (c *cacheService) WriteObject(stream grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	first, err := stream.Recv()
	if err == io.EOF {
		return status.Error(codes.InvalidArgument, "an upload without a message")
	}
	if err != nil {
		return err
	}
	d, err := cas.ParseDigest(first.GetDigest())
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
	r := &upload{stream: stream, digest: first.GetDigest(), data: first.GetData()}
	if err := c.server.store.Put(stream.Context(), d, r); err != nil {
		return toStatus(err)
	}
	if r.err != io.EOF { // somebody else was quicker
		return alreadyExists(d)
	}
	return stream.SendAndClose(&pb.WriteObjectResponse{})
}

func alreadyExists(d cas.Digest) error {
	return status.Errorf(codes.AlreadyExists, "object %s is here already", d)
}

// upload reads the bytes of one WriteObject.
type upload struct {
	stream grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]
	digest string
	data   []byte
	err    error
}

func (u *upload) Read(p []byte) (int, error) {
	for len(u.data) == 0 && u.err == nil {
		u.receive()
	}
	if len(u.data) == 0 {
		return 0, u.err
	}
	n := copy(p, u.data)
	u.data = u.data[n:]
	return n, nil
}

func (u *upload) receive() {
	message, err := u.stream.Recv()
	if err != nil {
		u.err = err
		return
	}
	if message.GetDigest() != u.digest && message.GetDigest() != "" {
		u.err = status.Errorf(codes.InvalidArgument, "an upload of %s continues as %s", u.digest, message.GetDigest())
		return
	}
	u.data = message.GetData()
}
