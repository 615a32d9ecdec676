package mount

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func getxattr(path, name string) (string, error) {
	buf := make([]byte, 1000)
	n, err := unix.Lgetxattr(path, name, buf)
	return string(buf[:max(n, 0)]), err
}

func TestXattrsTellDigests(t *testing.T) {
	source := write(t, map[string]string{"file": "content", "dir/": "", "link": "-> file"})
	m := mountChild(t, childOptions{Source: source, Options: Options{Xattrs: true}})
	e, _, _ := mountedOn(m.dir)
	for name, want := range map[string]string{
		"file": digestOf(filepath.Join(source, "file")),
		"dir":  "blake3:2c86712e4dea8735b1c6bd968b4d256d9ff42e24df47a4e52f8a3b04db647c16",
		"":     e.source[len("fstree:"):],
	} {
		if got, err := getxattr(m.path(name), digestAttribute); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
		list := make([]byte, 100)
		if n, err := unix.Llistxattr(m.path(name), list); err != nil || string(list[:n]) != digestAttribute+"\x00" {
			t.Errorf("%q: list %q, %v", name, list, err)
		}
	}
	if _, err := getxattr(m.path("link"), digestAttribute); !errors.Is(err, unix.ENODATA) {
		t.Errorf("a symlink: %v, want ENODATA", err)
	}
	if _, err := getxattr(m.path("file"), "user.other"); !errors.Is(err, unix.ENODATA) {
		t.Errorf("another attribute: %v, want ENODATA", err)
	}
	if n, err := unix.Lgetxattr(m.path("file"), digestAttribute, nil); n != 71 || err != nil {
		t.Errorf("the size of the answer: %d, %v", n, err)
	}
	if _, err := unix.Lgetxattr(m.path("file"), digestAttribute, make([]byte, 10)); !errors.Is(err, unix.ERANGE) {
		t.Errorf("too little room: %v, want ERANGE", err)
	}
}

func TestWithoutXattrsThereAreNone(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "content"})})
	for range 2 {
		if _, err := getxattr(m.path("file"), digestAttribute); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("%v, want EOPNOTSUPP", err)
		}
	}
}
