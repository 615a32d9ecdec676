package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
)

// digestsOf returns the digest of a directory, and its short name.
func digestsOf(t *testing.T, dir string) (full, short string) {
	t.Helper()
	d, err := newFaulty().store(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d.String(), shortName(d.String())
}

// mountNamespace mounts a namespace of all trees below source, within b.
func mountNamespace(t *testing.T, source string, b bounds, o childOptions) *mounted {
	t.Helper()
	o.Source, o.Namespace = source, &b
	return mountChild(t, o)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestEveryTreeHasAPath(t *testing.T) {
	source := realTree(t)
	full, short := digestsOf(t, source)
	sub, _ := digestsOf(t, filepath.Join(source, "http"))
	m := mountNamespace(t, source, defaultBounds, childOptions{Cached: true})
	if got := names(t, m.dir); len(got) != 0 {
		t.Errorf("at first there is %q", got)
	}
	for range 2 {
		for name, original := range map[string]string{full: source, sub: filepath.Join(source, "http")} {
			if err := compareTrees(original, m.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if target, err := os.Readlink(m.path(short)); err != nil || target != full {
		t.Errorf("%s leads to %q, %v", short, target, err)
	}
	if _, err := os.Stat(m.path(short, "http", "server.go")); err != nil {
		t.Error(err)
	}
	want := []string{full, sub}
	slices.Sort(want)
	if got := names(t, m.dir); !slices.Equal(got, want) {
		t.Errorf("the listing shows %q", got)
	}
	if out, err := exec.CommandContext(t.Context(), "find", m.dir, "-mindepth", "1", "-maxdepth", "1", "-type", "d").CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUnknownTreeIsAskedForOnceAndEachTime(t *testing.T) {
	source := write(t, map[string]string{"file": "x"})
	full, _ := digestsOf(t, source)
	file := cas.Sum([]byte("x")).String()
	unknown := cas.Sum([]byte("unknown")).String()
	m := mountNamespace(t, source, defaultBounds, childOptions{})
	for n := 1; n <= 3; n++ {
		if _, err := os.Stat(m.path(unknown, "file")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, want ErrNotExist", err)
		}
		if got := m.report().Gets[unknown]; got != n {
			t.Errorf("asked %d times, want %d", got, n)
		}
	}
	// What is known and no tree is no tree either.
	if _, err := os.Stat(m.path(file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file: %v, want ErrNotExist", err)
	}
	m.fault("get fail")
	if _, err := os.Stat(m.path(full)); !errors.Is(err, unix.EIO) {
		t.Errorf("a remote that is away: %v, want EIO", err)
	}
	m.fault("get good")
	eventually(t, func() error {
		_, err := os.Stat(m.path(full, "file"))
		return err
	})
}

func TestNameThatIsNoDigestIsAbsentWithoutAQuestion(t *testing.T) {
	source := write(t, map[string]string{"file": "x"})
	_, short := digestsOf(t, source)
	m := mountNamespace(t, source, defaultBounds, childOptions{})
	before := m.report()
	for range 3 {
		for _, name := range []string{"autorun.inf", "blake3:", "blake3:12", strings.Repeat("g", 64), ".git", "\xff", strings.ToUpper(short), "blake3:" + strings.ToUpper(short)} {
			if _, err := os.Lstat(m.path(name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	after := m.report()
	if len(after.Gets) != len(before.Gets) || after.Stats.Requests > before.Stats.Requests+10 {
		t.Errorf("asked for %v, %d requests", after.Gets, after.Stats.Requests-before.Stats.Requests)
	}
}

// smallTree is about what one of manyTrees takes.
const smallTree = viewWeight + firstPage*16 + 200

// manyTrees is a directory of n directories of their own content.
func manyTrees(t *testing.T, n int) (source string, trees []string) {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("%04d/sub/file", i)] = fmt.Sprint(i)
	}
	source = write(t, files)
	for i := range n {
		full, _ := digestsOf(t, filepath.Join(source, fmt.Sprintf("%04d", i)))
		trees = append(trees, full)
	}
	return source, trees
}

// What is in use stays, the others go.
func TestIdleTreesAreForgottenAndFoundAgain(t *testing.T) {
	source, trees := manyTrees(t, 60)
	b := defaultBounds
	b.Enough, b.Idle, b.Name = 10*smallTree, 200*time.Millisecond, 10*time.Millisecond
	m := mountNamespace(t, source, b, childOptions{})
	open, err := os.Open(m.path(trees[0], "sub", "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	user := exec.CommandContext(t.Context(), "sh", "-c", "read line; cat file")
	user.Dir = m.path(trees[1], "sub")
	stdin, _ := user.StdinPipe()
	var out strings.Builder
	user.Stdout = &out
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	for i, name := range trees {
		if got, err := os.ReadFile(m.path(name, "sub", "file")); err != nil || string(got) != fmt.Sprint(i) {
			t.Fatalf("%q, %v", got, err)
		}
		if i%20 == 19 {
			time.Sleep(2 * b.Idle)
		}
	}
	eventually(t, func() error {
		os.Stat(m.path(trees[len(trees)-1]))
		os.Stat(m.path(cas.Sum([]byte("another")).String()))
		time.Sleep(b.Idle)
		if n := len(names(t, m.dir)); n > 15 {
			return fmt.Errorf("%d trees are kept", n)
		}
		return nil
	})
	got := make([]byte, 1)
	if n, err := open.ReadAt(got, 0); n != 1 || got[0] != '0' {
		t.Errorf("the open file: %q, %v", got, err)
	}
	stdin.Write([]byte("\n"))
	if err := user.Wait(); err != nil || out.String() != "1" {
		t.Errorf("whoever stands in a forgotten tree reads %q, %v", out.String(), err)
	}
	for i, name := range trees {
		if got, err := os.ReadFile(m.path(name, "sub", "file")); err != nil || string(got) != fmt.Sprint(i) {
			t.Fatalf("again: %q, %v", got, err)
		}
	}
}

// Those that somebody holds make no room, however often they are asked to go.
func TestTreesThatAreHeldKeepNoOthers(t *testing.T) {
	source, trees := manyTrees(t, 60)
	const held = 30
	b := defaultBounds
	b.Enough, b.Idle, b.Name = 10*smallTree, 200*time.Millisecond, 10*time.Millisecond
	m := mountNamespace(t, source, b, childOptions{})
	for _, name := range trees[:held] {
		f, err := os.Open(m.path(name, "sub", "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	time.Sleep(50 * time.Millisecond) // these are the oldest
	for _, name := range trees[held:] {
		if _, err := os.Stat(m.path(name, "sub", "file")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		time.Sleep(2 * b.Idle)
		os.Stat(m.path(cas.Sum([]byte("another")).String()))
		if n := len(names(t, m.dir)); n > held+3 {
			return fmt.Errorf("%d trees are kept, %d of them held", n, held)
		}
		return nil
	})
}

func TestFullNamespaceTakesTreesOnceOthersAreForgotten(t *testing.T) {
	source, trees := manyTrees(t, 30)
	b := defaultBounds
	b.Enough, b.Most, b.Idle, b.Name = 5*smallTree, 10*smallTree, 50*time.Millisecond, 10*time.Millisecond
	m := mountNamespace(t, source, b, childOptions{})
	for range 3 {
		for _, name := range trees {
			eventually(t, func() error {
				_, err := os.ReadFile(m.path(name, "sub", "file"))
				return err
			})
		}
	}
}

func TestNamespaceThatIsFullTakesNoTree(t *testing.T) {
	source, trees := manyTrees(t, 20)
	b := defaultBounds
	b.Enough, b.Most = 10*smallTree, 10*smallTree
	m := mountNamespace(t, source, b, childOptions{})
	refused := 0
	for _, name := range trees {
		if _, err := os.Stat(m.path(name)); errors.Is(err, syscall.ENOMEM) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused < 5 || refused > 15 {
		t.Errorf("%d trees were refused", refused)
	}
	if _, err := os.ReadFile(m.path(trees[0], "sub", "file")); err != nil {
		t.Error(err)
	}
}

func TestLongListingOfANamespaceIsBoundedAndWhole(t *testing.T) {
	source, trees := manyTrees(t, 150)
	b := defaultBounds
	b.Listed = 100
	m := mountNamespace(t, source, b, childOptions{})
	for _, name := range trees {
		if _, err := os.Stat(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		got := names(t, m.dir)
		want := slices.Sorted(slices.Values(trees[50:]))
		if !slices.Equal(got, want) {
			return fmt.Errorf("%d trees are listed", len(got))
		}
		return nil
	})
}

func TestNamespaceReadsAheadWhatIsUsed(t *testing.T) {
	source, trees := manyTrees(t, 10)
	m := mountNamespace(t, source, defaultBounds, childOptions{Cached: true, Options: Options{Prefetch: PrefetchAll}})
	for _, name := range trees[:5] {
		if _, err := os.Stat(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.tell("prefetch /" + shortName(trees[5]) + "/sub"); !strings.Contains(got, "Files:1 ") {
		t.Error(got)
	}
	if got := m.tell("prefetch nothing/sub"); !strings.Contains(got, "not a digest") {
		t.Error(got)
	}
	eventually(t, func() error {
		if m.report().Stats.Prefetching {
			return errors.New("it still reads ahead")
		}
		return nil
	})
	m.fault("get fail")
	for i, name := range trees[:6] {
		if got, err := os.ReadFile(m.path(name, "sub", "file")); err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// They are paths in one tree, and mean nothing in others.
func TestNamespaceReadsNoPathsAhead(t *testing.T) {
	source, trees := manyTrees(t, 1)
	m := mountNamespace(t, source, defaultBounds, childOptions{Options: Options{Prefetch: PrefetchTrees, PrefetchPaths: []string{"sub/file"}}})
	if _, err := os.Stat(m.path(trees[0])); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if r := m.report(); r.Stats.Prefetching || r.Stats.Directories < 2 {
			return errors.New("it still reads ahead")
		}
		return nil
	})
	if file := cas.Sum([]byte("0")).String(); m.report().Gets[file] > 0 {
		t.Error("the path was read")
	}
}

func TestNamespaceIsReadOnlyAndHasAttributes(t *testing.T) {
	source := write(t, map[string]string{"file": "x", "dir/": ""})
	full, short := digestsOf(t, source)
	m := mountNamespace(t, source, defaultBounds, childOptions{Options: Options{Xattrs: true}})
	inside := *m
	inside.dir = m.path(full)
	expectReadOnly(t, &inside)
	if err := os.Mkdir(m.path("new"), 0o755); !errors.Is(err, unix.EROFS) {
		t.Errorf("mkdir: %v", err)
	}
	for _, get := range []func(string, []byte) (int, error){
		func(path string, list []byte) (int, error) { return unix.Llistxattr(path, list) },
		func(path string, value []byte) (int, error) {
			n, err := unix.Lgetxattr(path, digestAttribute, value)
			if err == unix.ENODATA { // as for every symlink
				return 0, nil
			}
			return n, err
		},
	} {
		if n, err := get(m.path(short), make([]byte, 100)); n != 0 || err != nil {
			t.Errorf("the link of a short name: %d, %v", n, err)
		}
	}
	for _, name := range []string{full, short} {
		value := make([]byte, 100)
		if n, err := unix.Getxattr(m.path(name), digestAttribute, value); err != nil || string(value[:n]) != full {
			t.Errorf("%q, %v", value[:max(n, 0)], err)
		}
	}
	if _, err := unix.Getxattr(m.dir, digestAttribute, make([]byte, 100)); err != unix.ENODATA {
		t.Errorf("the namespace itself: %v, want ENODATA", err)
	}
	if n, err := unix.Listxattr(m.dir, nil); n != 0 || err != nil {
		t.Errorf("the namespace itself: %d, %v", n, err)
	}
}

func TestWarmNamespaceAsksLittle(t *testing.T) {
	source := realTree(t)
	full, _ := digestsOf(t, source)
	b := defaultBounds
	b.Name = time.Hour
	m := mountNamespace(t, source, b, childOptions{Cached: true})
	least := int64(-1)
	for range 6 {
		before := m.report().Stats.Requests
		if err := compareTrees(source, m.path(full)); err != nil {
			t.Fatal(err)
		}
		if n := m.report().Stats.Requests - before; least < 0 || n < least {
			least = n
		}
	}
	if least > 0 {
		t.Errorf("every look cost at least %d requests", least)
	}
}

// Trees are forgotten as fast as they are used, and nobody notices: what the
// kernel still knows of a tree answers, and the rest is found again.
func TestForgettingDisturbsNobody(t *testing.T) {
	source, trees := manyTrees(t, 40)
	b := defaultBounds
	b.Enough, b.Idle, b.Name = 4*smallTree, time.Millisecond, time.Millisecond
	m := mountNamespace(t, source, b, childOptions{})
	end := time.Now().Add(2 * time.Second)
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for n := i; time.Now().Before(end); n += 7 {
				name := m.path(trees[n%len(trees)])
				if got, err := os.ReadFile(filepath.Join(name, "sub", "file")); err != nil || string(got) != fmt.Sprint(n%len(trees)) {
					t.Errorf("%q, %v", got, err)
					return
				}
				if list, err := os.ReadDir(name); err != nil || len(list) != 1 {
					t.Errorf("%v, %v", list, err)
					return
				}
				if _, err := os.ReadDir(m.dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
	eventually(t, func() error {
		os.Stat(m.path(trees[0]))
		if s := m.report().Stats; s.Errors > 0 || s.Entries >= 3*len(trees) {
			return fmt.Errorf("nothing was forgotten, or something failed: %+v", s)
		}
		return nil
	})
}

// Overlayfs and bind mounts hold a tree as whoever stands in it does.
func TestForgottenTreesServeTheMountsOnThem(t *testing.T) {
	source, trees := manyTrees(t, 30)
	b := defaultBounds
	b.Enough, b.Idle, b.Name = 4*smallTree, time.Millisecond, time.Millisecond
	m := mountNamespace(t, source, b, childOptions{})
	// Overlayfs takes a colon for the end of a path.
	view, bound := overlay(t, m.path(shortName(trees[0]))), t.TempDir()
	if err := unix.Mount(m.path(trees[1]), bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(bound, unix.MNT_DETACH)
	for range 3 {
		for i, name := range trees[2:] {
			if got, err := os.ReadFile(m.path(name, "sub", "file")); err != nil || string(got) != fmt.Sprint(i+2) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		time.Sleep(10 * b.Idle)
		for dir, want := range map[string]string{view: "0", bound: "1"} {
			if got, err := os.ReadFile(filepath.Join(dir, "sub", "file")); err != nil || string(got) != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
	}
	if n := len(names(t, m.dir)); n >= len(trees) {
		t.Errorf("%d trees are kept: nothing was forgotten", n)
	}
}

func TestFilesOfANamespacePassThrough(t *testing.T) {
	source := realTree(t)
	full, _ := digestsOf(t, source)
	m := mountNamespace(t, source, defaultBounds, childOptions{Cached: true, Near: t.TempDir(), Options: Options{Mode: ModePassthrough}})
	for range 3 {
		if err := compareTrees(source, m.path(full)); err != nil {
			t.Fatal(err)
		}
	}
	if s := m.report().Stats; s.Passed == 0 {
		t.Errorf("%+v", s)
	}
}
