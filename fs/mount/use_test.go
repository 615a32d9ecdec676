package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The way to a writable view of a tree.
func TestOverlayOnTop(t *testing.T) {
	source := write(t, map[string]string{"kept": "old", "changed": "old", "removed": "old", "dir/file": "old", "link": "-> kept"})
	m := mountChild(t, childOptions{Source: source})
	view := overlay(t, m.dir)
	if err := compareTrees(source, view); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(view, "changed"), []byte("new"), 0o644),
		os.Remove(filepath.Join(view, "removed")),
		os.WriteFile(filepath.Join(view, "dir", "added"), []byte("new"), 0o644),
		os.Rename(filepath.Join(view, "dir", "file"), filepath.Join(view, "dir", "moved")),
		os.Chmod(filepath.Join(view, "kept"), 0o600),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := write(t, map[string]string{"kept": "old", "changed": "new", "dir/added": "new", "dir/moved": "old", "link": "-> kept"})
	os.Chmod(filepath.Join(want, "kept"), 0o600)
	if err := compareTrees(want, view); err != nil {
		t.Error(err)
	}
	if err := compareTrees(source, m.dir); err != nil {
		t.Errorf("the mount has changed: %v", err)
	}
}

func TestProgramsRunFromTheMount(t *testing.T) {
	source := t.TempDir()
	binary, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(source, "binary"), binary, 0o755)
	os.WriteFile(filepath.Join(source, "plain"), binary, 0o644)
	os.WriteFile(filepath.Join(source, "script"), []byte("#!/bin/sh\necho from $0\n"), 0o755)
	for _, cached := range []bool{false, true} {
		m := mountChild(t, childOptions{Source: source, Cached: cached})
		if out, err := exec.CommandContext(t.Context(), m.path("binary")).CombinedOutput(); err != nil {
			t.Errorf("binary: %v: %s", err, out)
		}
		if err := exec.CommandContext(t.Context(), m.path("plain")).Run(); !os.IsPermission(err) {
			t.Errorf("without permission: %v", err)
		}
		out, err := exec.CommandContext(t.Context(), m.path("script")).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "from "+m.path("script") {
			t.Errorf("script: %v: %s", err, out)
		}
	}
}

func TestFilesCanBeMapped(t *testing.T) {
	source, big := someFiles(t)
	m := mountChild(t, childOptions{Source: source, Cached: true})
	f, err := os.Open(m.path("big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, flags := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE} {
		mapping, err := unix.Mmap(int(f.Fd()), 0, len(big), unix.PROT_READ, flags)
		if err != nil {
			t.Fatal(err)
		}
		if string(mapping) != string(big) {
			t.Error("the mapping differs")
		}
		unix.Munmap(mapping)
	}
}
