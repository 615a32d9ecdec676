package mount

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLocalFilesPassThrough(t *testing.T) {
	source := realTree(t)
	m := mountChild(t, childOptions{Source: source, Cached: true, Near: t.TempDir(), Options: Options{Mode: ModePassthrough}})
	for range 2 {
		if err := compareTrees(source, m.dir); err != nil {
			t.Fatal(err)
		}
	}
	before := m.report().Stats
	if err := compareTrees(source, m.dir); err != nil {
		t.Fatal(err)
	}
	after := m.report().Stats
	if after.Passed == before.Passed || after.Reads != before.Reads {
		t.Errorf("%d files passed through, %d reads", after.Passed-before.Passed, after.Reads-before.Reads)
	}
}

// While one handle or mapping of a file reads through the cache of the kernel,
// no other may pass through, and the other way round.
func TestFileThatIsOpenStaysAsItIsOpen(t *testing.T) {
	source, big := someFiles(t)
	m := mountChild(t, childOptions{Source: source, Cached: true, Near: t.TempDir(), Options: Options{Mode: ModePassthrough}})
	expectBig := func(f *os.File) {
		t.Helper()
		if got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30)); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	open := func() *os.File {
		t.Helper()
		f, err := os.Open(m.path("big"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	cold := open()
	expectBig(cold) // now it is local
	mapping, err := unix.Mmap(int(cold.Fd()), 0, len(big), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	second := open()
	expectBig(second)
	cold.Close()
	second.Close()
	third := open()
	expectBig(third)
	if n := m.report().Stats.Passed; n != 0 {
		t.Errorf("%d openings passed through beside a mapping", n)
	}
	if !bytes.Equal(mapping, big) {
		t.Error("the mapping differs")
	}
	unix.Munmap(mapping)
	third.Close()
	eventually(t, func() error {
		f := open()
		defer f.Close()
		expectBig(f)
		if m.report().Stats.Passed == 0 {
			return os.ErrInvalid
		}
		again := open()
		defer again.Close()
		expectBig(again)
		return nil
	})
}

func TestRefusedPassthroughIsSwitchedOff(t *testing.T) {
	source, _ := someFiles(t)
	for depth, passes := range map[int]bool{1: false, 2: true} {
		m := mountChild(t, childOptions{
			Source: source, Cached: true, Near: overlay(t, t.TempDir()),
			Options: Options{Mode: ModePassthrough, StackDepth: depth},
		})
		for range 3 {
			if err := compareTrees(source, m.dir); err != nil {
				t.Fatal(err)
			}
		}
		if n := m.report().Stats.Passed; n > 0 != passes {
			t.Errorf("depth %d: %d files passed through", depth, n)
		}
		if !passes {
			m.expectLog("passthrough is switched off")
		}
	}
}

// overlay returns a writable overlayfs over dir.
func overlay(t *testing.T, lower string) string {
	t.Helper()
	base := t.TempDir()
	var dirs []string
	for _, name := range []string{"upper", "work", "merged"} {
		dirs = append(dirs, filepath.Join(base, name))
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + dirs[0] + ",workdir=" + dirs[1]
	if err := unix.Mount("overlay", dirs[2], "overlay", 0, options); err != nil {
		t.Fatalf("overlay: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dirs[2], unix.MNT_DETACH) })
	return dirs[2]
}

func TestModeIsText(t *testing.T) {
	for _, m := range []Mode{ModeAuto, ModeCached, ModePassthrough} {
		var again Mode
		text, _ := m.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != m {
			t.Errorf("%s: %v, %v", text, again, err)
		}
	}
	if err := new(Mode).UnmarshalText([]byte("direct")); err == nil {
		t.Error("there is no such value")
	}
}
