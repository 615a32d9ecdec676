package server_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
)

// sink is a store that hashes what it is given, and forgets it.
type sink struct{ memory.Store }

func (s *sink) Put(_ context.Context, d cas.Digest, r io.Reader) error {
	o := cas.Verify(d, io.NopCloser(r), -1)
	defer o.Close()
	buf := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{o}, buf[:])
	return err
}

var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

const manyObjects = 20_000

func many(b *testing.B, store *memory.Store) (ds []cas.Digest, data [][]byte) {
	for i := range manyObjects {
		object := castest.Bytes(4096, uint64(i))
		object[0], object[1] = byte(i), byte(i>>8)
		d, _, err := store.Add(b.Context(), bytes.NewReader(object))
		if err != nil {
			b.Fatal(err)
		}
		ds, data = append(ds, d), append(data, object)
	}
	return ds, data
}

func perObject(b *testing.B) {
	b.ReportMetric(float64(b.N)*manyObjects/b.Elapsed().Seconds(), "objects/s")
}

func BenchmarkGetMany(b *testing.B) {
	store := &memory.Store{}
	ds, _ := many(b, store)
	url, _ := start(b, store)
	s := open(b, url)
	b.ReportAllocs()
	for b.Loop() {
		if err := cas.GetMany(b.Context(), s, ds, 16, func(_ cas.Digest, _ cas.Object, err error) error { return err }); err != nil {
			b.Fatal(err)
		}
	}
	perObject(b)
}

func BenchmarkPutMany(b *testing.B) {
	ds, data := many(b, &memory.Store{})
	url, _ := start(b, &sink{})
	s := open(b, url)
	b.ReportAllocs()
	for b.Loop() {
		err := cas.PutMany(b.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
			for i, d := range ds {
				if !yield(d, cas.NewObject(data[i])) {
					return
				}
			}
		}, 16, func(_ cas.Digest, err error) error { return err })
		if err != nil {
			b.Fatal(err)
		}
	}
	perObject(b)
}

const large = 256 << 20

func BenchmarkGetLarge(b *testing.B) {
	store := &memory.Store{}
	d, _, err := store.Add(b.Context(), bytes.NewReader(castest.Bytes(large, 1)))
	if err != nil {
		b.Fatal(err)
	}
	grpcURL, httpURL := start(b, store)
	read := func(b *testing.B, o cas.Object) {
		buf := buffers.Get().(*[256 << 10]byte)
		defer buffers.Put(buf)
		if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{o}, buf[:]); err != nil || n != large {
			b.Fatal(n, err)
		}
	}
	for name, url := range map[string]string{"grpc": grpcURL, "http": httpURL} {
		b.Run(name, func(b *testing.B) {
			s := open(b, url)
			b.SetBytes(large)
			b.ReportAllocs()
			for b.Loop() {
				o, err := s.Get(b.Context(), d)
				if err != nil {
					b.Fatal(err)
				}
				read(b, o)
				o.Close()
			}
		})
	}
	b.Run("batch", func(b *testing.B) {
		s := open(b, grpcURL)
		b.SetBytes(large)
		b.ReportAllocs()
		for b.Loop() {
			err := cas.GetMany(b.Context(), s, []cas.Digest{d}, 1, func(_ cas.Digest, o cas.Object, err error) error {
				if err == nil {
					read(b, o)
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPutLarge(b *testing.B) {
	data := castest.Bytes(large, 1)
	d := cas.Sum(data)
	grpcURL, httpURL := start(b, &sink{})
	for name, url := range map[string]string{"grpc": grpcURL, "http": httpURL} {
		b.Run(name, func(b *testing.B) {
			s := open(b, url)
			b.SetBytes(large)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Put(b.Context(), d, cas.NewObject(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("batch", func(b *testing.B) {
		s := open(b, grpcURL)
		b.SetBytes(large)
		b.ReportAllocs()
		for b.Loop() {
			err := cas.PutMany(b.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
				yield(d, cas.NewObject(data))
			}, 1, func(_ cas.Digest, err error) error { return err })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
