package bao_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	reference "lukechampine.com/blake3/bao"
)

const benchSize = 16 << 20

// BenchmarkHash compares what makes a digest alone with what makes an outboard
// beside it.
func BenchmarkHash(b *testing.B) {
	data := noise()
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				f()
			}
		})
	}
	write := func(w io.Writer, step int) {
		for at := 0; at < len(data); at += step {
			w.Write(data[at : at+step])
		}
	}
	run("digest alone", func() {
		h := cas.NewHasher(cas.BLAKE3)
		write(h, 256<<10)
		h.Digest()
		h.Release()
	})
	for _, step := range []int{64 << 10, 256 << 10, 1 << 20} {
		run("Hasher in steps of "+map[int]string{64 << 10: "64 KiB", 256 << 10: "256 KiB", 1 << 20: "1 MiB"}[step], func() {
			h := bao.NewHasher(nowhere{})
			write(h, step)
			h.Finish()
		})
	}
	run("HashAt", func() { bao.HashAt(b.Context(), bytes.NewReader(data), benchSize, nowhere{}) })
	run("reference", func() { reference.Encode(nowhere{}, bytes.NewReader(data), benchSize, 6, true) })
}

func BenchmarkHashAtFile(b *testing.B) {
	file := benchFile(b, noise())
	b.SetBytes(benchSize)
	for b.Loop() {
		if _, err := bao.HashAt(b.Context(), file, benchSize, nowhere{}); err != nil {
			b.Fatal(err)
		}
	}
}

func benchFile(b *testing.B, data []byte) *os.File {
	path := filepath.Join(b.TempDir(), "object")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	return file
}

var benchSlices = []struct {
	name string
	s    bao.Slice
}{
	{"4 KiB and the size", bao.Slice{Size: benchSize, Off: 5 << 20, Len: 4096, ProveSize: true}},
	{"16 MiB", bao.Slice{Size: benchSize, Len: benchSize}},
}

func BenchmarkWriteSlice(b *testing.B) {
	o := newObject(b, benchSize)
	for _, bench := range benchSlices {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(bench.s.EncodedSize())
			for b.Loop() {
				bao.WriteSlice(io.Discard, bytes.NewReader(o.data), o.outboard, bench.s)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	o := newObject(b, benchSize)
	for _, bench := range benchSlices {
		slice := o.slice(b, bench.s)
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(slice)))
			b.ReportAllocs()
			for b.Loop() {
				d, err := bao.NewDecoder(o.digest, bench.s, bytes.NewReader(slice))
				for err == nil {
					_, _, err = d.Next()
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadAt(b *testing.B) {
	o := newObject(b, benchSize)
	file, outboard := benchFile(b, o.data), benchFile(b, o.outboard)
	r, err := bao.NewReaderAt(o.digest, benchSize, file, outboard)
	if err != nil {
		b.Fatal(err)
	}
	for _, step := range []struct {
		name string
		n    int64
	}{{"4 KiB", 4 << 10}, {"128 KiB", 128 << 10}, {"1 MiB", 1 << 20}} {
		b.Run(step.name, func(b *testing.B) {
			p := make([]byte, step.n)
			b.SetBytes(step.n)
			b.ReportAllocs()
			for off := int64(0); b.Loop(); off = (off + step.n) % benchSize {
				if _, err := r.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
