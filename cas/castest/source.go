package castest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// Source is an object that is sent in slices.
type Source struct {
	Data     []byte
	Digest   cas.Digest
	Outboard bao.Buffer
}

// NewSource returns a Source of Bytes(n, seed).
func NewSource(n int, seed uint64) *Source {
	s := &Source{Data: Bytes(n, seed)}
	s.Digest, _ = bao.HashAt(context.Background(), bytes.NewReader(s.Data), int64(n), &s.Outboard)
	return s
}

// Size returns the length of the object.
func (s *Source) Size() int64 { return int64(len(s.Data)) }

// Slice returns a slice as it is sent.
func (s *Source) Slice(slice bao.Slice) []byte {
	var b bytes.Buffer
	bao.WriteSlice(&b, bytes.NewReader(s.Data), s.Outboard, slice)
	return b.Bytes()
}

// Fill adds to p what is missing of n bytes from off.
func (s *Source) Fill(ctx context.Context, p bao.PartialObject, off, n int64) error {
	for _, slice := range p.Missing(off, n) {
		if err := p.Add(ctx, slice, bytes.NewReader(s.Slice(slice))); err != nil {
			return err
		}
	}
	return nil
}

// MustFill is Fill in a test that goes no further without.
func (s *Source) MustFill(t testing.TB, p bao.PartialObject, off, n int64) {
	t.Helper()
	if err := s.Fill(t.Context(), p, off, n); err != nil {
		t.Fatalf("%d bytes from %d: %v", n, off, err)
	}
}

// Read reads n bytes from off, and returns an error for bytes that are not right.
func (s *Source) Read(p io.ReaderAt, off, n int64) error {
	got := make([]byte, n)
	m, err := p.ReadAt(got, off)
	if err != nil && (err != io.EOF || int64(m) != n) {
		return err
	}
	if !bytes.Equal(got, s.Data[off:off+n]) {
		return fmt.Errorf("%d bytes from %d are wrong", n, off)
	}
	return nil
}

// Expect is Read in a test that goes no further without.
func (s *Source) Expect(t testing.TB, p io.ReaderAt, off, n int64) {
	t.Helper()
	if err := s.Read(p, off, n); err != nil {
		t.Fatalf("%d bytes from %d: %v", n, off, err)
	}
}

// ReadSlice has s send a slice of d, whose bytes are data, and verifies it. It
// returns an error for bytes that are not right or do not come, too.
func ReadSlice(ctx context.Context, s bao.Slicer, d cas.Digest, slice bao.Slice, data []byte) error {
	r, err := s.Slice(ctx, d, slice)
	if err != nil {
		return err
	}
	defer r.Close()
	decoder, err := bao.NewDecoder(d, slice, r)
	if err != nil {
		return err
	}
	covered := int64(0)
	for {
		off, group, err := decoder.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(group, data[off:off+int64(len(group))]) {
			return fmt.Errorf("the bytes of %+v are wrong at %d", slice, off)
		}
		covered += min(off+int64(len(group)), slice.Off+slice.Len) - max(off, slice.Off)
	}
	if covered != slice.Len {
		return fmt.Errorf("of %+v only %d bytes came", slice, covered)
	}
	return nil
}
