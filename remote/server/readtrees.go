package server

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

const (
	// maxTree bounds the trees that ReadTrees sends, in bytes; larger ones are
	// for ReadObjects.
	maxTree = 1 << 20

	// The first message of ReadTrees is sent early, for whoever only wants to
	// see the root, and the later ones when they pay.
	firstTrees = 4 << 10
	allTrees   = 256 << 10
)

func (s *storeService) ReadTrees(r *pb.ReadTreesRequest, stream grpc.ServerStreamingServer[pb.ReadTreesResponse]) error {
	roots, err := bulk.ParseDigests(r.GetRoots())
	if err != nil {
		return toStatus(err)
	}
	have, err := bulk.ParseDigests(r.GetHave())
	if err != nil {
		return toStatus(err)
	}
	p := &treePacker{stream: stream, link: bulk.LinkOf(stream.Context()), limit: firstTrees}
	if r.GetAcceptZstd() {
		p.squeezer = bulk.NewSqueezer(p.link)
	}
	err = tree.WalkSized(stream.Context(), s.server.store, roots, have, s.server.opt.Parallel, func(t tree.Sized) error {
		s.server.metrics.noteRead(t.Err)
		return p.add(t)
	})
	if err == nil {
		err = p.flush()
	}
	return toStatus(err)
}

// treePacker collects trees into messages.
type treePacker struct {
	stream   grpc.ServerStreamingServer[pb.ReadTreesResponse]
	link     *bulk.Link
	squeezer *bulk.Squeezer
	limit    int // in bytes; grows with every message
	size     int
	trees    []*pb.TreeNode
}

func (p *treePacker) add(t tree.Sized) error {
	node := &pb.TreeNode{}
	node.Digest, _ = t.Digest.AppendBinary(nil)
	switch {
	case t.Err != nil:
		node.Failure = toFailure(damaged(t.Err))
	case len(t.Data) > maxTree:
		node.Failure = &pb.Status{Code: uint32(codes.OutOfRange), Message: "the tree is too large for this call"}
	default:
		node.Data, node.Size = t.Data, wireSizes(t.Sizes)
	}
	// A node with the sizes of its files is less than twice its data.
	size := 100 + 2*len(node.Data)
	if p.size+size > maxMessage/2 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.trees = append(p.trees, node)
	p.size += size
	if p.size < p.limit {
		return nil
	}
	return p.flush()
}

func (p *treePacker) flush() error {
	if p.size == 0 {
		return nil
	}
	message, err := p.squeezed()
	if err != nil {
		return err
	}
	p.trees, p.size = nil, 0
	p.limit = min(2*p.limit, allTrees)
	return p.link.Send(proto.Size(message), func() error { return p.stream.Send(message) })
}

// squeezed returns the message to send, compressed if that pays.
func (p *treePacker) squeezed() (*pb.ReadTreesResponse, error) {
	message := &pb.ReadTreesResponse{Tree: p.trees}
	if !p.squeezer.Wants() {
		return message, nil
	}
	plain, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	if packed, ok := p.squeezer.Squeeze(nil, plain); ok {
		message = &pb.ReadTreesResponse{Packed: packed, Plain: uint64(len(plain))}
	}
	return message, nil
}
