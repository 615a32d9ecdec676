package worktree_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/fs/worktree"
)

type nullStore struct{ memory.Store }

func (s *nullStore) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	h := cas.NewHasher(cas.BLAKE3)
	defer h.Release()
	buf := make([]byte, 64<<10)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, buf)
	return h.Digest(), n, err
}
func (s *nullStore) Has(_ context.Context, ds []cas.Digest) ([]bool, error) {
	p := make([]bool, len(ds))
	for i := range p {
		p[i] = true
	}
	return p, nil
}

func BenchmarkX(b *testing.B) {
	dir := "/dev/shm/wtb"
	os.RemoveAll(dir)
	if out, err := exec.Command("cp", "-a", "/usr/local/go/src", dir).CombinedOutput(); err != nil {
		b.Fatal(string(out))
	}
	defer os.RemoveAll(dir)
	store := &nullStore{}
	opt := worktree.Options{Index: "/dev/shm/wtb.index"}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			os.Remove(opt.Index)
			worktree.Write(context.Background(), dir, store, opt)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			worktree.Write(context.Background(), dir, store, opt)
		}
	})
	mem := &memory.Store{}
	r, err := worktree.Write(context.Background(), dir, mem, worktree.Options{Index: "/dev/shm/wtb.index2"})
	if err != nil {
		b.Fatal(err)
	}
	out := dir + ".out"
	co := worktree.CheckoutOptions{Options: worktree.Options{Index: "/dev/shm/wtb.index3"}}
	b.Run("checkout", func(b *testing.B) {
		for b.Loop() {
			os.RemoveAll(out)
			os.Remove(co.Index)
			if _, err := worktree.Checkout(context.Background(), out, r.Root, mem, co); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("removeall", func(b *testing.B) {
		for b.Loop() {
			os.RemoveAll(out)
		}
	})
	worktree.Checkout(context.Background(), out, r.Root, mem, co)
	b.Run("recheckout", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			worktree.Checkout(context.Background(), out, r.Root, mem, co)
		}
	})
	b.Run("cp", func(b *testing.B) {
		for b.Loop() {
			os.RemoveAll(out)
			exec.Command("cp", "-a", dir, out).Run()
		}
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { d.Info(); return nil })
		}
	})
	os.RemoveAll(out)
}
