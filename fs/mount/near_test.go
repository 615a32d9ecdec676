package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFullDiskIsServedFromTheRemote(t *testing.T) {
	source, _ := someFiles(t)
	near := t.TempDir()
	if err := unix.Mount("tmpfs", near, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(near, unix.MNT_DETACH) })
	m := mountChild(t, childOptions{Source: source, Cached: true, Near: near, Faults: "get stream files"})
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

func TestDeletedCacheIsFilledAgain(t *testing.T) {
	source, near := realTree(t), t.TempDir()
	m := mountChild(t, childOptions{Source: source, Cached: true, Near: near})
	for _, name := range []string{"dial.go", "http/server.go"} {
		if _, err := os.ReadFile(m.path(name)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(near); err != nil {
			t.Fatal(err)
		}
		os.Mkdir(near, 0o755)
	}
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

func TestLostCacheIsDoneWithout(t *testing.T) {
	source, near := realTree(t), t.TempDir()
	m := mountChild(t, childOptions{Source: source, Cached: true, Near: near})
	os.RemoveAll(near)
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

// A stream is put into a file if it is large, and never shown in part.
func TestLargeStreamIsReadable(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	source := write(t, map[string]string{"large": strings.Repeat("0123456789abcdef", 3*inMemory/16) + "end", "small": "x"})
	m := mountChild(t, childOptions{Source: source, Faults: "get stream"})
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
	f, err := os.Open(m.path("large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 10)
	if n, _ := f.ReadAt(buf, 3*inMemory-7); string(buf[:n]) != "9abcdefend" {
		t.Errorf("the end is %q", buf[:n])
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "fstree-*")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}
