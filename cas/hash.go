package cas

import (
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/zeebo/blake3"
)

// Sum returns the BLAKE3 digest of data.
func Sum(data []byte) Digest {
	return Digest{algorithm: BLAKE3, sum: blake3.Sum256(data)}
}

// Names tells whether data is the object that d names.
func (d Digest) Names(data []byte) bool {
	switch d.algorithm {
	case BLAKE3:
		return blake3.Sum256(data) == d.sum
	case SHA1:
		sum := sha1.Sum(data)
		return sum == [20]byte(d.sum[:20])
	case SHA256:
		return sha256.Sum256(data) == d.sum
	}
	return false
}

// Hasher computes a Digest of what is written to it. Get one from NewHasher,
// give it back with Release.
type Hasher struct {
	algorithm Algorithm
	hash      hash.Hash
}

// A BLAKE3 state is 2 KiB and worth keeping; the others are rare.
var blake3Hashers = sync.Pool{New: func() any {
	return &Hasher{algorithm: BLAKE3, hash: blake3.New()}
}}

// NewHasher returns a Hasher for a, which must be a real algorithm.
func NewHasher(a Algorithm) *Hasher {
	switch a {
	case BLAKE3:
		return blake3Hashers.Get().(*Hasher)
	case SHA1:
		return &Hasher{algorithm: a, hash: sha1.New()}
	case SHA256:
		return &Hasher{algorithm: a, hash: sha256.New()}
	}
	panic("cas: no such algorithm: " + a.String())
}

// Write adds p to the object. It never fails.
func (h *Hasher) Write(p []byte) (int, error) { return h.hash.Write(p) }

// Digest returns the digest of what was written so far.
func (h *Hasher) Digest() Digest {
	d := Digest{algorithm: h.algorithm}
	h.hash.Sum(d.sum[:0])
	return d
}

// Release gives h back for reuse. h must not be used afterwards.
func (h *Hasher) Release() {
	if h.algorithm == BLAKE3 {
		h.hash.Reset()
		blake3Hashers.Put(h)
	}
}
