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

// extension remembers whether the server has StoreService, or one of its later
// calls.
type extension struct {
	present     atomic.Bool
	absentUntil atomic.Int64 // Unix time in nanoseconds
}

func (e *extension) isAbsent() bool { return time.Now().UnixNano() < e.absentUntil.Load() }

// missing tells whether err says that the server lacks the extension, and
// remembers it.
func (e *extension) missing(err error) bool {
	absent := status.Code(err) == codes.Unimplemented
	if absent || err == nil {
		e.set(!absent)
	}
	return absent
}

func (e *extension) set(present bool) {
	e.present.Store(present)
	if !present {
		e.absentUntil.Store(time.Now().Add(askAgain).UnixNano())
	}
}

// extended tells whether the server has the extension, asking it if that is not
// known.
func (s *Store) extended(ctx context.Context) (bool, error) {
	if s.extension.present.Load() {
		return true, nil
	}
	if s.extension.isAbsent() {
		return false, nil
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	answer, err := s.store.GetCapabilities(ctx, &pb.GetCapabilitiesRequest{})
	if s.extension.missing(err) {
		return false, nil
	}
	if err != nil {
		return false, s.fail(ctx, cas.Digest{}, err)
	}
	s.slicing.set(slices.Contains(answer.Capability, pb.Capability_CAPABILITY_READ_SLICE))
	s.zstd.Store(slices.Contains(answer.Capability, pb.Capability_CAPABILITY_ZSTD))
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
