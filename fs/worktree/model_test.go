package worktree_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/worktree"
)

// Names that sort between a directory and what is in it, that contain each
// other, that no terminal can print, and that no text holds.
var modelNames = []string{"a", "a-b", "a.b", "ab", "a b", "b", "-", "\n", "\xff\xfe", ".git", "ä"}

// model makes random trees that have much in common with each other.
type model struct {
	*rand.Rand
	t     *testing.T
	store *memory.Store
}

func (m *model) tree(depth int) cas.Digest {
	var entries []tree.Entry
	for _, i := range m.Perm(len(modelNames))[:m.IntN(6)] {
		entries = append(entries, m.entry(modelNames[i], depth))
	}
	return putTree(m.t, m.store, entries...)
}

func (m *model) entry(name string, depth int) tree.Entry {
	filePerms := []uint32{0o644, 0o755, 0o400, 0o600, 0o777, 0o000, 0o200, 0o111}
	dirPerms := []uint32{0o755, 0o700, 0o555, 0o500, 0o777, 0o000, 0o311, 0o444}
	switch kind := m.IntN(5); {
	case kind < 2 && depth > 0:
		return dirEntry(name, dirPerms[m.few(len(dirPerms))], m.tree(depth-1))
	case kind == 4:
		targets := []string{"a", "/etc/passwd", "..", "a/b/c", "\xff"}
		return linkEntry(name, targets[m.IntN(len(targets))])
	}
	lengths := []int{0, 1, 1, 2, 100, 70_000}
	content := castest.Bytes(lengths[m.IntN(len(lengths))], m.Uint64N(3))
	return fileEntry(m.t, m.store, name, filePerms[m.few(len(filePerms))], content)
}

// few returns a number below n, in most cases 0.
func (m *model) few(n int) int {
	if m.IntN(3) > 0 {
		return 0
	}
	return m.IntN(n)
}

func putTree(t *testing.T, store *memory.Store, entries ...tree.Entry) cas.Digest {
	t.Helper()
	tr, err := tree.New(entries)
	must(t, err)
	return putBytes(t, store, tr.Encode())
}

func putBytes(t *testing.T, store *memory.Store, data []byte) cas.Digest {
	t.Helper()
	d, _, err := store.Add(context.Background(), bytes.NewReader(data))
	must(t, err)
	return d
}

func fileEntry(t *testing.T, store *memory.Store, name string, perm uint32, content []byte) tree.Entry {
	t.Helper()
	return tree.Entry{Name: name, Type: tree.File, Perm: perm, Digest: putBytes(t, store, content)}
}

func dirEntry(name string, perm uint32, d cas.Digest) tree.Entry {
	return tree.Entry{Name: name, Type: tree.Dir, Perm: perm, Digest: d}
}

func linkEntry(name, target string) tree.Entry {
	return tree.Entry{Name: name, Type: tree.Symlink, Perm: 0o777, Target: target}
}

// vandal does to a directory what users do between two checkouts.
func (m *model) vandal(dir string) {
	if m.IntN(4) == 0 {
		os.Remove(filepath.Join(dir, ".fstree/index"))
	}
	for range m.IntN(4) {
		path := filepath.Join(dir, modelNames[m.IntN(len(modelNames))])
		if m.IntN(3) == 0 {
			path = filepath.Join(path, modelNames[m.IntN(len(modelNames))])
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			os.Remove(path)
			continue
		}
		switch m.IntN(7) {
		case 0:
			os.Remove(path)
		case 1:
			os.WriteFile(path, castest.Bytes(m.IntN(3), m.Uint64N(3)), 0o644)
		case 2:
			os.Mkdir(path, 0o755)
			os.Mkdir(filepath.Join(path, "unknown"), 0o755)
		case 3:
			os.Symlink("nowhere", path)
		case 4:
			unix.Mkfifo(path, 0o644)
		case 5:
			os.Chmod(path, 0o640)
		case 6:
			os.Link(path, filepath.Join(dir, "hardlink"))
		}
	}
}

func TestAnySequenceIsCheckedOutExactly(t *testing.T) {
	const sequences, length = 1000, 4
	base := quickDir(t)
	t.Cleanup(func() { loosenAll(base) })
	for seed := range uint64(sequences) {
		m := &model{rand.New(rand.NewPCG(seed, 1)), t, &memory.Store{}}
		dir := filepath.Join(base, fmt.Sprint(seed))
		for step := range length {
			root := m.tree(3)
			opt := worktree.CheckoutOptions{Options: worktree.Options{Threads: 1 + m.IntN(4)}}
			dry := opt
			dry.DryRun = true
			foreseen, err := worktree.Checkout(t.Context(), dir, root, m.store, dry)
			if err != nil && os.Geteuid() == 0 {
				t.Fatalf("seed %d step %d: dry run: %v", seed, step, err)
			}
			done, err := worktree.Checkout(t.Context(), dir, root, m.store, opt)
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if os.Geteuid() == 0 && (foreseen.Written != done.Written || foreseen.Removed != done.Removed) {
				t.Fatalf("seed %d step %d: foreseen %+v, done %+v", seed, step, foreseen, done)
			}
			m.expect(root, dir, opt, fmt.Sprintf("seed %d step %d", seed, step))
			m.vandal(dir)
		}
		loosenAll(dir)
		must(t, os.RemoveAll(dir))
	}
}

// quickDir is a temporary directory in memory, where the system has such a
// place: thousands of trees are made in it.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fstree-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (m *model) expect(root cas.Digest, dir string, opt worktree.CheckoutOptions, what string) {
	m.t.Helper()
	expectTree(m.t, m.store, root, dir)
	again, err := worktree.Checkout(m.t.Context(), dir, root, m.store, opt)
	if err != nil || again.Removed != 0 {
		m.t.Fatalf("%s: once more: %+v, %v", what, again, err)
	}
	// A user has no other way to be sure of a file that he can't read than to
	// write it again, and can't store it.
	if os.Geteuid() == 0 {
		if again.Written != 0 {
			m.t.Fatalf("%s: once more: %+v", what, again)
		}
		got, err := worktree.Write(m.t.Context(), dir, m.store, worktree.Options{})
		if err != nil || got.Root != root {
			m.t.Fatalf("%s: written as %s, %v; want %s", what, got.Root, err, root)
		}
	}
	if m.t.Failed() {
		m.t.Fatal(what)
	}
}

// loosenAll makes everything below dir removable.
func loosenAll(dir string) {
	filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			os.Chmod(path, 0o700)
			if err != nil {
				loosenAll(path)
			}
		}
		return nil
	})
}
