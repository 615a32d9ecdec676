package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// somebody is an ordinary user.
var somebody = &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}

// An ordinary user needs a /dev/fuse that is open to everybody, as it is on
// most machines. So the test runs in a mount namespace of its own and puts one
// there, starts a mount as that user, and looks at it as that user.
func TestOrdinaryUserMountsWithHelper(t *testing.T) {
	source, mountpoint := realTree(t), privateDir(t)
	cmd := role(t, "unprivileged", "ORIGINAL="+source, "MOUNTPOINT="+mountpoint)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	limit := time.AfterFunc(testLimit, func() { cmd.Process.Kill() })
	defer limit.Stop()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// privateDir returns a directory that somebody owns and can reach.
func privateDir(t *testing.T) string {
	dir := t.TempDir()
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	if err := os.Chown(dir, int(somebody.Uid), int(somebody.Gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func unprivilegedChild() error {
	dir := os.Getenv("MOUNTPOINT")
	if err := openDevice(filepath.Dir(dir)); err != nil {
		return err
	}
	binary, err := publicCopy(filepath.Dir(dir))
	if err != nil {
		return err
	}
	server := asSomebody(binary, "serve", fmt.Sprintf(`OPTIONS={"Mountpoint":%q,"Source":%q,"Cached":true,"Timeout":10000000000}`, dir, os.Getenv("ORIGINAL")))
	stdin, _ := server.StdinPipe()
	stdout, _ := server.StdoutPipe()
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	if n, err := stdout.Read(make([]byte, 100)); n == 0 {
		return fmt.Errorf("the server did not start: %w", err)
	}
	if e, ok, err := mountedOn(dir); !ok || e.fsType != fsType || !strings.HasPrefix(e.source, "fstree:blake3:") {
		return fmt.Errorf("mount table: %+v, %v", e, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("another user got %v, want EACCES", err)
	}
	if out, err := asSomebody(binary, "compare").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	stdin.Close()
	if err := server.Wait(); err != nil {
		return err
	}
	if _, ok, err := mountedOn(dir); ok || err != nil {
		return fmt.Errorf("still mounted: %w", err)
	}
	return nil
}

func openDevice(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private namespace: %w", err)
	}
	node := filepath.Join(dir, "fuse")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		return err
	}
	if err := unix.Mount(node, device, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// publicCopy copies the test binary to where somebody can run it.
func publicCopy(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "binary")
	return path, os.WriteFile(path, data, 0o755)
}

func asSomebody(binary, name string, variables ...string) *exec.Cmd {
	cmd := exec.Command(binary)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), roleVariable+"="+name), variables...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: somebody, Pdeathsig: syscall.SIGKILL}
	return cmd
}
