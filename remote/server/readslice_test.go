package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	pb "github.com/fstree/fstree/proto"
)

func TestSlicesThroughGRPC(t *testing.T) {
	castest.RunSlicer(t, func(t *testing.T) castest.SlicingStore {
		url, _ := start(t, &memory.Store{})
		return open(t, url).(castest.SlicingStore)
	})
}

func TestRangesThatAreNoneAreRefused(t *testing.T) {
	store := &memory.Store{}
	d, _, _ := store.Add(t.Context(), bytes.NewReader(castest.Bytes(3<<20, 1)))
	digest, _ := d.MarshalBinary()
	client := pb.NewStoreServiceClient(dial(t, store))
	for name, request := range map[string]*pb.ReadSliceRequest{
		"no digest":        {Size: 3<<20 + 1},
		"no size":          {Digest: digest, Length: 1},
		"size overflows":   {Digest: digest, Size: 1<<63 + 1},
		"beyond the end":   {Digest: digest, Size: 3<<20 + 1, Offset: 3 << 20, Length: 1},
		"offset is behind": {Digest: digest, Size: 3<<20 + 1, Offset: 3<<20 + 1},
		"sum overflows":    {Digest: digest, Size: 3<<20 + 1, Offset: 10, Length: 1<<64 - 5},
	} {
		stream, err := client.ReadSlice(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// whole is a store that proves no parts.
type whole struct{ cas.Store }

func TestStoreWithoutSlicesSaysSo(t *testing.T) {
	store := &memory.Store{}
	d, _, _ := store.Add(t.Context(), strings.NewReader("hello"))
	url, _ := start(t, whole{store})
	s := open(t, url)
	_, err := s.(bao.Slicer).Slice(t.Context(), d, bao.Slice{Size: 5, Len: 5})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if got, err := cas.ReadAll(t.Context(), s, d, 10); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// prepared is a store whose slices were made before.
type prepared struct {
	memory.Store
	slice []byte
}

func BenchmarkReadSlice(b *testing.B) {
	var made memory.Store
	d, _, err := made.Add(b.Context(), bytes.NewReader(castest.Bytes(large, 1)))
	if err != nil {
		b.Fatal(err)
	}
	slice := bao.Slice{Size: large, Len: large, ProveSize: true}
	r, err := made.Slice(b.Context(), d, slice)
	if err != nil {
		b.Fatal(err)
	}
	encoded, _ := io.ReadAll(r)
	url, _ := start(b, &prepared{slice: encoded})
	s := open(b, url).(bao.Slicer)
	b.SetBytes(large)
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.Slice(b.Context(), d, slice)
		if err != nil {
			b.Fatal(err)
		}
		decode(b, d, slice, r)
	}
}

func (p *prepared) Slice(context.Context, cas.Digest, bao.Slice) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p.slice)), nil
}

func decode(b *testing.B, d cas.Digest, slice bao.Slice, r io.ReadCloser) {
	b.Helper()
	defer r.Close()
	decoder, err := bao.NewDecoder(d, slice, r)
	for err == nil {
		_, _, err = decoder.Next()
	}
	if err != io.EOF {
		b.Fatal(err)
	}
}
