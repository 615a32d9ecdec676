package worktree_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Root is never denied anything, so what is promised about permissions shows
// only to an ordinary user. Tests about denial return at once as root; all
// tests run again here as a user without privileges.
func TestAllAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	dir := t.TempDir()
	binary := filepath.Join(dir, "test")
	copyFile(t, binary, "/proc/self/exe")
	home := filepath.Join(dir, "home")
	must(t, os.Mkdir(home, 0o700))
	must(t, os.Chown(home, nobody, nobody))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))

	cmd := exec.CommandContext(t.Context(), binary, "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	must(t, err)
	must2(t)(io.Copy(out, in))
	must(t, out.Close())
}
