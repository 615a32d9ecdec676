package grpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/wire"
)

// readBatch bounds the digests of one message of ReadObjects.
const readBatch = 4096

// GetMany is cas.BatchGetter, in one stream. Against a server without the
// extension it makes a call for each object, many at a time.
func (s *Store) GetMany(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) error {
	if len(ds) == 0 {
		return nil
	}
	if !s.extension.isAbsent() {
		supported, err := s.readObjects(ctx, ds, visit)
		if supported {
			return err
		}
	}
	return cas.GetMany(ctx, struct{ cas.Getter }{s}, ds, s.opt.Parallel, visit)
}

// readObjects is false if the server does not have the extension; then nothing
// was visited.
func (s *Store) readObjects(ctx context.Context, ds []cas.Digest, visit cas.VisitObject) (supported bool, err error) {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer dog.Stop()
	stream, err := s.store.ReadObjects(ctx)
	if err != nil {
		return true, s.fail(ctx, cas.Digest{}, err)
	}
	asking.Go(func() { ask(stream, ds) })
	b := &batchReader{store: s, ctx: ctx, dog: dog, stream: stream, ds: ds, answered: make([]bool, len(ds)), visit: visit}
	b.unpacker = wire.NewUnpacker(b.receive, b.failure)
	defer b.unpacker.Free()
	err = b.run()
	return !b.unsupported, err
}

// ask sends the question. If it can't, whoever receives learns why.
func ask(stream grpc.BidiStreamingClient[pb.ReadObjectsRequest, pb.ReadObjectsResponse], ds []cas.Digest) {
	for some := range slices.Chunk(ds, readBatch) {
		if stream.Send(&pb.ReadObjectsRequest{Digests: wire.AppendDigests(nil, some)}) != nil {
			return
		}
	}
	stream.CloseSend()
}

// batchReader visits the objects of one ReadObjects.
type batchReader struct {
	store    *Store
	ctx      context.Context
	dog      *wire.Watchdog
	stream   grpc.BidiStreamingClient[pb.ReadObjectsRequest, pb.ReadObjectsResponse]
	unpacker *wire.Unpacker
	ds       []cas.Digest
	visit    cas.VisitObject

	answered    []bool
	answers     int
	current     cas.Digest
	unsupported bool
}

func (b *batchReader) receive(message *wire.In) error {
	b.dog.Wake()
	err := b.stream.RecvMsg(message)
	b.dog.Sleep()
	b.unsupported = b.store.extension.missing(err)
	return err
}

func (b *batchReader) failure(f *pb.Status) error { return b.store.failureOf(b.current, f) }

func (b *batchReader) run() error {
	for {
		in, err := b.unpacker.Next()
		if err == io.EOF && b.answers == len(b.ds) {
			return nil
		}
		if err == io.EOF {
			err = errIncomplete
		}
		if err == nil {
			err = b.number(in.Start.Object)
		}
		if err != nil {
			return b.store.unpackError(b.ctx, err)
		}
		if err := b.pass(in); err != nil {
			return err
		}
	}
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

// pass gives an object to visit.
func (b *batchReader) pass(in wire.Incoming) error {
	d := b.current
	switch {
	case in.Failed != nil:
		return b.visit(d, nil, b.store.failureOf(d, in.Start.Failure))
	case in.Whole && d.Names(in.Data):
		return b.visit(d, cas.NewObject(in.Data), nil)
	case in.Whole:
		return b.visit(d, nil, fmt.Errorf("%s: %w", b.store.url, &cas.MismatchError{Want: d}))
	}
	o := wire.Named(b.store.url, cas.Verify(d, (*batchBody)(b), wire.SizeFromWire(in.Start.Size)))
	defer o.Close()
	return b.visit(d, o, nil)
}

// batchBody is the current object of a batchReader.
type batchBody batchReader

func (b *batchBody) Read(p []byte) (int, error) {
	n, err := b.unpacker.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	} else if err != nil && err != io.EOF {
		err = translate(b.current, err)
	}
	return n, err
}

// Close leaves the rest to the Unpacker.
func (b *batchBody) Close() error { return nil }
