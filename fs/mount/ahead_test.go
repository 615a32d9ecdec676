package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWishedSubtreeIsReadAndNothingElse(t *testing.T) {
	source := write(t, map[string]string{"a/b/one": "1", "a/b/c/two": "22", "a/three": "333", "four": "4444", "a/b/empty": ""})
	m := mountChild(t, childOptions{Source: source, Cached: true})
	for range 2 {
		want := fmt.Sprintf("%+v", Progress{Trees: 2, Files: 2, Bytes: 3, TotalFiles: 2, TotalBytes: 3})
		if got := m.tell("prefetch /a/b/"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	want := fmt.Sprintf("%+v", Progress{Files: 1, Bytes: 4, TotalFiles: 1, TotalBytes: 4})
	if got := m.tell("prefetch four"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m.fault("get fail")
	for name, want := range map[string]error{"a/b/one": nil, "a/b/c/two": nil, "four": nil, "a/three": unix.EIO} {
		if _, err := os.ReadFile(m.path(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// A directory with the content of another is read although nobody opened it.
func TestWishForACopyOfAKnownDirectory(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"left/sub/file": "x", "right/sub/file": "x"})})
	for _, name := range []string{"left", "right"} {
		if got := m.tell("prefetch " + name); !strings.Contains(got, " Files:1 ") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestUnfulfilledWishTellsWhy(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"dir/a": "1", "dir/b": "2", "file": "x", "link": "-> file"})})
	for path, want := range map[string]string{
		"absent":     "file does not exist",
		"file/below": "not a directory",
		"dir/../dir": "file does not exist", // a path, not something to resolve
		"link":       "Files:0",             // what it leads to has a path of its own
	} {
		if got := m.tell("prefetch " + path); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	m.fault("get fail")
	if got := m.tell("prefetch file"); !strings.Contains(got, "the far store is broken") || !strings.Contains(got, "/file") {
		t.Errorf("a broken remote: %s", got)
	}
}

func TestPathsOfTheOptionsAreReadAhead(t *testing.T) {
	source := write(t, map[string]string{"a/one": "1", "a/two": "22", "b/three": "333", "four": "4444"})
	m := prefetched(t, childOptions{Source: source, Cached: true, Options: Options{PrefetchPaths: []string{"/four", "absent", "b"}}})
	m.expectLog("absent")
	m.fault("get fail")
	for name, want := range map[string]error{"four": nil, "b/three": nil, "a/one": unix.EIO} {
		if _, err := os.ReadFile(m.path(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestMountIsFoundFromAPathInIt(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"dir/file": "x"})})
	for _, path := range []string{m.dir, m.path("dir"), m.path("dir", "file")} {
		found, inside, err := Find(path)
		if err != nil || found.Dir != m.dir || found.Device == "" || found.UID != fmt.Sprint(os.Getuid()) || m.path(inside) != path {
			t.Errorf("%s: %+v, %q, %v", path, found, inside, err)
		}
		if found.Dead() {
			t.Error("it is said to be dead")
		}
	}
	// A bind mount shows a part of it elsewhere.
	bound := t.TempDir()
	if err := unix.Mount(m.path("dir"), bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	_, inside, err := Find(bound + "/file")
	unix.Unmount(bound, 0)
	if err != nil || inside != "dir/file" {
		t.Errorf("bound: %q, %v", inside, err)
	}
	if _, _, err := Find(t.TempDir()); !errors.Is(err, ErrNotMounted) {
		t.Errorf("elsewhere: %v, want ErrNotMounted", err)
	}
}
