package worktree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/fs/worktree"
)

func TestNamesThatComeAndGoAreSeenWhereAllWasKnown(t *testing.T) {
	for name, change := range map[string]func(sub string) error{
		"new file":      func(sub string) error { return os.WriteFile(filepath.Join(sub, "new"), nil, 0o644) },
		"new directory": func(sub string) error { return os.Mkdir(filepath.Join(sub, "new"), 0o755) },
		"new link":      func(sub string) error { return os.Symlink("x", filepath.Join(sub, "new")) },
		"removed":       func(sub string) error { return os.Remove(filepath.Join(sub, "a")) },
		"renamed":       func(sub string) error { return os.Rename(filepath.Join(sub, "a"), filepath.Join(sub, "b")) },
		"swapped": func(sub string) error {
			if err := os.Rename(filepath.Join(sub, "deep"), filepath.Join(filepath.Dir(sub), "deep")); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(sub, "deep/other"), 0o755)
		},
		"with the time of before": func(sub string) error {
			info, err := os.Stat(sub)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(sub, "new"), nil, 0o644); err != nil {
				return err
			}
			return os.Chtimes(sub, time.Time{}, info.ModTime())
		},
	} {
		dir, store := files(t, map[string]string{"sub/a": "1", "sub/deep/c": "2"}), &memory.Store{}
		before := write(t, dir, store, worktree.Options{})
		write(t, dir, store, worktree.Options{})
		must(t, change(filepath.Join(dir, "sub")))
		if got := write(t, dir, store, worktree.Options{}).Root; got == before.Root || got != digestOf(t, dir) {
			t.Errorf("%s: the tree is %s, as before %s", name, got, before.Root)
		}
	}
}

func TestNameThatComesInTheSameTickIsSeen(t *testing.T) {
	dir, store := files(t, map[string]string{"sub/deep/": ""}), &memory.Store{}
	for i := range 200 {
		must(t, os.WriteFile(filepath.Join(dir, "sub/deep", fmt.Sprint(i)), nil, 0o644))
		if got := write(t, dir, store, worktree.Options{}).Entries; got != i+3 {
			t.Fatalf("%d entries after file %d, want %d", got, i, i+3)
		}
	}
}

func TestRulesThatChangeHoldInDirectoriesThatDidNot(t *testing.T) {
	dir, store := files(t, map[string]string{"sub/a.o": "1", "sub/deep/b.o": "2", "sub/c": "3"}), &memory.Store{}
	rules := filepath.Join(dir, worktree.DefaultIgnore)
	for range 2 {
		for text, want := range map[string]int{"*.o\n": 4, "deep\n": 4, "": 6} {
			must(t, os.WriteFile(rules, []byte(text), 0o644))
			for range 2 {
				if got := write(t, dir, store, worktree.Options{}).Entries; got != want {
					t.Errorf("%d entries where %q is ignored, want %d", got, text, want)
				}
			}
		}
	}
}

func TestWhatACheckoutKeptIsSeenByTheNextWrite(t *testing.T) {
	source, store := files(t, map[string]string{"sub/a": "1", "other/b": "2"}), &memory.Store{}
	root := write(t, source, store, worktree.Options{}).Root
	dir := files(t, map[string]string{"sub/stranger": "3"})
	for range 2 {
		checkout(t, dir, root, store, worktree.CheckoutOptions{NoDelete: true})
		rest()
	}
	for range 2 {
		if got := write(t, dir, store, worktree.Options{}); got.Entries != 5 || got.Root != digestOf(t, dir) {
			t.Errorf("%d entries, want 5", got.Entries)
		}
	}
}

func TestDirectoriesWhoseTimesProveNothingAreNotedOnce(t *testing.T) {
	source, store := files(t, map[string]string{"sub/deep/a": "1", "sub/b": "2"}), &memory.Store{}
	root := write(t, source, store, worktree.Options{}).Root
	dir := files(t, nil)
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	rest()
	seen := &watcher{}
	for i, change := range []func() error{
		func() error { return nil }, // a checkout is no proof that nothing else came
		func() error { return os.WriteFile(filepath.Join(dir, "sub/deep/passing"), nil, 0o644) },
	} {
		must(t, change())
		os.Remove(filepath.Join(dir, "sub/deep/passing"))
		rest()
		for j, most := range []int{1, 0, 0} {
			if got := write(t, dir, store, worktree.Options{Observer: seen}); got.Root != root {
				t.Errorf("change %d: the tree is %s, want %s", i, got.Root, root)
			}
			if got := len(seen.take(worktree.IndexSaved)); got > most {
				t.Errorf("change %d: write %d saves the index %d times, want %d at most", i, j, got, most)
			}
		}
	}
}
