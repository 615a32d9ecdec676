package cas

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is what errors.Is finds in the error of a store that does
	// not hold an object. The error itself is a *NotFoundError.
	ErrNotFound = errors.New("object not found")

	// ErrUnavailable is what errors.Is finds when a store could not be asked:
	// it is out of reach, does not answer, or is shutting down. Trying again
	// later may help.
	ErrUnavailable = errors.New("store unavailable")

	// ErrReadOnly is what errors.Is finds when a store takes no objects.
	ErrReadOnly = errors.New("store is read-only")

	// ErrTooLarge is what errors.Is finds when an object exceeds the bound its
	// reader has set.
	ErrTooLarge = errors.New("object too large")
)

// NotFoundError names an object that a store does not hold.
type NotFoundError struct {
	Digest Digest
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("object %s not found", e.Digest) }

// Is makes errors.Is(e, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// MismatchError reports bytes that are not the object they were said to be.
type MismatchError struct {
	Want Digest // the object asked for
	Got  Digest // what the bytes are; zero if they ended early or never ended
}

func (e *MismatchError) Error() string {
	if e.Got.IsZero() {
		return fmt.Sprintf("object %s is corrupt: wrong length", e.Want)
	}
	return fmt.Sprintf("object %s is corrupt: its bytes are %s", e.Want, e.Got)
}

// IsAbsent tells whether err says that a store does not hold an object: it is
// not there, or what is there is damaged. Storing it again mends both.
func IsAbsent(err error) bool {
	var mismatch *MismatchError
	return errors.Is(err, ErrNotFound) || errors.As(err, &mismatch)
}
