package worktree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/worktree"
)

func checkout(t *testing.T, dir string, root cas.Digest, store cas.Getter, opt worktree.CheckoutOptions) worktree.Summary {
	t.Helper()
	summary, err := worktree.Checkout(t.Context(), dir, root, store, opt)
	must(t, err)
	return summary
}

func TestEveryTypeBecomesEveryOther(t *testing.T) {
	store := &memory.Store{}
	sub := putTree(t, store, fileEntry(t, store, "x", 0o644, []byte("x")), linkEntry("y", "x"))
	kinds := map[string]func(name string) tree.Entry{
		"nothing":       nil,
		"file":          func(name string) tree.Entry { return fileEntry(t, store, name, 0o644, []byte("1")) },
		"other file":    func(name string) tree.Entry { return fileEntry(t, store, name, 0o644, []byte("2")) },
		"executable":    func(name string) tree.Entry { return fileEntry(t, store, name, 0o755, []byte("1")) },
		"symlink":       func(name string) tree.Entry { return linkEntry(name, "a-b") },
		"other symlink": func(name string) tree.Entry { return linkEntry(name, "/") },
		"directory":     func(name string) tree.Entry { return dirEntry(name, 0o755, sub) },
		"closed":        func(name string) tree.Entry { return dirEntry(name, 0o500, sub) },
		"empty":         func(name string) tree.Entry { return dirEntry(name, 0o755, putTree(t, store)) },
	}
	root := func(kind string) cas.Digest {
		// The siblings sort between a directory's name and what is in it.
		entries := []tree.Entry{fileEntry(t, store, "a-b", 0o644, nil), fileEntry(t, store, "a.b", 0o644, nil), linkEntry("a0", "a")}
		if make := kinds[kind]; make != nil {
			entries = append(entries, make("a"))
		}
		return putTree(t, store, entries...)
	}
	for from := range kinds {
		for to := range kinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "w")
				defer loosenAll(dir)
				checkout(t, dir, root(from), store, worktree.CheckoutOptions{})
				summary := checkout(t, dir, root(to), store, worktree.CheckoutOptions{})
				expectTree(t, store, root(to), dir)
				if from == to && summary.Written+summary.Removed > 0 {
					t.Errorf("touched what was right: %+v", summary)
				}
			})
		}
	}
}

func TestPermissionBitsAreExact(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	store := &memory.Store{}
	var entries []tree.Entry
	for perm := uint32(0); perm <= 0o777; perm++ {
		below := putTree(t, store, fileEntry(t, store, "f", perm^0o777, []byte("f")))
		entries = append(entries, dirEntry(fmt.Sprintf("d%03o", perm), perm, below),
			fileEntry(t, store, fmt.Sprintf("f%03o", perm), perm, []byte("f")))
	}
	root := putTree(t, store, entries...)
	dir := filepath.Join(t.TempDir(), "w")
	defer loosenAll(dir)
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
	for i := range entries {
		entries[i].Perm = (entries[i].Perm*7 + 3) % 0o1000
	}
	root = putTree(t, store, entries...)
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
}

func TestOnlyTheDifferentIsTouched(t *testing.T) {
	dir := files(t, map[string]string{"a/same": "1", "a/other": "2", "b/same": "3", "gone": "4", "old/x/y": "5"})
	store, seen := &memory.Store{}, &watcher{}
	write(t, dir, store, worktree.Options{})
	before, err := os.Stat(dir + "/a/same")
	must(t, err)
	source := files(t, map[string]string{"a/same": "1", "a/other": "!", "b/same": "3", "new/z": "6"})
	root := write(t, source, store, worktree.Options{}).Root
	for _, withIndex := range []bool{false, true} {
		target := filepath.Join(t.TempDir(), "copy")
		must(t, os.CopyFS(target, os.DirFS(dir)))
		if withIndex {
			target = dir
		}
		seen.take(worktree.CheckedOut)
		opt := worktree.CheckoutOptions{Options: worktree.Options{Observer: seen}}
		summary := checkout(t, target, root, store, opt)
		expectTree(t, store, root, target)
		if got := seen.take(worktree.CheckedOut); !slices.Equal(got, []string{"a/other", "new", "new/z"}) {
			t.Errorf("wrote %q", got)
		}
		if summary.Removed != 4 || summary.Written != 3 || summary.Bytes != 2 || summary.Entries != 7 {
			t.Errorf("got %+v", summary)
		}
	}
	if after, err := os.Stat(dir + "/a/same"); err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("touched what was right: %v", err)
	}
}

func TestTheIndexOfACheckoutServesTheNextWrite(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "b": "2"})
	store := &countingStore{}
	root := write(t, dir, store, worktree.Options{}).Root
	target := filepath.Join(t.TempDir(), "t")
	checkout(t, target, root, store, worktree.CheckoutOptions{})
	rest()
	// What was made in the tick in which the index was written is looked at
	// once more.
	write(t, target, store, worktree.Options{})
	adds := store.adds
	if got := write(t, target, store, worktree.Options{}).Root; got != root || store.adds != adds {
		t.Errorf("root %s with %d more adds", got, store.adds-adds)
	}
}

func TestLocalChangesAreOverwritten(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "one", "a/g": "two", "l/x": "3"})
	store := &memory.Store{}
	root := write(t, dir, store, worktree.Options{}).Root
	info, err := os.Stat(dir + "/a/f")
	must(t, err)
	must(t, os.WriteFile(dir+"/a/f", []byte("ONE"), 0o644))
	must(t, os.Chtimes(dir+"/a/f", info.ModTime(), info.ModTime()))
	must(t, os.Chmod(dir+"/a/g", 0o777))
	must(t, os.RemoveAll(dir+"/l"))
	must(t, os.WriteFile(dir+"/new", nil, 0o644))
	must(t, unix.Mkfifo(dir+"/a/fifo", 0o644))
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
}

func TestChmodDoesNotReachOtherHardLinks(t *testing.T) {
	store := &memory.Store{}
	root := putTree(t, store, fileEntry(t, store, "a", 0o644, []byte("x")), fileEntry(t, store, "b", 0o755, []byte("x")))
	dir := files(t, map[string]string{"a": "x"})
	must(t, os.Link(dir+"/a", dir+"/b"))
	must(t, os.Link(dir+"/a", dir+"/../outside"))
	before, err := os.Stat(dir + "/../outside")
	must(t, err)
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
	if after, err := os.Stat(dir + "/../outside"); err != nil || after.Mode() != before.Mode() {
		t.Errorf("the file outside has mode %s, %v", after.Mode(), err)
	}
}

func TestIgnoredEntriesOfTheNewTreeStay(t *testing.T) {
	store := &memory.Store{}
	root := putTree(t, store, fileEntry(t, store, ".fstreeignore", 0o644, []byte("*.o\n/out/\n")),
		dirEntry("src", 0o755, putTree(t, store, fileEntry(t, store, "main.c", 0o644, []byte("c")))))
	dir := files(t, map[string]string{
		".fstreeignore": "*.c\n", "main.o": "", "other.c": "", "src/x.o": "", "out/a/b": "", "lib/y.o": "", "lib/y.c": "", "lib/sub/z": "",
	})
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	want := []string{".fstreeignore", "lib/y.o", "main.o", "out/a/b", "src/main.c", "src/x.o"}
	if got := paths(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := checkout(t, dir, root, store, worktree.CheckoutOptions{}); again.Written+again.Removed > 0 {
		t.Errorf("once more: %+v", again)
	}
}

// paths lists the files below dir, but for what is called .fstree.
func paths(t *testing.T, dir string) (paths []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if e.Name() == ".fstree" {
			return fs.SkipDir
		}
		if !e.IsDir() {
			path, _ = filepath.Rel(dir, path)
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func TestPrivateEntriesAreNeverHarmed(t *testing.T) {
	store := &memory.Store{}
	empty := putTree(t, store)
	dir := files(t, map[string]string{".fstree/other": "1", "sub/.fstree/index": "2", "sub/f": "3"})
	checkout(t, dir, empty, store, worktree.CheckoutOptions{})
	for _, inTheWay := range []tree.Entry{fileEntry(t, store, "sub", 0o644, nil), linkEntry("sub", "x")} {
		_, err := worktree.Checkout(t.Context(), dir, putTree(t, store, inTheWay), store, worktree.CheckoutOptions{})
		if err == nil || err.Error() != "sub: a directory is in the way that holds .fstree or the index" {
			t.Errorf("got %v", err)
		}
		expectNoTemps(t, dir)
	}
	for path, want := range map[string]string{".fstree/other": "1", "sub/.fstree/index": "2"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestImpossibleTreesAreRefusedBeforeAnythingIsTouched(t *testing.T) {
	store := &memory.Store{}
	deep := func(e tree.Entry) cas.Digest {
		return putTree(t, store, dirEntry("a", 0o755, putTree(t, store, dirEntry("b", 0o755, putTree(t, store, e)))))
	}
	lost := putBytes(t, store, []byte("soon lost"))
	store.Remove(lost)
	trees := map[string]struct {
		root cas.Digest
		want string
	}{
		"index":    {deep(fileEntry(t, store, ".fstree", 0o644, nil)), "a/b/.fstree: the tree has an entry named .fstree, which is the workspace's own"},
		"long":     {deep(fileEntry(t, store, strings.Repeat("x", 256), 0o644, nil)), "a/b/" + strings.Repeat("x", 256) + ": the name has 256 bytes, and the file system allows 255"},
		"target":   {deep(linkEntry("l", strings.Repeat("x", 4096))), "a/b/l: the link target has 4096 bytes, and the system allows 4095"},
		"lost":     {deep(dirEntry("c", 0o755, lost)), "a/b/c: object " + lost.String() + " not found"},
		"root":     {lost, "object " + lost.String() + " not found"},
		"not tree": {deep(dirEntry("c", 0o755, putBytes(t, store, []byte("text")))), "a/b/c: object " + cas.Sum([]byte("text")).String() + " is not a tree: magic is 0x6574, not 0x3eee"},
		"dots":     {deep(dirEntry("c", 0o755, putBytes(t, store, hostileName("..")))), "a/b/c: object " + cas.Sum(hostileName("..")).String() + ` is not a tree: entry name ".." is not one path component`},
		"slash":    {deep(dirEntry("c", 0o755, putBytes(t, store, hostileName("x/y")))), "a/b/c: object " + cas.Sum(hostileName("x/y")).String() + ` is not a tree: entry name "x/y" is not one path component`},
	}
	for name, test := range trees {
		t.Run(name, func(t *testing.T) {
			dir := files(t, map[string]string{"mine": "1"})
			for _, dir := range []string{dir, filepath.Join(dir, "absent/deep")} {
				_, err := worktree.Checkout(t.Context(), dir, test.root, store, worktree.CheckoutOptions{})
				if err == nil || err.Error() != test.want {
					t.Errorf("got %v, want %s", err, test.want)
				}
			}
			if got := paths(t, dir); !slices.Equal(got, []string{"mine"}) {
				t.Errorf("left %q", got)
			}
			if _, err := os.Stat(filepath.Join(dir, "absent")); err == nil {
				t.Errorf("the directory was made")
			}
		})
	}
}

// hostileName is a tree that no *tree.Tree can be, with one empty directory.
func hostileName(name string) []byte {
	good, err := tree.New([]tree.Entry{dirEntry(strings.Repeat("x", len(name)), 0o755, cas.Sum([]byte{0xee, 0x3e, 1, 0}))})
	if err != nil {
		panic(err)
	}
	return bytes.Replace(good.Encode(), []byte(strings.Repeat("x", len(name))), []byte(name), 1)
}

func TestSymlinksInTheTargetLeadNowhere(t *testing.T) {
	store := &memory.Store{}
	below := putTree(t, store, fileEntry(t, store, "f", 0o600, []byte("new")))
	root := putTree(t, store, dirEntry("dir", 0o700, below), fileEntry(t, store, "file", 0o600, []byte("new")), linkEntry("link", "elsewhere"))
	outside := files(t, map[string]string{"f": "mine", "keep": "mine"})
	dir := files(t, nil)
	must(t, os.Symlink(outside, dir+"/dir"))
	must(t, os.Symlink(outside+"/f", dir+"/file"))
	must(t, os.Symlink(outside, dir+"/link"))
	must(t, os.Symlink(outside, dir+"/unknown"))
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
	for _, name := range []string{"f", "keep"} {
		info, err := os.Stat(filepath.Join(outside, name))
		must(t, err)
		if data, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(data) != "mine" || info.Mode().Perm() != 0o644 {
			t.Errorf("%s outside is %q with %s, %v", name, data, info.Mode(), err)
		}
	}
}

func TestReadOnlyDirectoriesInTheWayAreHandled(t *testing.T) {
	store := &memory.Store{}
	dir := files(t, map[string]string{"a/b/c": "1", "a/d": "2", "x/y": "3"})
	root := putTree(t, store, dirEntry("a", 0o555, putTree(t, store, fileEntry(t, store, "new", 0o444, []byte("n")))))
	for _, path := range []string{"a/b", "a", "x"} {
		must(t, os.Chmod(filepath.Join(dir, path), 0o111))
	}
	defer loosenAll(dir)
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	expectTree(t, store, root, dir)
}

func TestReadOnlyDirectoryIsReadOnlyAgainAfterAChangeInIt(t *testing.T) {
	store := &memory.Store{}
	root := func(content string) cas.Digest {
		return putTree(t, store, dirEntry("a", 0o555, putTree(t, store, fileEntry(t, store, "f", 0o444, []byte(content)))))
	}
	dir := filepath.Join(t.TempDir(), "w")
	defer loosenAll(dir)
	for _, content := range []string{"one", "two"} {
		checkout(t, dir, root(content), store, worktree.CheckoutOptions{})
		expectTree(t, store, root(content), dir)
	}
}

func TestTargetThatCannotBeUsedIsRefused(t *testing.T) {
	store := &memory.Store{}
	root := putTree(t, store, fileEntry(t, store, "f", 0o644, []byte("1")))
	dir := files(t, map[string]string{"file": "1", "shut/x": "2"})
	_, err := worktree.Checkout(t.Context(), dir+"/file", root, store, worktree.CheckoutOptions{})
	if !errors.Is(err, unix.ENOTDIR) || !strings.HasPrefix(err.Error(), dir+"/file: ") {
		t.Errorf("got %v", err)
	}
	if os.Geteuid() == 0 {
		return // root can write everywhere
	}
	must(t, os.Chmod(dir+"/shut", 0o555))
	defer loosenAll(dir)
	for target, want := range map[string]string{"shut": "can't be written", "shut/new": "permission denied"} {
		_, err := worktree.Checkout(t.Context(), filepath.Join(dir, target), root, store, worktree.CheckoutOptions{})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
	if got := paths(t, dir+"/shut"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("left %q", got)
	}
}

func TestDryRunTouchesNothingAndTellsAll(t *testing.T) {
	store := &memory.Store{}
	dir := files(t, map[string]string{"known": "1", "edited": "2", "chmod": "3", "dir/f": "4", "same": "5"})
	write(t, dir, store, worktree.Options{})
	must(t, os.WriteFile(dir+"/edited", []byte("!"), 0o644))
	must(t, os.WriteFile(dir+"/unknown", nil, 0o644))
	must(t, os.WriteFile(dir+"/dir/g", nil, 0o644))
	root := putTree(t, store,
		fileEntry(t, store, "chmod", 0o755, []byte("3")), fileEntry(t, store, "edited", 0o644, []byte("2")),
		fileEntry(t, store, "dir", 0o644, []byte("6")), fileEntry(t, store, "same", 0o644, []byte("5")),
		dirEntry("new", 0o755, putTree(t, store, linkEntry("l", "x"))))
	before := paths(t, dir)
	got := checkout(t, dir, root, store, worktree.CheckoutOptions{DryRun: true})
	want := []worktree.Change{
		{Path: "chmod", Action: worktree.Chmod, Known: true},
		{Path: "dir", Action: worktree.Replace, Known: true},
		{Path: "dir/f", Action: worktree.Remove, Known: true},
		{Path: "dir/g", Action: worktree.Remove, Known: false},
		{Path: "edited", Action: worktree.Replace, Known: false},
		{Path: "known", Action: worktree.Remove, Known: true},
		{Path: "new", Action: worktree.Create, Known: true},
		{Path: "new/l", Action: worktree.Create, Known: true},
		{Path: "unknown", Action: worktree.Remove, Known: false},
	}
	if !slices.Equal(got.Changes, want) {
		t.Errorf("got  %v\nwant %v", got.Changes, want)
	}
	if after := paths(t, dir); !slices.Equal(before, after) {
		t.Errorf("left %q, had %q", after, before)
	}
	done := checkout(t, dir, root, store, worktree.CheckoutOptions{})
	if done.Written != got.Written || done.Removed != got.Removed || got.Written+got.Removed != len(want) {
		t.Errorf("done %+v, foreseen %+v", done, got)
	}
	absent := filepath.Join(dir, "absent")
	if got := checkout(t, absent, root, store, worktree.CheckoutOptions{DryRun: true}); len(got.Changes) != 6 {
		t.Errorf("into nothing: %v", got.Changes)
	}
	if _, err := os.Stat(absent); err == nil {
		t.Errorf("the directory was made")
	}
}

func TestNoDeleteKeepsWhatTheTreeDoesNotHave(t *testing.T) {
	store := &memory.Store{}
	dir := files(t, map[string]string{"mine/f": "1", "a/mine": "2", "a/theirs": "old", "b/x": "3", "e/": ""})
	below := putTree(t, store, fileEntry(t, store, "theirs", 0o644, []byte("new")))
	root := putTree(t, store, dirEntry("a", 0o755, below), fileEntry(t, store, "e", 0o644, nil))
	opt := worktree.CheckoutOptions{NoDelete: true}
	checkout(t, dir, root, store, opt)
	if got, want := paths(t, dir), []string{"a/mine", "a/theirs", "b/x", "e", "mine/f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	root = putTree(t, store, fileEntry(t, store, "b", 0o644, nil))
	_, err := worktree.Checkout(t.Context(), dir, root, store, opt)
	if !errors.Is(err, unix.ENOTEMPTY) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Errorf("got %v", err)
	}
}

// brittleStore fails after so many objects.
type brittleStore struct {
	*memory.Store
	left chan struct{}
}

var errBroken = errors.New("the store broke")

func (s *brittleStore) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	select {
	case <-s.left:
		return s.Store.Get(ctx, d)
	default:
		return nil, errBroken
	}
}

func TestInterruptedCheckoutIsFinishedByTheNext(t *testing.T) {
	m := &memory.Store{}
	var entries []tree.Entry
	for i := range 20 {
		below := putTree(t, m, fileEntry(t, m, "f", 0o444, fmt.Append(nil, i)), linkEntry("l", "f"))
		entries = append(entries, dirEntry(fmt.Sprint("d", i), 0o555, below), fileEntry(t, m, fmt.Sprint("f", i), 0o644, fmt.Append(nil, "f", i)))
	}
	root := putTree(t, m, entries...)
	dir := filepath.Join(t.TempDir(), "w")
	defer loosenAll(dir)
	for allowed := 0; allowed < 90; allowed += 3 {
		if allowed%2 == 0 {
			loosenAll(dir)
			must(t, os.RemoveAll(dir))
		}
		store := &brittleStore{m, make(chan struct{}, allowed)}
		for range allowed {
			store.left <- struct{}{}
		}
		if _, err := worktree.Checkout(t.Context(), dir, root, store, worktree.CheckoutOptions{}); err != nil && !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		expectNoTemps(t, dir)
		checkout(t, dir, root, m, worktree.CheckoutOptions{})
		expectTree(t, m, root, dir)
		must(t, os.WriteFile(dir+"/f3", []byte("edited"), 0o644))
		must(t, os.Remove(dir+"/f4"))
	}
}

func expectNoTemps(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return
	}
	for _, path := range paths(t, dir) {
		if strings.HasPrefix(filepath.Base(path), ".fstree-") {
			t.Errorf("left %s", path)
		}
	}
}

func TestTheLeftoversOfAKilledCheckoutAreSwept(t *testing.T) {
	store := &memory.Store{}
	root := putTree(t, store, fileEntry(t, store, ".fstreeignore", 0o644, []byte("*\n")))
	dir := files(t, map[string]string{".fstree-ABCDEFGH23-17": "half", ".fstree-notes": "mine"})
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	if got := paths(t, dir); !slices.Equal(got, []string{".fstree-notes", ".fstreeignore"}) {
		t.Errorf("left %q", got)
	}
}

// stream hides what an object is but a stream, which never ends before the
// context does.
type endless struct {
	*memory.Store
	reading chan struct{}
}

func (s *endless) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.Store.Get(ctx, d)
	if err != nil || o.Size() != 7 {
		return o, err
	}
	select {
	case s.reading <- struct{}{}:
	default:
	}
	return &endlessObject{}, nil
}

type endlessObject struct{}

func (*endlessObject) Read(p []byte) (int, error) { return len(p) / 64, nil }
func (*endlessObject) Close() error               { return nil }
func (*endlessObject) Size() int64                { return -1 }

func TestCancelledCheckoutEndsSoonAndLeavesNoTemporaryFiles(t *testing.T) {
	m := &memory.Store{}
	root := putTree(t, m, fileEntry(t, m, "endless", 0o644, []byte("endless")), fileEntry(t, m, "z", 0o644, nil))
	dir := filepath.Join(t.TempDir(), "w")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	store := &endless{m, make(chan struct{})}
	go func() {
		<-store.reading
		cancel()
	}()
	if _, err := worktree.Checkout(ctx, dir, root, store, worktree.CheckoutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	expectNoTemps(t, dir)
	if _, err := os.Stat(dir + "/endless"); err == nil {
		t.Errorf("a file that is not whole is visible")
	}
}

// corrupt delivers bytes that turn out wrong at their end.
type corrupt struct{ *memory.Store }

func (s *corrupt) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.Store.Get(ctx, d)
	if err != nil || o.Size() != 7 {
		return o, err
	}
	return cas.Verify(d, io.NopCloser(strings.NewReader("CORRUPT")), 7), nil
}

func TestCorruptObjectIsNeverVisible(t *testing.T) {
	m := &memory.Store{}
	root := putTree(t, m, fileEntry(t, m, "f", 0o644, []byte("correct")))
	dir := filepath.Join(t.TempDir(), "w")
	_, err := worktree.Checkout(t.Context(), dir, root, &corrupt{m}, worktree.CheckoutOptions{})
	var mismatch *cas.MismatchError
	if !errors.As(err, &mismatch) || !strings.HasPrefix(err.Error(), "f: ") {
		t.Errorf("got %v", err)
	}
	if got := paths(t, dir); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

// fileStore has its objects as files, or as streams.
type fileStore struct {
	*memory.Store
	t       *testing.T
	streams bool
}

type fileObject struct {
	cas.RandomObject
	f *os.File
}

func (o *fileObject) File() *os.File { return o.f }

func (s *fileStore) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.Store.Get(ctx, d)
	if err != nil {
		return nil, err
	}
	if s.streams {
		return cas.Verify(d, io.NopCloser(o), -1), nil
	}
	random := o.(cas.RandomObject)
	f, err := os.CreateTemp(s.t.TempDir(), "")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, io.NewSectionReader(random, 0, o.Size())); err != nil {
		return nil, err
	}
	return &fileObject{random, f}, nil
}

func TestContentArrivesFromFilesAndStreams(t *testing.T) {
	m := &memory.Store{}
	var entries []tree.Entry
	for _, n := range []int{0, 1, 70_000, 3 << 20} {
		entries = append(entries, fileEntry(t, m, fmt.Sprint(n), 0o644, castest.Bytes(n, 1)))
	}
	root := putTree(t, m, entries...)
	for _, streams := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "w")
		summary := checkout(t, dir, root, &fileStore{m, t, streams}, worktree.CheckoutOptions{})
		expectTree(t, m, root, dir)
		if summary.Bytes != 1+70_000+3<<20 {
			t.Errorf("wrote %d bytes", summary.Bytes)
		}
	}
}

func TestOldDigestsAreCheckedOutAndComparedToo(t *testing.T) {
	store := &memory.Store{}
	old := cas.MustParseDigest("sha1:f572d396fae9206628714fb2ce00f72e94f2258f") // "hello\n"
	must(t, store.Put(t.Context(), old, strings.NewReader("hello\n")))
	root := putTree(t, store, tree.Entry{Name: "f", Type: tree.File, Perm: 0o644, Digest: old})
	dir := filepath.Join(t.TempDir(), "w")
	checkout(t, dir, root, store, worktree.CheckoutOptions{})
	rest()
	for _, index := range []string{"", "other"} {
		opt := worktree.CheckoutOptions{Options: worktree.Options{Index: index}}
		if again := checkout(t, dir, root, store, opt); again.Written > 0 {
			t.Errorf("wrote what was right: %+v", again)
		}
	}
	must(t, os.Remove(dir+"/other"))
	// What is written now is named in the way of now.
	want := putTree(t, store, fileEntry(t, store, "f", 0o644, []byte("hello\n")))
	if got := write(t, dir, store, worktree.Options{}).Root; got != want {
		t.Errorf("written as %s, want %s", got, want)
	}
}
