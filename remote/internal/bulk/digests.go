package bulk

import (
	"fmt"

	"github.com/fstree/fstree/cas"
)

// AppendDigests appends the binary forms of ds to b.
func AppendDigests(b []byte, ds []cas.Digest) []byte {
	for _, d := range ds {
		b, _ = d.AppendBinary(b)
	}
	return b
}

// ParseDigests reads what AppendDigests writes.
func ParseDigests(b []byte) ([]cas.Digest, error) {
	ds := make([]cas.Digest, 0, len(b)/33)
	for len(b) > 0 {
		length := min(1+cas.Algorithm(b[0]).Size(), len(b))
		d, err := cas.DigestFromBytes(b[:length])
		if err != nil {
			return nil, fmt.Errorf("digest %d: %w", len(ds), err)
		}
		ds, b = append(ds, d), b[length:]
	}
	return ds, nil
}

// SizeToWire returns what stands for a size, -1 if unknown, in a message.
func SizeToWire(size int64) uint64 { return uint64(size + 1) }

// SizeFromWire is the inverse of SizeToWire. What no object can have is
// unknown.
func SizeFromWire(size uint64) int64 { return max(int64(size), 0) - 1 }
