package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Slice opens the slice s of d, in one call. It waits for the first bytes, so
// that an absent object is known at once. What can be read ends with ctx, and
// is exactly as long as the slice, or else ends in a *bao.Error. Where the
// server has said that it does not send slices, it is not asked again for five
// minutes.
func (s *Store) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	if d.Algorithm() != cas.BLAKE3 || s.extension.isAbsent() || s.extension.slices.holds() {
		return nil, s.unsliced(d)
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	r := &reader{digest: d, ctx: ctx, dog: dog, data: bulk.In{DataField: 1}, expand: expand}
	err := s.openSlice(r, slice)
	if err == nil || err == io.EOF {
		return &sliceReader{r, s, slice.EncodedSize()}, nil
	}
	defer r.Close()
	if s.extension.slices.missing(err) {
		return nil, s.unsliced(d)
	}
	return nil, s.fail(ctx, d, err)
}

// openSlice receives the first message.
func (s *Store) openSlice(r *reader, slice bao.Slice) error {
	digest, err := r.digest.MarshalBinary()
	if err != nil {
		return err
	}
	stream, err := s.store.ReadSlice(r.ctx, &pb.ReadSliceRequest{
		Digest:    digest,
		Size:      bulk.SizeToWire(slice.Size),
		Offset:    uint64(slice.Off),
		Length:    uint64(slice.Len),
		ProveSize: slice.ProveSize,

		AcceptZstd: true,
	})
	if err != nil {
		return err
	}
	r.stream = stream
	err = r.next()
	if err == io.EOF {
		r.err = err
	}
	return err
}

// expand unpacks a message of a slice, if it is compressed.
func expand(in *bulk.In) error {
	var fields pb.ReadSliceResponse
	if err := proto.Unmarshal(in.Fields, &fields); err != nil || fields.Plain == 0 {
		return err
	}
	return in.Expand(fields.Plain)
}

func (s *Store) unsliced(d cas.Digest) error {
	return s.named(fmt.Errorf("parts of object %s: %w", d, errors.ErrUnsupported))
}

// sliceReader is the stream of one slice. It hashes nothing.
type sliceReader struct {
	*reader
	store *Store
	left  int64 // bytes of the slice
}

func (r *sliceReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	r.left -= int64(n)
	switch {
	case r.left < 0:
		n, r.err = 0, &bao.Error{Digest: r.digest, Reason: "its slice goes on behind the end"}
	case err == io.EOF && r.left > 0:
		r.err = &bao.Error{Digest: r.digest, Reason: "its slice ends early"}
	case err == nil || err == io.EOF:
		return n, err
	}
	return n, r.store.named(r.err)
}
