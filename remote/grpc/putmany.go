package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// PutMany is cas.BatchPutter, in one stream. Against a server without the
// extension it makes a call for each object, many at a time.
func (s *Store) PutMany(ctx context.Context, objects cas.Objects, report cas.ReportObject) error {
	extended, err := s.extended(ctx)
	if err != nil {
		return err
	}
	if !extended {
		return cas.PutMany(ctx, struct{ cas.Putter }{s}, objects, s.opt.Parallel, report)
	}
	outer, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	stream, err := s.store.WriteObjects(ctx)
	if err != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	w := &batchWriter{store: s, outer: outer, ctx: ctx, cancel: cancel, dog: dog, stream: stream, report: report, open: map[uint64]*sent{}}
	return w.run(objects)
}

// batchWriter sends the objects of one WriteObjects, and reports what becomes
// of them from a second goroutine.
type batchWriter struct {
	store  *Store
	outer  context.Context // ends by the caller or by silence
	ctx    context.Context // ends by cancel as well, whose first cause is the reason
	cancel context.CancelCauseFunc
	dog    *wire.Watchdog
	stream grpc.BidiStreamingClient[pb.WriteObjectsRequest, pb.WriteObjectsResponse]
	report cas.ReportObject

	mu   sync.Mutex
	open map[uint64]*sent // begun and not reported, by number
	over bool             // everything was sent: only the server can be waited for
}

// sent is an object on its way.
type sent struct {
	digest cas.Digest
	broken error // why it could not be read
}

// reportError ends a batch at its caller's wish.
type reportError struct{ err error }

func (e *reportError) Error() string { return e.err.Error() }

func (w *batchWriter) run(objects cas.Objects) error {
	var receiving sync.WaitGroup
	receiving.Go(func() {
		if err := w.receive(); err != nil {
			w.cancel(err)
		}
	})
	// If the server has ended the stream, the receiver knows why.
	if err := w.send(objects); err != nil && err != io.EOF {
		w.cancel(err)
	}
	receiving.Wait()
	err := context.Cause(w.ctx)
	var reported *reportError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reported):
		return reported.err
	}
	return w.store.unpackError(w.outer, err)
}

func (w *batchWriter) send(objects cas.Objects) error {
	packer := bulk.NewPacker(w.sendMessage, &w.store.link, w.store.extension.zstd.Load())
	defer packer.Free()
	number := uint64(0)
	w.dog.Sleep()
	for d, o := range objects {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if err := packer.Object(w.begin(number, d, o), o, func(err error) *pb.Status { return w.broken(number, err) }); err != nil {
			return err
		}
		number++
	}
	if err := packer.Flush(); err != nil {
		return err
	}
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.dog.Wake()
	return w.stream.CloseSend()
}

func (w *batchWriter) sendMessage(message *bulk.Out) error {
	w.dog.Wake()
	defer w.dog.Sleep()
	return w.stream.SendMsg(message)
}

func (w *batchWriter) begin(number uint64, d cas.Digest, o cas.Object) *pb.Segment {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[number] = &sent{digest: d}
	digest, _ := d.AppendBinary(nil)
	return &pb.Segment{Object: number, Digest: digest, Size: bulk.SizeToWire(o.Size())}
}

// broken remembers why an object could not be read, and takes it back from the
// server.
func (w *batchWriter) broken(number uint64, err error) *pb.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o, ok := w.open[number]; ok { // or else the server has given it up before
		o.broken = err
	}
	return &pb.Status{Code: uint32(codes.Aborted), Message: "the sender can't read the object"}
}

// receive reports results until the server ends the stream.
func (w *batchWriter) receive() error {
	for {
		w.await(w.dog.Wake)
		message, err := w.stream.Recv()
		w.await(w.dog.Sleep)
		w.store.extension.missing(err)
		if err == io.EOF {
			return w.complete()
		}
		if err != nil {
			return err
		}
		for _, result := range message.Result {
			if err := w.settle(result); err != nil {
				return err
			}
		}
	}
}

// await calls the watchdog while only the server can be waited for. As long as
// objects are being sent, sending is what shows that the server lives.
func (w *batchWriter) await(watchdog func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		watchdog()
	}
}

func (w *batchWriter) settle(result *pb.WriteResult) error {
	w.mu.Lock()
	o, ok := w.open[result.Object]
	delete(w.open, result.Object)
	w.mu.Unlock()
	if !ok {
		return fmt.Errorf("the server reports object %d, which is not expected", result.Object)
	}
	err := o.broken
	if err == nil && result.Failure != nil {
		err = w.store.named(failureOf(o.digest, result.Failure))
	}
	if err := w.report(o.digest, err); err != nil {
		return &reportError{err}
	}
	return nil
}

func (w *batchWriter) complete() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over || len(w.open) > 0 {
		return errIncomplete
	}
	return nil
}
