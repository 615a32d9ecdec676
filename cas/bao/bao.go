// Package bao proves parts of an object against the object's ordinary BLAKE3
// digest. BLAKE3 is a Merkle tree: of the hashes inside it, those that are
// kept aside tell for every part of the object whether it is the right one.
//
// # Groups and records
//
// An object is divided into groups of 64 KiB, of which the last may be
// shorter. Above them stand the parents of BLAKE3's tree, each with two
// children of 32 bytes: the object of n groups has n-1. There is exactly one
// parent whose left child ends, and whose right child begins, where group i
// begins, for every i from 1 to n-1. So the outboard is an array:
//
//	record i-1, at byte 64*(i-1): the left and the right child of the parent
//	that divides the object before group i
//
// and nothing else. It has one thousandth of the object's length. A record's
// place depends on nothing but i: outboards are written while the length is
// still unknown, and are filled in any order. Objects of one group have an
// empty outboard. The outboard needs no protection: every record is proved on
// the way from the digest down.
//
// # Slices
//
// A slice is what one side sends so that the other can prove a range: see
// Slice. It consists of the proof of the size, if that was asked for, followed
// by the range.
//
// The range is the tree in pre-order, left out what does not overlap the
// range: of a parent its 64 bytes and then its children, of a group its bytes.
// Groups are always sent whole.
//
// The proof of the size is the right edge of the tree, from the root to the
// last chunk (at most 1024 bytes), parents inside the last group included: of
// each parent its 64 bytes, then the bytes of the last chunk. The range then
// leaves out the parents that were sent already, those above the last group.
//
// # Why the size needs a proof
//
// A wrong size gives the tree another shape, but the ways from the root to
// most groups are the same in both shapes: all these groups verify. Only the
// last chunk tells. Its place is an input of its hash, and so is its length;
// a parent can't be taken for a chunk, since the hash says which one it is;
// and a chunk that is reached by going right at every parent is the last one.
// Nothing less will do: the hash of the last 64-byte block alone does not say
// how many blocks stand before it in the chunk.
//
// The bytes of a group are right even if the size is wrong, for the place of
// every chunk is proved. But who asks without a proof of the size must have
// had one before.
package bao

import (
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

// GroupSize is the number of bytes that are proved together. It is a part of
// the format of outboards and slices.
const GroupSize = 64 << 10

// ErrOutboard is what errors.Is finds when an outboard, rather than the bytes
// that it is about, was found to be wrong or too short. It can be made again
// from the object.
var ErrOutboard = errors.New("outboard is damaged")

// Error reports bytes that could not be proved to be a part of an object.
// errors.As finds a *cas.MismatchError in it.
type Error struct {
	Digest cas.Digest
	Reason string // what is wrong, as in "bytes 0 to 10 are wrong"
}

func (e *Error) Error() string { return fmt.Sprintf("object %s is corrupt: %s", e.Digest, e.Reason) }

// Unwrap returns a *cas.MismatchError.
func (e *Error) Unwrap() error { return &cas.MismatchError{Want: e.Digest} }

// OutboardSize returns the number of bytes in the outboard of an object of
// size bytes.
func OutboardSize(size int64) int64 { return max(groups(size)-1, 0) * recordSize }

// groups returns the number of groups that hold size bytes.
func groups(size int64) int64 {
	n := size / GroupSize
	if size%GroupSize != 0 {
		n++
	}
	return n
}
