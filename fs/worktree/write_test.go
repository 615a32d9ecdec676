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
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/worktree"
)

// watcher keeps what it is told.
type watcher struct {
	mu     sync.Mutex
	events []worktree.Event
}

func (w *watcher) Observe(e worktree.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// take returns the paths of the events of a kind, or their messages, in order,
// and forgets all events.
func (w *watcher) take(kind worktree.Kind) (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			texts = append(texts, e.Path+e.Message)
		}
	}
	w.events = nil
	slices.Sort(texts)
	return texts
}

// files makes a directory with these files; a path that ends in a slash is a
// directory. What was written long ago is believed at once.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	must(t, os.Mkdir(dir, 0o755))
	for path, content := range contents {
		path, isDir := filepath.Join(dir, path), strings.HasSuffix(path, "/")
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if isDir {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	rest()
	return dir
}

// rest waits until the system's clock has advanced, so that what was written
// before is not racily clean.
func rest() { time.Sleep(25 * time.Millisecond) }

func write(t *testing.T, dir string, store worktree.Store, opt worktree.Options) worktree.Result {
	t.Helper()
	result, err := worktree.Write(t.Context(), dir, store, opt)
	must(t, err)
	return result
}

// digestOf names dir without any memory of it.
func digestOf(t *testing.T, dir string) cas.Digest {
	t.Helper()
	return write(t, dir, &memory.Store{}, worktree.Options{Index: filepath.Join(t.TempDir(), "index")}).Root
}

// countingStore counts what it is asked for.
type countingStore struct {
	memory.Store
	mu   sync.Mutex
	adds int
}

func (s *countingStore) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	s.mu.Lock()
	s.adds++
	s.mu.Unlock()
	return s.Store.Add(ctx, r)
}

func TestUnchangedTreeIsNotStoredAgainAndWritesNothing(t *testing.T) {
	dir := files(t, map[string]string{"a/b/c": "1", "a/d": "2", "e/": "", "f": "3"})
	must(t, os.Symlink("f", filepath.Join(dir, "link")))
	rest()
	store, seen := &countingStore{}, &watcher{}
	first := write(t, dir, store, worktree.Options{Observer: seen})
	if got := seen.take(worktree.IndexSaved); len(got) != 1 {
		t.Fatalf("index saved %d times", len(got))
	}
	index, err := os.Stat(filepath.Join(dir, ".fstree/index"))
	must(t, err)
	adds := store.adds
	// Whatever is opened for reading would fail.
	second := write(t, dir, store, worktree.Options{Observer: seen})
	if second.Root != first.Root || second.Entries != first.Entries || second.Added != 0 || store.adds != adds {
		t.Errorf("second time %+v with %d adds, first time %+v", second, store.adds-adds, first)
	}
	if again, err := os.Stat(filepath.Join(dir, ".fstree/index")); err != nil || !os.SameFile(index, again) {
		t.Errorf("the index was written again: %v", err)
	}
	if got := seen.take(worktree.IndexSaved); len(got) != 0 {
		t.Errorf("the index was saved again")
	}
}

func TestOnlyTheChangedIsStored(t *testing.T) {
	dir := files(t, map[string]string{"a/b/c": "1", "a/x/d": "2", "e/f": "3", "g": "4"})
	store, seen := &memory.Store{}, &watcher{}
	write(t, dir, store, worktree.Options{})
	must(t, os.WriteFile(filepath.Join(dir, "a/x/d"), []byte("other"), 0o644))
	seen.take(worktree.Added)
	got := write(t, dir, store, worktree.Options{Observer: seen})
	if added := seen.take(worktree.Added); !slices.Equal(added, []string{"", "a", "a/x", "a/x/d"}) {
		t.Errorf("added %q", added)
	}
	if want := digestOf(t, dir); got.Root != want {
		t.Errorf("root is %s, want %s", got.Root, want)
	}
}

func TestEveryKindOfChangeIsSeen(t *testing.T) {
	changes := map[string]func(dir string) error{
		"content":     func(dir string) error { return os.WriteFile(dir+"/a/f", []byte("twenty"), 0o644) },
		"same size":   func(dir string) error { return os.WriteFile(dir+"/a/f", []byte("tw0"), 0o644) },
		"mode":        func(dir string) error { return os.Chmod(dir+"/a/f", 0o755) },
		"dir mode":    func(dir string) error { return os.Chmod(dir+"/a/b", 0o700) },
		"new file":    func(dir string) error { return os.WriteFile(dir+"/a/b/new", nil, 0o644) },
		"new dir":     func(dir string) error { return os.Mkdir(dir+"/a/b/new", 0o755) },
		"removed":     func(dir string) error { return os.Remove(dir + "/a/b/g") },
		"removed dir": func(dir string) error { return os.RemoveAll(dir + "/a/b") },
		"renamed":     func(dir string) error { return os.Rename(dir+"/a/f", dir+"/a/h") },
		"renamed dir": func(dir string) error { return os.Rename(dir+"/a/b", dir+"/a/z") },
		"swapped": func(dir string) error {
			return errors.Join(os.Rename(dir+"/a/f", dir+"/a/t"), os.Rename(dir+"/a/b/g", dir+"/a/f"), os.Rename(dir+"/a/t", dir+"/a/b/g"))
		},
		"link target": func(dir string) error { return errors.Join(os.Remove(dir+"/l"), os.Symlink("other", dir+"/l")) },
		"file to dir": func(dir string) error { return errors.Join(os.Remove(dir+"/a/f"), os.Mkdir(dir+"/a/f", 0o755)) },
		"dir to file": func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/a/b"), os.WriteFile(dir+"/a/b", nil, 0o644))
		},
		"file to link": func(dir string) error { return errors.Join(os.Remove(dir+"/a/f"), os.Symlink("x", dir+"/a/f")) },
		"ignore file":  func(dir string) error { return os.WriteFile(dir+"/.fstreeignore", []byte("g\n"), 0o644) },
		"touched":      func(dir string) error { return os.Chtimes(dir+"/a/f", time.Now(), time.Now()) },
		"size and mtime kept": func(dir string) error {
			info, err := os.Stat(dir + "/a/f")
			return errors.Join(err, os.WriteFile(dir+"/a/f", []byte("2nd"), 0o644), os.Chtimes(dir+"/a/f", info.ModTime(), info.ModTime()))
		},
		"other end of a hard link": func(dir string) error { return os.WriteFile(dir+"/../linked", []byte("new"), 0o644) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := files(t, map[string]string{"a/f": "two", "a/b/g": "gee", "z": "3"})
			must(t, os.Symlink("target", dir+"/l"))
			must(t, os.Link(dir+"/z", dir+"/../linked"))
			rest()
			store := &memory.Store{}
			write(t, dir, store, worktree.Options{})
			must(t, change(dir))
			if got, want := write(t, dir, store, worktree.Options{}).Root, digestOf(t, dir); got != want {
				t.Errorf("root is %s, want %s", got, want)
			}
			rest()
			if got, want := write(t, dir, store, worktree.Options{}).Root, digestOf(t, dir); got != want {
				t.Errorf("once more the root is %s, want %s", got, want)
			}
			expectTree(t, store, digestOf(t, dir), dirWithoutIgnored(t, dir, name))
		})
	}
}

// dirWithoutIgnored removes what the one ignore file above leaves out.
func dirWithoutIgnored(t *testing.T, dir, name string) string {
	if name == "ignore file" {
		must(t, os.Remove(dir+"/a/b/g"))
	}
	return dir
}

func TestEditInTheSameTickIsSeen(t *testing.T) {
	dir := files(t, map[string]string{"f": "0000", "sub/g": "x"})
	path := filepath.Join(dir, "f")
	store := &memory.Store{}
	for i := range 300 {
		content := fmt.Sprintf("%04d", i)
		must(t, os.WriteFile(path, []byte(content), 0o644))
		root := write(t, dir, store, worktree.Options{}).Root
		e, err := tree.Resolve(t.Context(), store, tree.Path{Root: root, Rest: "f"})
		must(t, err)
		if e.Digest != cas.Sum([]byte(content)) {
			t.Fatalf("edit %d was missed", i)
		}
	}
}

func TestLostObjectsAreStoredAgain(t *testing.T) {
	dir := files(t, map[string]string{"a/b/c": "1", "a/d": "2"})
	store := &memory.Store{}
	root := write(t, dir, store, worktree.Options{}).Root
	for _, path := range []string{"a/b/c", "a/b", "a", ""} {
		e, err := tree.Resolve(t.Context(), store, tree.Path{Root: root, Rest: path})
		must(t, err)
		store.Remove(e.Digest)
		if got := write(t, dir, store, worktree.Options{}); got.Root != root || got.Added != 1 {
			t.Errorf("%q lost: %+v", path, got)
		}
	}
	if got := write(t, dir, &memory.Store{}, worktree.Options{}); got.Root != root || got.Added != 5 {
		t.Errorf("into another store: %+v", got)
	}
}

// epochStore knows whether it has lost anything.
type epochStore struct {
	memory.Store
	epoch string
	asked int
}

func (s *epochStore) Epoch(context.Context) (string, error) { return s.epoch, nil }

func (s *epochStore) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	s.asked++
	return s.Store.Has(ctx, ds)
}

func TestStoreThatLostNothingIsNotAsked(t *testing.T) {
	dir := files(t, map[string]string{"a/b": "1"})
	store := &epochStore{epoch: "one"}
	root := write(t, dir, store, worktree.Options{}).Root
	write(t, dir, store, worktree.Options{})
	if store.asked != 0 {
		t.Errorf("asked %d times", store.asked)
	}
	store.epoch = "two"
	store.Remove(cas.Sum([]byte("1")))
	if got := write(t, dir, store, worktree.Options{}); got.Root != root || got.Added != 1 || store.asked != 1 {
		t.Errorf("after a loss: %+v, asked %d times", got, store.asked)
	}
	write(t, dir, store, worktree.Options{})
	if store.asked != 1 {
		t.Errorf("asked again in the same epoch")
	}
}

// meddler changes a file whenever it is read, as often as times says.
type meddler struct {
	memory.Store
	path  string
	mu    sync.Mutex
	times int
}

func (s *meddler) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return cas.Digest{}, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times > 0 && bytes.HasPrefix(data, []byte("unstable")) {
		s.times--
		if err := os.WriteFile(s.path, fmt.Appendf(nil, "unstable %d", s.times), 0o644); err != nil {
			return cas.Digest{}, 0, err
		}
	}
	return s.Store.Add(ctx, bytes.NewReader(data))
}

func TestFileThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	dir := files(t, map[string]string{"sub/f": "unstable", "g": "1"})
	store := &meddler{path: filepath.Join(dir, "sub/f"), times: 2}
	if got, want := write(t, dir, store, worktree.Options{}).Root, digestOf(t, dir); got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
}

// hasty changes something before the first file is read.
type hasty struct {
	memory.Store
	once   sync.Once
	change func()
}

func (s *hasty) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	s.once.Do(s.change)
	return s.Store.Add(ctx, r)
}

func TestFileThatGrowsOrShrinksWhileItIsReadIsReadAgain(t *testing.T) {
	for _, size := range []int{0, 3, 10, 70_000, 300_000} {
		content := strings.Repeat("0123456789", 30_000)[:size]
		dir := files(t, map[string]string{"f": "0123456789"})
		store := &hasty{change: func() { must(t, os.WriteFile(dir+"/f", []byte(content), 0o644)) }}
		root := write(t, dir, store, worktree.Options{}).Root
		if want := digestOf(t, dir); root != want {
			t.Errorf("%d bytes: root is %s, want %s", size, root, want)
		}
		if data, err := cas.ReadAll(t.Context(), store, cas.Sum([]byte(content)), 1<<20); err != nil || string(data) != content {
			t.Errorf("%d bytes: the store has %d, %v", size, len(data), err)
		}
	}
}

func TestFileThatNeverHoldsStillIsNamed(t *testing.T) {
	dir := files(t, map[string]string{"sub/f": "unstable", "g": "1"})
	store := &meddler{path: filepath.Join(dir, "sub/f"), times: 1 << 30}
	_, err := worktree.Write(t.Context(), dir, store, worktree.Options{})
	if !errors.Is(err, worktree.ErrUnstable) || err.Error() != "sub/f: changes while it is read" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".fstree")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an index was written: %v", err)
	}
}

func TestAllUnreadableEntriesAreListed(t *testing.T) {
	if os.Geteuid() == 0 {
		return // root can read everything
	}
	dir := files(t, map[string]string{"a/f": "1", "b/c/g": "2", "ok": "3", "z": "4"})
	for _, path := range []string{"a/f", "b/c", "z"} {
		must(t, os.Chmod(filepath.Join(dir, path), 0))
	}
	defer loosenAll(dir)
	store := &memory.Store{}
	_, err := worktree.Write(t.Context(), dir, store, worktree.Options{})
	want := "3 entries failed: a/f: permission denied; b/c: permission denied; z: permission denied"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Stat(filepath.Join(dir, ".fstree")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an index was written: %v", err)
	}
	// Nothing names what could not be stored.
	if store.Len() != 1 {
		t.Errorf("%d objects were stored, want the one readable file", store.Len())
	}
}

func TestFileThatTheIndexKnowsNeedNotBeReadable(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1"})
	store := &memory.Store{}
	must(t, os.Chmod(filepath.Join(dir, "a/f"), 0o200))
	if os.Geteuid() == 0 {
		write(t, dir, store, worktree.Options{})
	}
	if got := digestIfReadable(t, dir); !got.IsZero() && write(t, dir, store, worktree.Options{}).Root != got {
		t.Errorf("root is not %s", got)
	}
}

func digestIfReadable(t *testing.T, dir string) cas.Digest {
	if os.Geteuid() != 0 {
		return cas.Digest{}
	}
	return digestOf(t, dir)
}

func TestWhatIsNoFileDirectoryOrSymlinkIsLeftOut(t *testing.T) {
	dir := files(t, map[string]string{"f": "1", "sub/g": "2"})
	want := digestOf(t, dir)
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	must(t, unix.Mkfifo(filepath.Join(dir, "sub/fifo"), 0o644))
	must(t, unix.Mknod(filepath.Join(dir, "sub/socket"), unix.S_IFSOCK|0o644, 0))
	if got := digestOf(t, dir); got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
}

func TestHardLinksSparseFilesAndStrangeNames(t *testing.T) {
	dir := files(t, map[string]string{"f": "one", "new\nline": "two", "\xff\xfe": "three"})
	must(t, os.Link(dir+"/f", dir+"/g"))
	must(t, os.WriteFile(dir+"/sparse", nil, 0o644))
	must(t, os.Truncate(dir+"/sparse", 3<<20))
	store := &memory.Store{}
	root := write(t, dir, store, worktree.Options{}).Root
	target := filepath.Join(t.TempDir(), "t")
	must2(t)(worktree.Checkout(t.Context(), target, root, store, worktree.CheckoutOptions{}))
	expectTree(t, store, root, target)
	expectTree(t, store, root, dir)
}

func TestIndexThatIsForeignOrDamagedIsRebuiltWithAWarning(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1"})
	path := filepath.Join(dir, ".fstree/index")
	store := &memory.Store{}
	root := write(t, dir, store, worktree.Options{}).Root
	good, err := os.ReadFile(path)
	must(t, err)
	old := append([]byte{0xe3, 0x3e}, castest.Bytes(500, 1)...)
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 1
	for name, data := range map[string][]byte{
		"old client": old, "empty": nil, "short": good[:20], "cut": good[:len(good)-1], "flipped": flipped, "text": []byte("hello"),
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(path, data, 0o644))
			seen := &watcher{}
			if got := write(t, dir, store, worktree.Options{Observer: seen}).Root; got != root {
				t.Errorf("root is %s, want %s", got, root)
			}
			if got := seen.take(worktree.Warning); len(got) != 1 || strings.Contains(got[0], "\n") {
				t.Errorf("warnings: %q", got)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, good) {
				t.Errorf("the index was not rebuilt: %v", err)
			}
		})
	}
}

func TestIndexThatCannotBeWrittenIsAWarning(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "occupied": ""})
	seen := &watcher{}
	opt := worktree.Options{Index: filepath.Join(dir, "occupied/index"), Observer: seen}
	if got := write(t, dir, &memory.Store{}, opt).Root; got != digestOf(t, dir) {
		t.Errorf("root is %s", got)
	}
	if got := seen.take(worktree.Warning); !strings.Contains(strings.Join(got, "; "), "is not saved: not a directory") {
		t.Errorf("warnings: %q", got)
	}
}

func TestReadOnlyDirectoryGivesItsDigest(t *testing.T) {
	if os.Geteuid() == 0 {
		return // root can write everywhere
	}
	dir := files(t, map[string]string{"a/f": "1"})
	want := digestOf(t, dir)
	must(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o755)
	seen := &watcher{}
	if got := write(t, dir, &memory.Store{}, worktree.Options{Observer: seen}).Root; got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
	if got := seen.take(worktree.Warning); len(got) != 1 || !strings.Contains(got[0], "permission denied") {
		t.Errorf("warnings: %q", got)
	}
}

func TestIndexBelowTheRootIsNotPartOfTheTree(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "a/index": "an ordinary file", "b/": ""})
	must(t, os.Remove(dir+"/a/index"))
	want := digestOf(t, dir)
	for _, index := range []string{"a/index", filepath.Join(dir, "a/index"), "./b/../a/index"} {
		store, opt := &memory.Store{}, worktree.Options{Index: index}
		for range 2 {
			if got := write(t, dir, store, opt).Root; got != want {
				t.Errorf("with index %s the root is %s, want %s", index, got, want)
			}
		}
		empty := putTree(t, store)
		must2(t)(worktree.Checkout(t.Context(), dir, empty, store, worktree.CheckoutOptions{Options: opt}))
		if _, err := os.Stat(dir + "/a/index"); err != nil {
			t.Errorf("checkout took the index away: %v", err)
		}
		must2(t)(worktree.Checkout(t.Context(), dir, want, store, worktree.CheckoutOptions{Options: opt}))
		must(t, os.Remove(dir+"/a/index"))
	}
}

func TestRootThatIsNoDirectoryIsAnError(t *testing.T) {
	dir := files(t, map[string]string{"f": "1"})
	for path, want := range map[string]error{"f": unix.ENOTDIR, "absent": fs.ErrNotExist} {
		path = filepath.Join(dir, path)
		_, err := worktree.Write(t.Context(), path, &memory.Store{}, worktree.Options{})
		if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	}
}

// fullStore keeps nothing.
type fullStore struct{ memory.Store }

func (*fullStore) Add(context.Context, io.Reader) (cas.Digest, int64, error) {
	return cas.Digest{}, 0, unix.ENOSPC
}

func TestStoreThatFailsEndsTheWrite(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "b/f": "2", "c/f": "3"})
	_, err := worktree.Write(t.Context(), dir, &fullStore{}, worktree.Options{})
	if !errors.Is(err, unix.ENOSPC) || !strings.HasSuffix(err.Error(), "/f: no space left on device") {
		t.Errorf("got %v", err)
	}
}

// lossyStore names everything, and in the end has stored nothing.
type lossyStore struct{ memory.Store }

func (s *lossyStore) AddMany(_ context.Context, fn func(cas.Adder) error) error {
	return errors.Join(fn(s), unix.EIO)
}

func TestNothingIsNamedThatWasNotStored(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "b": "2"})
	result, err := worktree.Write(t.Context(), dir, &lossyStore{}, worktree.Options{})
	if !errors.Is(err, unix.EIO) || !result.Root.IsZero() {
		t.Errorf("got %v, %v", result.Root, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".fstree/index")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the index: %v", err)
	}
}

// slowStore waits for the context.
type slowStore struct {
	memory.Store
	waiting chan struct{}
}

func (s *slowStore) Add(ctx context.Context, _ io.Reader) (cas.Digest, int64, error) {
	s.waiting <- struct{}{}
	<-ctx.Done()
	return cas.Digest{}, 0, context.Cause(ctx)
}

func TestCancelledWriteEndsSoon(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "b/f": "2", "c": "3"})
	ctx, cancel := context.WithCancel(t.Context())
	store := &slowStore{waiting: make(chan struct{}, 3)}
	go func() {
		<-store.waiting
		cancel()
	}()
	if _, err := worktree.Write(ctx, dir, store, worktree.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestChildrenAreStoredBeforeTheirTree(t *testing.T) {
	dir := files(t, map[string]string{"a/b/c": "1", "a/d": "2", "e/f/g/h": "3"})
	write(t, dir, &orderedStore{t: t}, worktree.Options{Threads: 8})
}

// orderedStore insists that it holds what a tree names.
type orderedStore struct {
	memory.Store
	t *testing.T
}

func (s *orderedStore) Add(ctx context.Context, r io.Reader) (cas.Digest, int64, error) {
	data, err := io.ReadAll(r)
	if tr, err := tree.Decode(data); err == nil {
		for e := range tr.All() {
			if present, _ := s.Has(ctx, []cas.Digest{e.Digest}); !present[0] {
				s.t.Errorf("a tree came before its %s", e.Name)
			}
		}
	}
	if err != nil {
		return cas.Digest{}, 0, err
	}
	return s.Store.Add(ctx, bytes.NewReader(data))
}

func TestNoTreeNamesWhatTheStoreHasLost(t *testing.T) {
	dir := files(t, map[string]string{"a/lost": "1", "a/changed": "2"})
	store := &lateStore{orderedStore{t: t}}
	write(t, dir, store, worktree.Options{})
	store.Remove(cas.Sum([]byte("1")))
	must(t, os.WriteFile(dir+"/a/changed", []byte("3"), 0o644))
	if got, want := write(t, dir, store, worktree.Options{}).Root, digestOf(t, dir); got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
}

// lateStore takes its time to tell what it holds.
type lateStore struct{ orderedStore }

func (s *lateStore) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	time.Sleep(100 * time.Millisecond)
	return s.orderedStore.Has(ctx, ds)
}

func TestIndexListsTheTree(t *testing.T) {
	dir := files(t, map[string]string{"a/f": "1", "b": "2"})
	must(t, os.Symlink("b", dir+"/a/l"))
	store := &memory.Store{}
	if _, err := worktree.ReadIndex(dir, worktree.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an index: %v", err)
	}
	root := write(t, dir, store, worktree.Options{}).Root
	entries, err := worktree.ReadIndex(dir, worktree.Options{})
	must(t, err)
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.Path)
		want, err := tree.Resolve(t.Context(), store, tree.Path{Root: root, Rest: e.Path})
		must(t, err)
		info, err := os.Lstat(filepath.Join(dir, e.Path))
		must(t, err)
		if e.Type != want.Type || e.Perm != want.Perm || e.Digest != want.Digest || e.Target != want.Target || !e.Mtime.Equal(info.ModTime()) {
			t.Errorf("%+v, want %+v of %s", e, want, info.ModTime())
		}
	}
	if want := []string{"a", "a/f", "a/l", "b"}; !slices.Equal(paths, want) {
		t.Errorf("listed %q, want %q", paths, want)
	}
}

func TestIndexedRootIsWhatWasWrittenOrCheckedOutLast(t *testing.T) {
	store, opt := &memory.Store{}, worktree.Options{}
	dir := files(t, map[string]string{"a": "1", "sub/b": "2"})
	if d := worktree.IndexedRoot(dir, opt); !d.IsZero() {
		t.Errorf("%s before there is an index", d)
	}
	first := write(t, dir, store, opt).Root
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("changed"), 0o644))
	if d := worktree.IndexedRoot(dir, opt); d != first {
		t.Errorf("%s, want %s", d, first)
	}
	second := write(t, dir, store, opt).Root
	if _, err := worktree.Checkout(t.Context(), dir, first, store, worktree.CheckoutOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := worktree.IndexedRoot(dir, opt); d != first || first == second {
		t.Errorf("%s, want %s", d, first)
	}
	index := filepath.Join(dir, worktree.DefaultIndex)
	must(t, os.Truncate(index, 100))
	if d := worktree.IndexedRoot(dir, opt); !d.IsZero() {
		t.Errorf("%s from a damaged index", d)
	}
}
