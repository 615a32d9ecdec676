package cas

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
)

// Algorithm is the hash function behind a Digest. Its values are part of the
// binary form of a Digest and never change.
type Algorithm uint8

const (
	// BLAKE3 with 32 bytes of output names everything that this program writes.
	BLAKE3 Algorithm = 1
	// SHA1 names objects of trees written by old clients. Read only.
	SHA1 Algorithm = 2
	// SHA256 is accepted by old servers. Read only.
	SHA256 Algorithm = 3
)

const maxSumSize = 32

var algorithmNames = [...]string{BLAKE3: "blake3", SHA1: "sha1", SHA256: "sha256"}
var algorithmSizes = [...]int{BLAKE3: 32, SHA1: 20, SHA256: 32}

// String returns the algorithm's name as it stands before the colon of a
// digest's text form.
func (a Algorithm) String() string {
	if !a.valid() {
		return "none"
	}
	return algorithmNames[a]
}

// Size returns the number of bytes in a sum of a.
func (a Algorithm) Size() int {
	if !a.valid() {
		return 0
	}
	return algorithmSizes[a]
}

func (a Algorithm) valid() bool { return a >= BLAKE3 && a <= SHA256 }

// Digest names an object by its content. It is comparable, cannot be
// malformed, and its zero value names nothing.
type Digest struct {
	algorithm Algorithm
	sum       [maxSumSize]byte
}

// DigestError reports a text or a sequence of bytes that is no digest.
type DigestError struct {
	Text   string // what was given
	Reason string // what is wrong with it
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%q is not a digest: %s", e.Text, e.Reason)
}

// ParseDigest reads the text form ALGORITHM:HEX. Without an algorithm, 64 hex
// digits are BLAKE3 and 40 are SHA-1. Upper case is accepted. The error is a
// *DigestError.
func ParseDigest(text string) (Digest, error) {
	name, digits, found := strings.Cut(text, ":")
	if !found {
		name, digits = "", text
	}
	algorithm, err := parseAlgorithm(name, found, len(digits))
	if err != "" {
		return Digest{}, &DigestError{text, err}
	}
	if want := hex.EncodedLen(algorithm.Size()); len(digits) != want {
		return Digest{}, &DigestError{text, fmt.Sprintf("%s has %d hex digits, not %d", algorithm, want, len(digits))}
	}
	d := Digest{algorithm: algorithm}
	if _, err := hex.Decode(d.sum[:], []byte(digits)); err != nil {
		return Digest{}, &DigestError{text, "it holds a character that is not a hex digit"}
	}
	return d, nil
}

func parseAlgorithm(name string, named bool, digits int) (Algorithm, string) {
	if !named {
		switch digits {
		case hex.EncodedLen(BLAKE3.Size()):
			return BLAKE3, ""
		case hex.EncodedLen(SHA1.Size()):
			return SHA1, ""
		}
		return 0, "expected blake3:HEX with 64 hex digits"
	}
	switch strings.ToLower(name) {
	case "blake3":
		return BLAKE3, ""
	case "sha1":
		return SHA1, ""
	case "sha256":
		return SHA256, ""
	}
	return 0, "unknown algorithm, expected blake3, sha1 or sha256"
}

// MustParseDigest is ParseDigest for constants. It panics on an error.
func MustParseDigest(text string) Digest {
	d, err := ParseDigest(text)
	if err != nil {
		panic(err)
	}
	return d
}

// DigestFromBytes reads the binary form: one byte of algorithm, then the sum.
func DigestFromBytes(b []byte) (Digest, error) {
	if len(b) == 0 || !Algorithm(b[0]).valid() || len(b) != 1+Algorithm(b[0]).Size() {
		return Digest{}, &DigestError{string(b), "malformed binary form"}
	}
	d := Digest{algorithm: Algorithm(b[0])}
	copy(d.sum[:], b[1:])
	return d, nil
}

// Algorithm returns the hash function that d was made with, 0 for the zero
// Digest.
func (d Digest) Algorithm() Algorithm { return d.algorithm }

// IsZero tells whether d names nothing.
func (d Digest) IsZero() bool { return d.algorithm == 0 }

// Hex returns the sum alone, in lower-case hex.
func (d Digest) Hex() string { return hex.EncodeToString(d.sum[:d.algorithm.Size()]) }

// String returns the text form, "" for the zero Digest.
func (d Digest) String() string {
	text, _ := d.AppendText(nil)
	return string(text)
}

// AppendText appends the text form to b. It never fails.
func (d Digest) AppendText(b []byte) ([]byte, error) {
	if d.IsZero() {
		return b, nil
	}
	b = append(b, d.algorithm.String()...)
	b = append(b, ':')
	return hex.AppendEncode(b, d.sum[:d.algorithm.Size()]), nil
}

// MarshalText returns the text form.
func (d Digest) MarshalText() ([]byte, error) { return d.AppendText(nil) }

// UnmarshalText reads the text form as ParseDigest does.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

// AppendBinary appends the binary form, one byte of algorithm and the sum, to
// b. It never fails.
func (d Digest) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, byte(d.algorithm))
	return append(b, d.sum[:d.algorithm.Size()]...), nil
}

// MarshalBinary returns the binary form.
func (d Digest) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary reads the binary form; no bytes, or a single zero byte, are
// the zero Digest.
func (d *Digest) UnmarshalBinary(b []byte) (err error) {
	if len(b) == 0 || len(b) == 1 && b[0] == 0 {
		*d = Digest{}
		return nil
	}
	*d, err = DigestFromBytes(b)
	return err
}

// Compare orders digests by algorithm and then by sum: -1, 0 or +1.
func (d Digest) Compare(other Digest) int {
	if d.algorithm != other.algorithm {
		return int(d.algorithm) - int(other.algorithm)
	}
	return bytes.Compare(d.sum[:], other.sum[:])
}
