package cas_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
)

func open(d cas.Digest, data []byte, size int64) cas.Object {
	return cas.Verify(d, io.NopCloser(iotest.OneByteReader(bytes.NewReader(data))), size)
}

func TestVerifyDeliversWhatTheDigestNames(t *testing.T) {
	data := []byte("some bytes")
	for _, size := range []int64{-1, int64(len(data))} {
		got, err := io.ReadAll(open(cas.Sum(data), data, size))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("size %d: %q, %v", size, got, err)
		}
	}
}

func TestVerifyRefusesWrongBytesAndLengths(t *testing.T) {
	data := []byte("some bytes")
	d := cas.Sum(data)
	for _, test := range []struct {
		name string
		data []byte
		size int64
	}{
		{"other bytes", []byte("SOME bytes"), -1},
		{"other bytes of the right size", []byte("SOME bytes"), 10},
		{"ends early", data[:5], -1},
		{"ends before the size", data[:5], 10},
		{"goes on", append(data[:10:10], '!'), -1},
		{"goes on behind the size", append(data[:10:10], '!'), 10},
		{"right bytes, wrong size", data, 11},
		{"nothing", nil, -1},
	} {
		got, err := io.ReadAll(open(d, test.data, test.size))
		var mismatch *cas.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Want != d {
			t.Errorf("%s: %v, want a MismatchError", test.name, err)
		}
		if test.size >= 0 && int64(len(got)) > test.size {
			t.Errorf("%s: delivered %d bytes", test.name, len(got))
		}
	}
}

func TestVerifyPassesTheSourcesErrorOn(t *testing.T) {
	broken := errors.New("source broke")
	o := cas.Verify(cas.Sum(nil), io.NopCloser(iotest.ErrReader(broken)), -1)
	if _, err := io.ReadAll(o); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	o.Close()
	if _, err := o.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read of a closed object: %v", err)
	}
}
