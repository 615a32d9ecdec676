package cas

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
)

// NewObject returns an open Object over data, which must not change and must
// have been verified.
func NewObject(data []byte) RandomObject {
	return &bytesObject{Reader: bytes.NewReader(data), data: data}
}

type bytesObject struct {
	*bytes.Reader
	data []byte
}

func (o *bytesObject) Size() int64   { return int64(len(o.data)) }
func (o *bytesObject) Close() error  { return nil }
func (o *bytesObject) Bytes() []byte { return o.data }

// Verify returns r as the Object d: reading hashes, and ends in a
// *MismatchError if the bytes are not d. size is the length that r is said to
// have, -1 if unknown; a longer or shorter r is a mismatch as well, found
// before any byte beyond it is delivered.
func Verify(d Digest, r io.ReadCloser, size int64) Object {
	return &verifier{want: d, r: r, size: size, hasher: NewHasher(d.Algorithm())}
}

type verifier struct {
	want   Digest
	r      io.ReadCloser
	size   int64
	read   int64
	hasher *Hasher
	err    error
}

func (v *verifier) Size() int64 { return v.size }

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	if v.size >= 0 && v.read+int64(n) > v.size {
		v.err = &MismatchError{Want: v.want}
		return 0, v.err
	}
	v.read += int64(n)
	v.hasher.Write(p[:n])
	if err == io.EOF {
		err = v.verdict()
	}
	v.err = err
	return n, err
}

func (v *verifier) verdict() error {
	if v.size >= 0 && v.read != v.size {
		return &MismatchError{Want: v.want}
	}
	if got := v.hasher.Digest(); got != v.want {
		return &MismatchError{Want: v.want, Got: got}
	}
	return io.EOF
}

func (v *verifier) Close() error {
	if v.hasher != nil {
		v.hasher.Release()
		v.hasher = nil
		v.err = fs.ErrClosed
	}
	return v.r.Close()
}

// ReadAll returns the verified bytes of d from g. An object of more than limit
// bytes fails with ErrTooLarge. The bytes may be shared: do not change them.
func ReadAll(ctx context.Context, g Getter, d Digest, limit int64) ([]byte, error) {
	o, err := g.Get(ctx, d)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Size() > limit {
		return nil, tooLarge(d, limit)
	}
	if b, ok := o.(interface{ Bytes() []byte }); ok {
		return b.Bytes(), nil
	}
	// The size is a claim until the end, so it doesn't get to allocate much.
	buf := bytes.NewBuffer(make([]byte, 0, min(max(o.Size(), 0), 1<<20)+bytes.MinRead))
	n, err := buf.ReadFrom(io.LimitReader(o, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLarge(d, limit)
	}
	return buf.Bytes(), nil
}

func tooLarge(d Digest, limit int64) error {
	return fmt.Errorf("object %s has more than %d bytes: %w", d, limit, ErrTooLarge)
}
