package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
)

// tryMount mounts an empty tree in this process, which works for mounts that
// must fail before there is a mount.
func tryMount(t *testing.T, dir string, store cas.Getter) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	s, err := Mount(ctx, dir, cas.Sum([]byte("\xee\x3e\x01\x00")), store, Options{Timeout: 100 * time.Millisecond})
	if err == nil {
		s.Unmount(ctx)
		t.Fatalf("%s is mounted", dir)
	}
	return err
}

func withEmptyTree(t *testing.T) *memory.Store {
	store := &memory.Store{}
	if _, _, err := store.Add(t.Context(), strings.NewReader("\xee\x3e\x01\x00")); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestUnusableMountpointIsRefused(t *testing.T) {
	dir := write(t, map[string]string{"file": "x", "link": "-> nowhere"})
	for name, want := range map[string]error{"absent": fs.ErrNotExist, "file": unix.ENOTDIR, "link": fs.ErrNotExist} {
		if err := tryMount(t, filepath.Join(dir, name), withEmptyTree(t)); !errors.Is(err, want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestMountWithoutRootFails(t *testing.T) {
	if err := tryMount(t, t.TempDir(), &memory.Store{}); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	hanging := newFaulty()
	hanging.get = "hang"
	if err := tryMount(t, t.TempDir(), hanging); !errors.Is(err, errTimeout) {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestCancelledMountLeavesNothing(t *testing.T) {
	hanging := newFaulty()
	hanging.get = "hang"
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errBroken)
	defer cancel()
	dir := t.TempDir()
	if _, err := Mount(ctx, dir, cas.Sum(nil), hanging, Options{}); !errors.Is(err, errBroken) {
		t.Errorf("%v, want the cause of the cancellation", err)
	}
	if _, mounted, _ := mountedOn(dir); mounted {
		t.Error("it is mounted")
	}
}

func TestMountpointInUseIsRefused(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x"})})
	err := tryMount(t, m.dir, withEmptyTree(t))
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "fstree:blake3:") {
		t.Errorf("%v, want ErrBusy and who is there", err)
	}
}

func TestMountReplacesADeadMount(t *testing.T) {
	for _, looked := range []bool{false, true} {
		source := write(t, map[string]string{"file": "x"})
		dir := t.TempDir()
		m := mountChild(t, childOptions{Source: source, Mountpoint: dir})
		if looked { // then the kernel knows it all, and answers for the dead
			if err := compareTrees(source, m.dir); err != nil {
				t.Error(err)
			}
		}
		m.child.Process.Kill()
		m.child.Wait()
		if err := unix.Statfs(dir, new(unix.Statfs_t)); err != unix.ENOTCONN {
			t.Fatalf("statfs of a dead mount: %v", err)
		}
		again := mountChild(t, childOptions{Source: source, Mountpoint: dir})
		if err := compareTrees(source, again.dir); err != nil {
			t.Error(err)
		}
	}
}

func TestUnmountEndsADeadMount(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x"})})
	m.child.Process.Kill()
	m.child.Wait()
	if err := Unmount(t.Context(), m.dir, false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.dir); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestUnmountOfSomethingElseIsRefused(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/proc"} {
		if err := Unmount(t.Context(), dir, false); !errors.Is(err, ErrNotMounted) {
			t.Errorf("%s: %v, want ErrNotMounted", dir, err)
		}
	}
	if err := Unmount(t.Context(), filepath.Join(t.TempDir(), "absent"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
}

func TestBusyMountTellsWhoUsesIt(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"dir/file": "x"})})
	user := exec.CommandContext(t.Context(), "sleep", "60")
	user.Dir = m.path("dir")
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	err := Unmount(t.Context(), m.dir, false)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(user.Process.Pid)+" (sleep)") {
		t.Errorf("%v, want ErrBusy and the process", err)
	}
	if err := Unmount(t.Context(), m.dir, true); err != nil {
		t.Errorf("lazily: %v", err)
	}
	if _, mounted, _ := mountedOn(m.dir); mounted {
		t.Error("it is still in the mount table")
	}
	user.Process.Kill()
	user.Wait()
	ended := make(chan error)
	go func() { ended <- m.child.Wait() }()
	select {
	case <-ended:
	case <-time.After(waitLimit):
		t.Error("the server outlives its last user")
	}
}

func TestMountpointWithOddName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sp ace\\\n,\t\xff")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	os.Symlink(dir, link)
	source := write(t, map[string]string{"file": "x"})
	m := mountChild(t, childOptions{Source: source, Mountpoint: link})
	if err := compareTrees(source, dir); err != nil {
		t.Error(err)
	}
	if err := Unmount(t.Context(), m.dir, false); err != nil {
		t.Error(err)
	}
}

func TestRootRaisesReadahead(t *testing.T) {
	m := mountChild(t, childOptions{Source: write(t, map[string]string{"file": "x"})})
	e, _, _ := mountedOn(m.dir)
	got, err := os.ReadFile("/sys/class/bdi/" + e.device + "/read_ahead_kb")
	if err != nil || strings.TrimSpace(string(got)) != "2048" {
		t.Errorf("%q KiB, %v", got, err)
	}
}
