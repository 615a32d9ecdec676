package grpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// readBatch bounds the digests of one message of ReadObjects.
const readBatch = 4096

// GetMany is cas.BatchGetter, in one stream. Against a server without the
// extension it makes a call for each object, many at a time.
func (s *Store) GetMany(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
	supported, err := s.readObjects(ctx, ds, func(b *batchReader, in bulk.Incoming) error {
		o, err := b.open(in)
		end := visit(b.current, o, err)
		if o != nil {
			o.Close()
		}
		return end
	})
	if supported {
		return err
	}
	return cas.GetMany(ctx, struct{ cas.Getter }{s}, ds, s.opt.Parallel, visit)
}

// GetUnverified is cas.UnverifiedGetter.
func (s *Store) GetUnverified(ctx context.Context, ds []cas.Digest, visit cas.VisitUnverified) error {
	supported, err := s.readObjects(ctx, ds, func(b *batchReader, in bulk.Incoming) error {
		r, err := b.openUnverified(in)
		return visit(b.current, r, err)
	})
	if supported {
		return err
	}
	return cas.GetUnverified(ctx, struct{ cas.Getter }{s}, ds, s.opt.Parallel, visit)
}

// readObjects is false if the server does not have the extension; then nothing
// has come.
func (s *Store) readObjects(ctx context.Context, ds []cas.Digest, each func(*batchReader, bulk.Incoming) error) (supported bool, err error) {
	if len(ds) == 0 {
		return true, nil
	}
	if s.extension.isAbsent() {
		return false, nil
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer dog.Stop()
	b, err := s.startBatch(ctx, dog, ds)
	if err != nil {
		return true, err
	}
	defer b.close()
	asking.Go(func() { ask(b.stream, ds) })
	err = b.run(each)
	return !b.unsupported, err
}

// startBatch opens a stream and asks nothing yet.
func (s *Store) startBatch(ctx context.Context, dog *wire.Watchdog, ds []cas.Digest) (*batchReader, error) {
	stream, err := s.store.ReadObjects(ctx)
	if err != nil {
		return nil, s.fail(ctx, cas.Digest{}, err)
	}
	b := &batchReader{store: s, ctx: ctx, dog: dog, stream: stream, ds: ds, answered: make([]bool, len(ds))}
	b.unpacker = bulk.NewUnpacker(b.receive, b.failure)
	return b, nil
}

// ask sends the question. If it can't, whoever receives learns why.
func ask(stream grpc.BidiStreamingClient[pb.ReadObjectsRequest, pb.ReadObjectsResponse], ds []cas.Digest) {
	for some := range slices.Chunk(ds, readBatch) {
		if stream.Send(&pb.ReadObjectsRequest{Digests: bulk.AppendDigests(nil, some), AcceptZstd: true}) != nil {
			return
		}
	}
	stream.CloseSend()
}

// batchReader receives the objects of one ReadObjects.
type batchReader struct {
	store    *Store
	ctx      context.Context
	dog      *wire.Watchdog
	stream   grpc.BidiStreamingClient[pb.ReadObjectsRequest, pb.ReadObjectsResponse]
	unpacker *bulk.Unpacker
	ds       []cas.Digest

	answered    []bool
	answers     int
	current     cas.Digest
	unsupported bool
}

func (b *batchReader) receive(message *bulk.In) error {
	b.dog.Wake()
	err := b.stream.RecvMsg(message)
	b.dog.Sleep()
	b.unsupported = b.store.extension.missing(err)
	return err
}

func (b *batchReader) failure(f *pb.Status) error { return failureOf(b.current, f) }

func (b *batchReader) run(each func(*batchReader, bulk.Incoming) error) error {
	for {
		in, err := b.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = each(b, in)
		}
		if err != nil {
			return err
		}
	}
}

func (b *batchReader) close() {
	b.unpacker.Free()
	b.dog.Stop()
}

// next returns the next object, and io.EOF once all have come.
func (b *batchReader) next() (bulk.Incoming, error) {
	in, err := b.unpacker.Next()
	if err == io.EOF && b.answers == len(b.ds) {
		return in, err
	}
	if err == io.EOF {
		err = errIncomplete
	}
	if err == nil {
		err = b.number(in.Start.Object)
	}
	if err != nil {
		err = b.store.unpackError(b.ctx, err)
	}
	return in, err
}

// number checks the number of an object that starts, and makes it the current
// one.
func (b *batchReader) number(n uint64) error {
	if n >= uint64(len(b.ds)) || b.answered[n] {
		return fmt.Errorf("the server sends object %d of %d, which is not expected", n, len(b.ds))
	}
	b.answered[n] = true
	b.answers++
	b.current = b.ds[n]
	return nil
}

// open returns the object that has come.
func (b *batchReader) open(in bulk.Incoming) (cas.Object, error) {
	d := b.current
	switch {
	case in.Failed != nil:
		return nil, b.store.named(failureOf(d, in.Start.Failure))
	case in.Whole && d.Names(in.Data):
		return cas.NewObject(in.Data), nil
	case in.Whole:
		return nil, b.store.named(&cas.MismatchError{Want: d})
	}
	return wire.Named(b.store.url, cas.Verify(d, (*batchBody)(b), bulk.SizeFromWire(in.Start.Size))), nil
}

// openUnverified is open for somebody who verifies the bytes himself.
func (b *batchReader) openUnverified(in bulk.Incoming) (io.Reader, error) {
	switch {
	case in.Failed != nil:
		return nil, b.store.named(failureOf(b.current, in.Start.Failure))
	case in.Whole:
		return bytes.NewReader(in.Data), nil
	}
	body := wire.NamedReader(b.store.url, (*batchBody)(b))
	if size := bulk.SizeFromWire(in.Start.Size); size >= 0 {
		body = io.LimitReader(body, size+1)
	}
	return body, nil
}

// batchBody is the current object of a batchReader.
type batchBody batchReader

func (b *batchBody) Read(p []byte) (int, error) {
	n, err := b.unpacker.Read(p)
	if err != nil && err != io.EOF {
		err = reason(b.ctx, b.current, err)
	}
	return n, err
}

// Close leaves the rest to the Unpacker.
func (b *batchBody) Close() error { return nil }
