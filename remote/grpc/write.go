package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// writeStream declares WriteObject as a stream in both directions, which is the
// same on the wire: jolt-cache ends a successful call without its one response,
// and gRPC takes that for an error only where one response is declared.
var writeStream = grpc.StreamDesc{StreamName: "WriteObject", ClientStreams: true, ServerStreams: true}

// Put stores the bytes of r as d.
func (s *Store) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	stream, err := s.conn.NewStream(ctx, &writeStream, pb.CacheService_WriteObject_FullMethodName)
	if err != nil {
		return s.fail(ctx, d, err)
	}
	w := writer{stream: stream, dog: dog}
	err = w.send(d, s.verified(d, r))
	var source *sourceError
	switch {
	case errors.As(err, &source):
		return source.err
	case err == nil, status.Code(err) == codes.AlreadyExists:
		return nil
	}
	return s.fail(ctx, d, err)
}

// verified returns r, which ends in an error if it is not d: old servers would
// keep it. Those with the extension look themselves.
func (s *Store) verified(d cas.Digest, r io.Reader) io.ReadCloser {
	body := io.NopCloser(r)
	if s.extension.present.Load() {
		return body
	}
	return cas.Verify(d, body, -1)
}

// sourceError is a failure to read what is to be sent.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

type writer struct {
	stream grpc.ClientStream
	dog    *wire.Watchdog
}

// send streams body and waits for the verdict. It sends at least one message.
func (w *writer) send(d cas.Digest, body io.ReadCloser) error {
	fields, err := proto.Marshal(&pb.WriteObjectRequest{Digest: d.String()})
	if err != nil {
		return err
	}
	defer body.Close()
	for first := true; ; first = false {
		data := bulk.NewBuffer()
		w.dog.Sleep()
		n, err := wire.Fill(body, data.Space())
		w.dog.Wake()
		data.Extend(n)
		if err != nil && err != io.EOF {
			data.Free()
			return &sourceError{err}
		}
		if n == 0 && !first {
			data.Free()
			return w.finish()
		}
		if err := w.stream.SendMsg(&bulk.Out{Fields: slices.Clone(fields), DataField: 2, Data: data}); err != nil {
			return w.earlyEnd(err)
		}
		if err == io.EOF {
			return w.finish()
		}
	}
}

// earlyEnd returns why the server ended the stream while we were sending.
func (w *writer) earlyEnd(err error) error {
	if err != io.EOF {
		return err
	}
	if _, err := w.receive(); err != io.EOF && err != nil {
		return err
	}
	return errors.New("the server ended an upload before its end")
}

// finish returns nil if the server says that the object is stored.
func (w *writer) finish() error {
	if err := w.stream.CloseSend(); err != nil {
		return err
	}
	responses, err := w.receive()
	if err != io.EOF {
		return err
	}
	if responses > 1 {
		return fmt.Errorf("%d responses to one upload", responses)
	}
	return nil
}

// receive reads to the end of the stream, io.EOF if its status is OK.
func (w *writer) receive() (responses int, err error) {
	for ; responses <= 1; responses++ {
		if err = w.stream.RecvMsg(&pb.WriteObjectResponse{}); err != nil {
			return responses, err
		}
	}
	return responses, io.EOF
}
