package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
)

// What is measured: the store of the owner, of a client beside it, and plain
// files that are hashed, written under another name and renamed, all in the
// same file system, by as many goroutines as GOMAXPROCS times 8.
var contenders = []entrant{
	{"owner", func(b *testing.B) contender { return storeContender{openOwner(b, b.TempDir())} }},
	{"client", func(b *testing.B) contender {
		dir := b.TempDir()
		openOwner(b, dir)
		return storeContender{openClient(b, dir)}
	}},
	{"files", func(b *testing.B) contender { return &plainFiles{dir: b.TempDir()} }},
}

// writers have beside them what nobody who hashes and writes can go below.
var writers = append(slices.Clip(contenders),
	entrant{"bytes", func(b *testing.B) contender { return &bareBytes{dir: b.TempDir()} }})

type entrant struct {
	name string
	open func(b *testing.B) contender
}

type contender interface {
	put(r io.Reader) (cas.Digest, error)
	// together calls store with what puts objects that nobody needs before all
	// of them are there, as the files of a directory are put.
	together(store func(put func(r io.Reader) error) error) error
	get(d cas.Digest) error
	has(d cas.Digest) (bool, error)
}

type storeContender struct{ s *Store }

func (c storeContender) put(r io.Reader) (cas.Digest, error) {
	d, _, err := c.s.Add(context.Background(), r)
	return d, err
}

func (c storeContender) together(store func(put func(r io.Reader) error) error) error {
	return c.s.AddMany(context.Background(), func(a cas.Adder) error {
		return store(func(r io.Reader) error {
			_, _, err := a.Add(context.Background(), r)
			return err
		})
	})
}

func (c storeContender) get(d cas.Digest) error {
	o, err := c.s.Get(context.Background(), d)
	if err != nil {
		return err
	}
	defer o.Close()
	_, err = io.Copy(io.Discard, o)
	return err
}

func (c storeContender) has(d cas.Digest) (bool, error) {
	present, err := c.s.Has(context.Background(), []cas.Digest{d})
	return err == nil && present[0], err
}

// plainFiles keeps each object in a file, and reads without verifying.
type plainFiles struct {
	dir  string
	next atomic.Int64
}

func (p *plainFiles) path(d cas.Digest) string {
	return filepath.Join(p.dir, d.Hex()[:2], d.Hex()[2:])
}

func (p *plainFiles) put(r io.Reader) (cas.Digest, error) {
	temp := filepath.Join(p.dir, fmt.Sprintf("new-%d", p.next.Add(1)))
	f, err := os.Create(temp)
	if err != nil {
		return cas.Digest{}, err
	}
	hasher := cas.NewHasher(cas.BLAKE3)
	defer hasher.Release()
	buf := heads.Get().(*head)
	defer heads.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, hasher)}, r, buf[:]); err != nil {
		return cas.Digest{}, err
	}
	if err := f.Close(); err != nil {
		return cas.Digest{}, err
	}
	d := hasher.Digest()
	err = os.Rename(temp, p.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		os.Mkdir(filepath.Dir(p.path(d)), 0o700)
		err = os.Rename(temp, p.path(d))
	}
	return d, err
}

func (p *plainFiles) together(store func(put func(r io.Reader) error) error) error {
	return store(func(r io.Reader) error {
		_, err := p.put(r)
		return err
	})
}

func (p *plainFiles) get(d cas.Digest) error {
	f, err := os.Open(p.path(d))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

func (p *plainFiles) has(d cas.Digest) (bool, error) {
	_, err := os.Stat(p.path(d))
	return err == nil, err
}

// bareBytes hashes objects and appends them to a few files, one for each goroutine
// that is at it, in large pieces. It has no names and no index, so that none of
// them is ever found again.
type bareBytes struct {
	contender // reads nothing
	dir       string

	mu   sync.Mutex
	idle []*bareFile
	made int
}

type bareFile struct {
	*os.File
	buf []byte
}

func (c *bareBytes) put(r io.Reader) (cas.Digest, error) {
	f, err := c.take()
	if err != nil {
		return cas.Digest{}, err
	}
	defer c.give(f)
	start := len(f.buf)
	n, err := fill(r, f.buf[start:start+inlineLimit+1])
	object := f.buf[start : start+n]
	f.buf = f.buf[:start+n]
	if err == io.EOF {
		if len(f.buf) >= batchBytes {
			return cas.Sum(object), f.flush()
		}
		return cas.Sum(object), nil
	}
	hasher := cas.NewHasher(cas.BLAKE3)
	defer hasher.Release()
	hasher.Write(object)
	if err := f.flush(); err != nil {
		return cas.Digest{}, err
	}
	return hasher.Digest(), copyAll(io.MultiWriter(f, hasher), r)
}

func (c *bareBytes) take() (*bareFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.idle) - 1; last >= 0 {
		f := c.idle[last]
		c.idle = c.idle[:last]
		return f, nil
	}
	c.made++
	f, err := os.Create(filepath.Join(c.dir, fmt.Sprint(c.made)))
	return &bareFile{f, make([]byte, 0, batchBytes+maxRecord)}, err
}

func (c *bareBytes) give(f *bareFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, f)
}

func (f *bareFile) flush() error {
	_, err := f.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (c *bareBytes) together(store func(put func(r io.Reader) error) error) error {
	err := store(func(r io.Reader) error {
		_, err := c.put(r)
		return err
	})
	for _, f := range c.idle {
		err = errors.Join(err, f.flush(), f.Close())
	}
	return err
}

// stream is an object of n bytes that no other stream shares.
type stream struct {
	block []byte
	left  int
	id    uint64
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.left)], s.block)
	if n >= 8 {
		binary.LittleEndian.PutUint64(p, s.id)
	}
	s.left -= n
	return n, nil
}

func benchmark(b *testing.B, entrants []entrant, run func(b *testing.B, c contender, size int)) {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 1 << 20, 64 << 20} {
		for _, c := range entrants {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, c.name), func(b *testing.B) {
				b.SetParallelism(8)
				run(b, c.open(b), size)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
				b.ReportMetric(float64(b.N)*float64(size)/1e6/b.Elapsed().Seconds(), "MB/s")
			})
		}
	}
}

// measured measures fn, and how much processor time it takes: that says more than
// the clock where others are busy as well.
func measured(b *testing.B, fn func()) {
	b.ResetTimer()
	before := processorTime()
	fn()
	b.StopTimer()
	b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func inParallel(b *testing.B, fn func() error) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := fn(); err != nil {
				b.Error(err)
			}
		}
	})
}

func processorTime() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkPut(b *testing.B) {
	benchmark(b, writers, func(b *testing.B, c contender, size int) {
		block := castest.Bytes(1<<20, 1)
		var id atomic.Uint64
		measured(b, func() {
			inParallel(b, func() error {
				_, err := c.put(&stream{block, size, id.Add(1)})
				return err
			})
		})
	})
}

func BenchmarkPutMany(b *testing.B) {
	benchmark(b, writers, func(b *testing.B, c contender, size int) {
		block := castest.Bytes(1<<20, 1)
		var id atomic.Uint64
		measured(b, func() {
			err := c.together(func(put func(r io.Reader) error) error {
				inParallel(b, func() error { return put(&stream{block, size, id.Add(1)}) })
				return nil
			})
			if err != nil {
				b.Error(err)
			}
		})
	})
}

// stored puts some objects and returns their digests.
func stored(b *testing.B, c contender, size int) []cas.Digest {
	ds := make([]cas.Digest, max(1, min(5000, 256<<20/size)))
	block := castest.Bytes(1<<20, 1)
	for i := range ds {
		var err error
		if ds[i], err = c.put(&stream{block, size, uint64(i)}); err != nil {
			b.Fatal(err)
		}
	}
	return ds
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, contenders, func(b *testing.B, c contender, size int) {
		ds := stored(b, c, size)
		var next atomic.Uint64
		measured(b, func() {
			inParallel(b, func() error { return c.get(ds[next.Add(1)%uint64(len(ds))]) })
		})
	})
}

func BenchmarkHas(b *testing.B) {
	benchmark(b, contenders, func(b *testing.B, c contender, size int) {
		ds := stored(b, c, size)
		var next atomic.Uint64
		measured(b, func() {
			inParallel(b, func() error {
				present, err := c.has(ds[next.Add(1)%uint64(len(ds))])
				if err == nil && !present {
					err = errors.New("not there")
				}
				return err
			})
		})
	})
}

// BenchmarkOneLarge stores one object of 64 MiB at a time, and does apart what
// that consists of, each with one thread: the digest alone, the digest and the
// outboard as the store makes them, and writing. Hashing and writing have a core
// each, so the slower of them is the limit.
func BenchmarkOneLarge(b *testing.B) {
	const size = 64 << 20
	block := castest.Bytes(1<<20, 1)
	measure := func(name string, consume func(b *testing.B) func(io.Reader) error) {
		b.Run(name, func(b *testing.B) {
			fn := consume(b)
			id := uint64(0)
			for b.Loop() {
				id++
				if err := fn(&stream{block, size, id}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*size/1e6/b.Elapsed().Seconds(), "MB/s")
		})
	}
	measure("put", func(b *testing.B) func(io.Reader) error {
		s := openOwner(b, b.TempDir())
		return func(r io.Reader) error { _, _, err := s.Add(b.Context(), r); return err }
	})
	measure("hash", func(*testing.B) func(io.Reader) error {
		hasher := cas.NewHasher(cas.BLAKE3)
		return func(r io.Reader) error { return copyAll(hasher, r) }
	})
	measure("outboard", func(*testing.B) func(io.Reader) error {
		return func(r io.Reader) error {
			var outboard bao.Buffer
			hasher := bao.NewHasher(&outboard)
			if err := copyAll(hasher, r); err != nil {
				return err
			}
			_, _, err := hasher.Finish()
			return err
		}
	})
	measure("write", func(b *testing.B) func(io.Reader) error {
		path := filepath.Join(b.TempDir(), "file")
		return func(r io.Reader) error {
			os.Remove(path)
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return copyAll(f, r)
		}
	})
}

// copyAll copies in pieces of the size that the store uses.
func copyAll(w io.Writer, r io.Reader) error {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, r, buf[:])
	return err
}

// BenchmarkAddParts adds an object in one slice, as it comes from memory, with
// its promotion and without.
func BenchmarkAddParts(b *testing.B) {
	const size = 512 << 20
	from := newSource(size, 1)
	slice := bao.Slice{Size: size, Len: size, ProveSize: true}
	sent := from.Slice(slice)
	for _, whole := range []bool{true, false} {
		b.Run(fmt.Sprintf("whole=%v", whole), func(b *testing.B) {
			s := openOwner(b, b.TempDir())
			b.SetBytes(size)
			for b.Loop() {
				p := from.open(b, s)
				sent := sent
				if !whole {
					sent = sent[:len(sent)-1]
				}
				err := p.Add(b.Context(), slice, bytes.NewReader(sent))
				if (err == nil) != whole {
					b.Fatal(err)
				}
				p.Close()
				b.StopTimer()
				if err := s.SetAside(b.Context(), from.Digest); err != nil {
					b.Fatal(err)
				}
				os.RemoveAll(s.path(damagedDir))
				os.Mkdir(s.path(damagedDir), 0o700)
				removeAll(s.partPath(from.Digest, size))
				b.StartTimer()
			}
		})
	}
}

func BenchmarkReadParts(b *testing.B) {
	from := newSource(64<<20, 1)
	s := openOwner(b, b.TempDir())
	p := from.open(b, s)
	from.MustFill(b, p, 0, 63<<20)
	for _, n := range []int{4 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			b.SetBytes(int64(n))
			buf := make([]byte, n)
			for at := 0; b.Loop(); at = (at + n) % (62 << 20) {
				if _, err := p.ReadAt(buf, int64(at)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
