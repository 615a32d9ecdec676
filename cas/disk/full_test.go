package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
)

// TestFullDisk runs fillDisk where it may mount a small file system.
func TestFullDisk(t *testing.T) {
	p := start(t, t.TempDir(), "fill")
	for p.out.Scan() {
		t.Log(p.out.Text())
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v", err)
	}
}

// fillDisk fills a file system of 128 MiB, first by storing objects, then, by
// somebody else's hand, to the last byte.
func fillDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128m,mode=0700"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	cache := filepath.Join(dir, "cache")
	f := &filler{held: map[cas.Digest]int{}, parts: newSource(3<<20+17, 99)}
	if err := f.use(cache, f.fill); err != nil {
		return err
	}
	foreign := filepath.Join(dir, "foreign")
	for range 5 {
		if err := fillWith(foreign); err != nil {
			return err
		}
		if err := f.use(cache, f.full); err != nil {
			return fmt.Errorf("full: %w", err)
		}
	}
	if err := os.Remove(foreign); err != nil {
		return err
	}
	return f.use(cache, f.free)
}

func fillWith(path string) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := w.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}

// filler knows what it has stored.
type filler struct {
	store *Store
	held  map[cas.Digest]int
	parts *source
	next  uint64
}

func (f *filler) use(dir string, fn func() error) (err error) {
	if f.store, err = Open(dir, Options{}); err != nil {
		return err
	}
	return errors.Join(fn(), f.store.Close())
}

func (f *filler) put(size int) error {
	f.next++
	data := castest.Bytes(size, f.next)
	d := cas.Sum(data)
	err := f.store.Put(context.Background(), d, bytes.NewReader(data))
	if err == nil {
		f.held[d] = size
	}
	return err
}

// fill puts objects until there is no room for any.
func (f *filler) fill() error {
	if err := f.withParts(func(p bao.PartialObject) error { return f.parts.Fill(context.Background(), p, 0, 1<<20) }); err != nil {
		return err
	}
	for _, size := range []int{5 << 20, 20_000} {
		for {
			err := f.put(size)
			if errors.Is(err, syscall.ENOSPC) {
				fmt.Println("full:", err)
				break
			}
			if err != nil {
				return err
			}
		}
	}
	fmt.Println(len(f.held), "objects stored")
	return f.check()
}

// check reads what is held, and looks for what is left of what is not.
func (f *filler) check() error {
	for d := range f.held {
		data, err := cas.ReadAll(context.Background(), f.store, d, 1<<30)
		if err != nil || !d.Names(data) {
			return fmt.Errorf("read: %w", err)
		}
	}
	left, err := os.ReadDir(f.store.path(tmpDir))
	if err != nil || len(left) > 0 {
		return fmt.Errorf("%d temporary files are left: %w", len(left), err)
	}
	return nil
}

// full uses the store where there is not one byte of room.
func (f *filler) full() error {
	for _, size := range []int{100_000, 1000} {
		if err := f.put(size); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("put on a full disk: %w", err)
		}
	}
	err := f.withParts(func(p bao.PartialObject) error {
		err := f.parts.Fill(context.Background(), p, 2<<20, 1)
		if !errors.As(err, new(*bao.KeepError)) || !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("parts on a full disk: %w", err)
		}
		return f.parts.Read(p, 0, 1<<20)
	})
	return errors.Join(err, f.check())
}

// withParts runs fn with a partial object.
func (f *filler) withParts(fn func(bao.PartialObject) error) error {
	p, err := f.store.OpenPartial(context.Background(), f.parts.Digest, f.parts.Size())
	if err != nil {
		return err
	}
	return errors.Join(fn(p), p.Close())
}

// free uses the store when there is room again.
func (f *filler) free() error {
	f.store.opt.Size = 40 << 20
	objects, _, err := f.store.Evict(context.Background())
	if err != nil || objects == 0 {
		return fmt.Errorf("evicted %d objects: %w", objects, err)
	}
	clear(f.held)
	for _, size := range []int{100_000, 1000} {
		if err := f.put(size); err != nil {
			return err
		}
	}
	err = f.withParts(func(p bao.PartialObject) error {
		return errors.Join(f.parts.Fill(context.Background(), p, 0, f.parts.Size()), f.parts.Read(p, 0, f.parts.Size()))
	})
	f.held[f.parts.Digest] = len(f.parts.Data)
	return errors.Join(err, f.check())
}
