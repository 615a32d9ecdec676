package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// realTree is a directory with a few hundred real files.
func realTree(t *testing.T) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src", "net")
}

func TestMountShowsTheTree(t *testing.T) {
	source := realTree(t)
	for _, test := range []struct {
		name string
		childOptions
	}{
		{"plain", childOptions{}},
		{"cached", childOptions{Cached: true}},
		{"streams", childOptions{Faults: "get stream"}},
		{"no sizes", childOptions{Faults: "sizes none"}},
		{"failing sizes", childOptions{Faults: "sizes fail"}},
		{"no directory cache", childOptions{Options: Options{NoDirectoryCache: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.Source = source
			m := mountChild(t, test.childOptions)
			for range 2 {
				if err := compareTrees(source, m.dir); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestNamesAreBytes(t *testing.T) {
	source := write(t, map[string]string{
		"latin-\xe9\xff": "not UTF-8", "new\nline": "", "-dash": "x", "sp ace/\\\"'": "y",
		"link": "-> nowhere/\xfe", "empty/": "", strings.Repeat("n", 255): "long",
		"big": strings.Repeat("0123456789abcdef", 1<<18), "deep/a/b/c/d/e/f": "deep",
	})
	os.Chmod(filepath.Join(source, "-dash"), 0o751)
	m := mountChild(t, childOptions{Source: source, Cached: true})
	if err := compareTrees(source, m.dir); err != nil {
		t.Fatal(err)
	}
}

func TestEveryWriteIsRefused(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x", "dir/": ""})})
	expectReadOnly(t, m)
	expectNoWriters(t, m)
	if err := unix.Mount("", m.dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Fatalf("remount for writing: %v", err)
	}
	expectReadOnly(t, m)
}

func expectReadOnly(t *testing.T, m *mounted) {
	t.Helper()
	for name, err := range map[string]error{
		"create":   os.WriteFile(m.path("new"), nil, 0o644),
		"truncate": os.Truncate(m.path("file"), 0),
		"write":    os.WriteFile(m.path("file"), []byte("y"), 0o644),
		"mkdir":    os.Mkdir(m.path("new"), 0o755),
		"remove":   os.Remove(m.path("file")),
		"rmdir":    os.Remove(m.path("dir")),
		"rename":   os.Rename(m.path("file"), m.path("other")),
		"link":     os.Link(m.path("file"), m.path("other")),
		"symlink":  os.Symlink("x", m.path("other")),
		"chmod":    os.Chmod(m.path("file"), 0o600),
		"mknod":    unix.Mknod(m.path("fifo"), unix.S_IFIFO, 0),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
}

// expectNoWriters expects that nothing can be opened for writing, or changed
// otherwise. When root has remounted, the kernel lets files be opened, and
// asks only when something is written.
func expectNoWriters(t *testing.T, m *mounted) {
	t.Helper()
	times := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	opened := func(flags int) error {
		fd, err := unix.Open(m.path("file"), flags|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	temporary := func() error {
		fd, err := unix.Open(m.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for name, err := range map[string]error{
		"append":   opened(unix.O_WRONLY | unix.O_APPEND),
		"open":     opened(unix.O_RDWR),
		"direct":   opened(unix.O_WRONLY | unix.O_DIRECT),
		"empty":    opened(unix.O_RDONLY | unix.O_TRUNC),
		"nameless": temporary(),
		"touch":    unix.UtimesNanoAt(unix.AT_FDCWD, m.path("file"), times, unix.AT_SYMLINK_NOFOLLOW),
		"chown":    os.Chown(m.path("file"), 7, 7),
		"setxattr": unix.Setxattr(m.path("file"), "user.x", []byte("y"), 0),
		"rmxattr":  unix.Removexattr(m.path("file"), "user.x"),
		"replace":  unix.Renameat2(unix.AT_FDCWD, m.path("file"), unix.AT_FDCWD, m.path("dir"), unix.RENAME_EXCHANGE),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
}

func TestAbsentNameIsNotThere(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x"})})
	for range 3 {
		if _, err := os.Stat(m.path("absent")); !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := os.Stat(m.path("file", "below")); !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
	}
}

func TestMountIsNamedInTheMountTable(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x"})})
	e, ok, err := mountedOn(m.dir)
	if err != nil || !ok || e.fsType != "fuse.fstree" || !strings.HasPrefix(e.source, "fstree:blake3:") {
		t.Fatalf("%+v, %v, %v", e, ok, err)
	}
	out, err := exec.CommandContext(t.Context(), "df", m.dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "fstree:blake3:") {
		t.Fatalf("df: %v\n%s", err, out)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil || st.Flags&unix.ST_RDONLY == 0 || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		t.Fatalf("statfs: %+v, %v", st, err)
	}
}

// The kernel may drop a page whenever it likes, so one of several looks has to
// be free, not every one.
func TestWarmMountAsksNothing(t *testing.T) {
	source := realTree(t)
	m := mountChild(t, childOptions{Source: source})
	least := int64(-1)
	for range 6 {
		before := m.report().Stats.Requests
		if err := compareTrees(source, m.dir); err != nil {
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

func TestListingFetchesNoContent(t *testing.T) {
	source := realTree(t)
	for _, faults := range []string{"sizes good", "sizes none", "sizes fail"} {
		t.Run(faults, func(t *testing.T) {
			m := mountChild(t, childOptions{Source: source, Faults: faults})
			if out, err := exec.CommandContext(t.Context(), "find", m.dir).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if n := m.report().Stats.Objects; n != 0 {
				t.Errorf("find fetched %d files", n)
			}
		})
	}
}

func TestStatFetchesOneFileAtMost(t *testing.T) {
	source := realTree(t)
	for faults, want := range map[string]int64{"sizes good": 0, "sizes none": 1} {
		m := mountChild(t, childOptions{Source: source, Faults: faults})
		info, err := os.Stat(m.path("dial.go"))
		if err != nil {
			t.Fatal(err)
		}
		original, _ := os.Stat(filepath.Join(source, "dial.go"))
		if info.Size() != original.Size() {
			t.Errorf("size %d, want %d", info.Size(), original.Size())
		}
		if n := m.report().Stats.Objects; n != want {
			t.Errorf("%s: stat fetched %d files, want %d", faults, n, want)
		}
	}
}
