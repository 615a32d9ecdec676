package server

import (
	"bytes"
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/internal/crew"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

// maxResults bounds the results of one message.
const maxResults = 1000

func (s *storeService) WriteObjects(stream grpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	w := &batchWriter{store: s.server.store, results: make(chan *pb.WriteResult, maxResults)}
	w.writing, w.ctx = crew.New(ctx, s.server.opt.Parallel)
	var acknowledging sync.WaitGroup
	acknowledging.Go(func() {
		if err := acknowledge(stream, w.results); err != nil {
			cancel(err)
		}
	})
	err := w.receive(stream)
	w.writing.Wait()
	close(w.results)
	acknowledging.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return toStatus(err)
}

// acknowledge sends results, as many at a time as there are. It takes them to
// the end, whatever happens.
func acknowledge(stream grpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse], results <-chan *pb.WriteResult) error {
	var failed error
	for result := range results {
		message := &pb.WriteObjectsResponse{Result: []*pb.WriteResult{result}}
		for more := len(results); more > 0 && len(message.Result) < maxResults; more-- {
			message.Result = append(message.Result, <-results)
		}
		if failed == nil {
			failed = stream.Send(message)
		}
	}
	return failed
}

// batchWriter stores the objects of one WriteObjects: small ones side by side,
// large ones while they arrive.
type batchWriter struct {
	store   cas.Store
	ctx     context.Context
	writing *crew.Crew
	results chan *pb.WriteResult
}

func (w *batchWriter) receive(stream grpc.BidiStreamingServer[pb.WriteObjectsRequest, pb.WriteObjectsResponse]) error {
	unpacker := bulk.NewUnpacker(
		func(message *bulk.In) error { return stream.RecvMsg(message) },
		func(*pb.Status) error { return errSender })
	defer unpacker.Free()
	for number := uint64(0); ; number++ {
		in, err := unpacker.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if in.Start.Object != number {
			return status.Errorf(codes.InvalidArgument, "object %d starts where %d is expected", in.Start.Object, number)
		}
		d, err := cas.DigestFromBytes(in.Start.Digest)
		if err != nil {
			return err
		}
		if err := w.write(number, d, in, unpacker); err != nil {
			return err
		}
	}
}

func (w *batchWriter) write(number uint64, d cas.Digest, in bulk.Incoming, unpacker *bulk.Unpacker) error {
	switch {
	case in.Failed != nil:
		w.done(number, in.Failed)
	case !in.Whole:
		w.done(number, w.store.Put(w.ctx, d, unpacker))
	default:
		return w.writing.Do(func() error {
			w.done(number, w.store.Put(w.ctx, d, bytes.NewReader(in.Data)))
			return nil
		})
	}
	return nil
}

func (w *batchWriter) done(number uint64, err error) {
	result := &pb.WriteResult{Object: number}
	if err != nil {
		result.Failure = toFailure(err)
	}
	w.results <- result
}
