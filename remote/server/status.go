package server

import (
	"context"
	"errors"
	"net/http"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
)

// failure is what an error of a store is to a peer.
type failure struct {
	grpc codes.Code
	http int
}

// classify is the one place where errors of package cas become what a peer is
// told.
func classify(err error) failure {
	var mismatch *cas.MismatchError
	var digest *cas.DigestError
	var format *tree.FormatError
	switch {
	case errors.As(err, &mismatch):
		return failure{codes.InvalidArgument, http.StatusUnprocessableEntity}
	case errors.As(err, &digest), errors.As(err, &format):
		return failure{codes.InvalidArgument, http.StatusBadRequest}
	case errors.Is(err, cas.ErrNotFound):
		return failure{codes.NotFound, http.StatusNotFound}
	case errors.Is(err, cas.ErrReadOnly):
		return failure{codes.PermissionDenied, http.StatusForbidden}
	case errors.Is(err, cas.ErrTooLarge):
		return failure{codes.ResourceExhausted, http.StatusRequestEntityTooLarge}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return failure{codes.ResourceExhausted, http.StatusInsufficientStorage}
	case errors.Is(err, errors.ErrUnsupported):
		return failure{codes.FailedPrecondition, http.StatusNotImplemented}
	case errors.Is(err, cas.ErrUnavailable):
		return failure{codes.Unavailable, http.StatusServiceUnavailable}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failure{codes.Canceled, http.StatusServiceUnavailable}
	}
	return failure{codes.Internal, http.StatusInternalServerError}
}

// toStatus returns err as a gRPC status. What is one already stays as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	st := status.New(classify(err).grpc, err.Error())
	if info := infoOf(err); info != nil {
		if detailed, err := st.WithDetails(info); err == nil {
			st = detailed
		}
	}
	return st.Err()
}

// infoOf says what the code of err leaves open, nil for nothing.
func infoOf(err error) *errdetails.ErrorInfo {
	info := &errdetails.ErrorInfo{Domain: pb.ErrorDomain}
	var mismatch *cas.MismatchError
	switch {
	case errors.As(err, &mismatch):
		info.Reason = pb.ReasonMismatch
		if got := gotOf(err); !got.IsZero() {
			info.Metadata = map[string]string{pb.MetadataGot: got.String()}
		}
	case errors.Is(err, cas.ErrReadOnly):
		info.Reason = pb.ReasonReadOnly
	default:
		return nil
	}
	return info
}

// gotOf returns what came in place of the object that was announced, the zero
// Digest if that is unknown or err is of another kind.
func gotOf(err error) cas.Digest {
	var mismatch *cas.MismatchError
	if errors.As(err, &mismatch) {
		return mismatch.Got
	}
	return cas.Digest{}
}

// damaged says that an object which is here is broken, which is not the fault
// of whoever asks for it.
func damaged(err error) error {
	var mismatch *cas.MismatchError
	if errors.As(err, &mismatch) {
		return status.Error(codes.DataLoss, err.Error())
	}
	return err
}
