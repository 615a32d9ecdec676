package server

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

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
	p := &treePacker{stream: stream, limit: firstTrees}
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
	stream  grpc.ServerStreamingServer[pb.ReadTreesResponse]
	limit   int // in bytes; grows with every message
	size    int
	message pb.ReadTreesResponse
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
	p.message.Tree = append(p.message.Tree, node)
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
	err := p.stream.Send(&p.message)
	p.message.Tree, p.size = nil, 0
	p.limit = min(2*p.limit, allTrees)
	return err
}
