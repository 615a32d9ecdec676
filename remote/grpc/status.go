package grpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
)

// reason is the error of a call about d, the zero Digest for a call about many.
// A context that has ended is the cause of whatever the call says.
func reason(ctx context.Context, d cas.Digest, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return translate(d, err)
}

// fail is reason, and names the server.
func (s *Store) fail(ctx context.Context, d cas.Digest, err error) error {
	return s.named(reason(ctx, d, err))
}

func (s *Store) named(err error) error { return fmt.Errorf("%s: %w", s.url, err) }

// translate is the one place where a status becomes an error of package cas.
func translate(d cas.Digest, err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch {
	case isNotFound(st) && !d.IsZero():
		return &cas.NotFoundError{Digest: d}
	case info(st).GetReason() == pb.ReasonMismatch:
		return &cas.MismatchError{Want: d, Got: received(st)}
	case info(st).GetReason() == pb.ReasonReadOnly:
		return fmt.Errorf("%w: the server takes no objects", cas.ErrReadOnly)
	}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", cas.ErrUnavailable, plain(st.Message()))
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %s", errors.ErrUnsupported, st.Message())
	case codes.Unauthenticated:
		return fmt.Errorf("the server wants to know who asks: %s", st.Message())
	case codes.Unimplemented:
		return fmt.Errorf("this is no fstree server: %s", st.Message())
	}
	return fmt.Errorf("%s: %s", st.Code(), st.Message())
}

// isNotFound is true as well for jolt-cache's way of saying it, which has no
// code of its own.
func isNotFound(st *status.Status) bool {
	return st.Code() == codes.NotFound ||
		st.Code() == codes.Internal && strings.Contains(strings.ToLower(st.Message()), "not found")
}

func received(st *status.Status) cas.Digest {
	d, _ := cas.ParseDigest(info(st).GetMetadata()[pb.MetadataGot])
	return d
}

// info returns the details that our server gives, nil if there are none.
func info(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == pb.ErrorDomain {
			return info
		}
	}
	return nil
}

// plain strips gRPC's wrapping from the reason for a lost connection.
func plain(message string) string {
	if strings.Contains(message, "error reading server preface") {
		return "something listens there, but it does not greet as gRPC"
	}
	for _, wrapping := range []string{`connection error: desc = `, `"transport: `, `Error while dialing: `} {
		if rest, ok := strings.CutPrefix(message, wrapping); ok {
			message = strings.TrimSuffix(rest, `"`)
		}
	}
	return message
}
