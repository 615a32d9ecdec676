package grpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Get opens d. It waits for the first bytes, so that an absent object is known
// at once. The object ends with ctx, at the latest. Its size is unknown if the
// server lacks the extension.
func (s *Store) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if !s.extension.isAbsent() {
		o, err := s.getExtended(ctx, d)
		if !errors.Is(err, errors.ErrUnsupported) {
			return o, err
		}
	}
	return s.getBasic(ctx, d)
}

func (s *Store) getBasic(ctx context.Context, d cas.Digest) (cas.Object, error) {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	stream, err := s.client.ReadObject(ctx, &pb.ReadObjectRequest{Digest: d.String()})
	if err != nil {
		defer dog.Stop()
		return nil, s.fail(ctx, d, err)
	}
	r := &reader{digest: d, ctx: ctx, dog: dog, stream: stream, data: bulk.In{DataField: 1}}
	if err := r.receive(); err != nil && err != io.EOF {
		dog.Stop()
		return nil, s.named(err)
	}
	return wire.Named(s.url, cas.Verify(d, r, -1)), nil
}

// reader is the stream of one object. It hashes nothing.
type reader struct {
	digest cas.Digest
	ctx    context.Context
	dog    *wire.Watchdog
	stream grpc.ClientStream
	data   bulk.In
	expand func(*bulk.In) error // unpacks a message; nil if there is nothing to unpack
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for r.data.Remaining() == 0 {
		if err := r.receive(); err != nil {
			return 0, err
		}
	}
	return r.data.Read(p)
}

func (r *reader) receive() error {
	if r.err != nil {
		return r.err
	}
	err := r.next()
	if err != nil && err != io.EOF {
		err = reason(r.ctx, r.digest, err)
	}
	r.err = err
	return err
}

// next receives a message. Its error is the call's own.
func (r *reader) next() error {
	r.dog.Wake()
	err := r.stream.RecvMsg(&r.data)
	r.dog.Sleep()
	if err == nil && r.expand != nil {
		err = r.expand(&r.data)
	}
	return err
}

func (r *reader) Close() error {
	r.dog.Stop()
	r.data.Free()
	return nil
}
