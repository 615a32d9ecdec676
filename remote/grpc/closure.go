package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"

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
	stream, err := s.store.ReadTrees(ctx, &pb.ReadTreesRequest{Roots: bulk.AppendDigests(nil, roots), Have: bulk.AppendDigests(nil, have)})
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
		for _, node := range message.Tree {
			if err := s.passTree(ctx, node, visit); err != nil {
				return err
			}
		}
	}
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
