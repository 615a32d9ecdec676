package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// GetClosure is tree.ClosureGetter, in one call. A tree too large for a message
// is read by itself. Against a server without the extension it fails with
// errors.ErrUnsupported before anything is visited.
func (s *Store) GetClosure(ctx context.Context, roots, have []cas.Digest, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error {
	if s.extension.isAbsent() {
		return s.unsupported()
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	stream, err := s.store.ReadTrees(ctx, &pb.ReadTreesRequest{
		Roots: bulk.AppendDigests(nil, roots), Have: bulk.AppendDigests(nil, have), AcceptZstd: true,
	})
	if err != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	for {
		dog.Wake()
		message, err := stream.Recv()
		dog.Sleep()
		if err == io.EOF {
			return nil
		}
		if s.extension.missing(err) {
			return s.unsupported()
		}
		if err != nil {
			return s.fail(ctx, cas.Digest{}, err)
		}
		trees, err := treesIn(message)
		if err != nil {
			return s.named(err)
		}
		for _, node := range trees {
			if err := s.passTree(ctx, node, visit); err != nil {
				return err
			}
		}
	}
}

// treesIn returns the trees of a message, unpacked.
func treesIn(message *pb.ReadTreesResponse) ([]*pb.TreeNode, error) {
	if len(message.Packed) == 0 {
		return message.Tree, nil
	}
	plain, err := bulk.Expand(message.Packed, message.Plain)
	if err != nil {
		return nil, err
	}
	var inner pb.ReadTreesResponse
	err = proto.Unmarshal(plain, &inner)
	return append(message.Tree, inner.Tree...), err
}

func (s *Store) unsupported() error {
	return s.named(fmt.Errorf("closures: %w", errors.ErrUnsupported))
}

// maxTree bounds a tree that is read by itself.
const maxTree = 128 << 20

func (s *Store) passTree(ctx context.Context, node *pb.TreeNode, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error {
	d, err := cas.DigestFromBytes(node.Digest)
	if err != nil {
		return s.named(err)
	}
	if codes.Code(node.Failure.GetCode()) == codes.OutOfRange {
		data, err := cas.ReadAll(ctx, s, d, maxTree)
		return visit(d, data, nil, err)
	}
	if node.Failure != nil {
		return visit(d, nil, nil, s.named(failureOf(d, node.Failure)))
	}
	if !d.Names(node.Data) {
		return visit(d, nil, nil, s.named(&cas.MismatchError{Want: d}))
	}
	sizes := make([]int64, len(node.Size))
	for i, size := range node.Size {
		sizes[i] = bulk.SizeFromWire(size)
	}
	return visit(d, node.Data, sizes, nil)
}
