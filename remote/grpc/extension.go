package grpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/wire"
)

// askAgain is how long a server that lacks the extension is believed to lack
// it: it may be replaced while we run.
const askAgain = 5 * time.Minute

// absence remembers that the server lacks something.
type absence struct{ until atomic.Int64 } // Unix time in nanoseconds

func (a *absence) holds() bool { return time.Now().UnixNano() < a.until.Load() }

func (a *absence) begin() { a.until.Store(time.Now().Add(askAgain).UnixNano()) }

// missing tells whether err says that the server lacks the call, and remembers
// it.
func (a *absence) missing(err error) bool {
	absent := status.Code(err) == codes.Unimplemented
	if absent {
		a.begin()
	}
	return absent
}

// extension is what is known of the server's StoreService.
type extension struct {
	absent  absence
	present atomic.Bool // some call of it succeeded

	asking chan struct{} // holds a token while somebody asks what the server can do
	known  atomic.Bool   // what that is, which stands below
	slices absence
	zstd   atomic.Bool
}

func (e *extension) isAbsent() bool { return e.absent.holds() }

// missing tells whether the error of a call says that the server lacks the
// extension, and remembers what it says.
func (e *extension) missing(err error) bool {
	absent := e.absent.missing(err)
	switch {
	case absent: // the server may be another one than before
		e.present.Store(false)
		e.known.Store(false)
	case err == nil:
		e.present.Store(true)
	}
	return absent
}

func (e *extension) learn(can []pb.Capability) {
	if !slices.Contains(can, pb.Capability_CAPABILITY_READ_SLICE) {
		e.slices.begin()
	}
	e.zstd.Store(slices.Contains(can, pb.Capability_CAPABILITY_ZSTD))
	e.known.Store(true)
}

// extended tells whether the server has the extension. It returns when it is
// known what the server can do, for which one call asks at a time.
func (s *Store) extended(ctx context.Context) (bool, error) {
	e := &s.extension
	if e.known.Load() || e.isAbsent() {
		return e.known.Load(), nil
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	select {
	case e.asking <- struct{}{}:
		defer func() { <-e.asking }()
	case <-ctx.Done():
		return false, s.fail(ctx, cas.Digest{}, nil)
	}
	if e.known.Load() || e.isAbsent() { // now
		return e.known.Load(), nil
	}
	answer, err := s.store.GetCapabilities(ctx, &pb.GetCapabilitiesRequest{})
	if e.missing(err) {
		return false, nil
	}
	if err != nil {
		return false, s.fail(ctx, cas.Digest{}, err)
	}
	e.learn(answer.Capability)
	return true, nil
}

// unpackError is what failed between two objects of a stream: what the peer
// says, or what it must not say.
func (s *Store) unpackError(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok || ctx.Err() != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	return s.named(err)
}

// failureOf is the error of one object of a batch. It does not name the server.
func failureOf(d cas.Digest, failure *pb.Status) error {
	switch code := codes.Code(failure.GetCode()); code {
	case codes.OK:
		return fmt.Errorf("object %s failed for no reason", d)
	case codes.InvalidArgument:
		mismatch := &cas.MismatchError{Want: d}
		mismatch.Got, _ = cas.DigestFromBytes(failure.GetGot())
		return mismatch
	case codes.PermissionDenied:
		return fmt.Errorf("%w: the server takes no objects", cas.ErrReadOnly)
	default:
		return translate(d, status.Error(code, failure.GetMessage()))
	}
}

var errIncomplete = errors.New("the server ended the answer before its end")
