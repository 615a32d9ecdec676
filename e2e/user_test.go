package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asUser makes /dev/fuse usable for everybody, in a mount namespace of its own
// so that the machine stays as it is, and runs "$@" as the user nobody.
const asUser = `
set -e
mknod -m 0666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
shift
exec setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$@"
`

// TestAsOrdinaryUser runs the same stories unprivileged, with fusermount3. It
// needs root to become somebody else; without root, the stories themselves
// already ran as an ordinary user.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("/tmp", "fstree-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "work")
	for _, step := range [][]string{
		{"cp", self, filepath.Join(dir, "e2e.test")},
		{"cp", os.Getenv(binaryVariable), filepath.Join(dir, "fstree")},
		{"cp", "-r", "testdata", dir},
		{"cp", os.Getenv(vectorsVariable), filepath.Join(dir, "trees.json")},
		{"mkdir", home},
		{"chmod", "-R", "a+rX", dir},
		{"chown", "nobody", home},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", step, err, out)
		}
	}
	tests := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", asUser, "sh", dir,
		filepath.Join(dir, "e2e.test"), "-test.run", "^(TestStories|TestRealInput)$", "-test.timeout", "10m")
	tests.Dir = dir
	tests.Env = append(os.Environ(), binaryVariable+"="+filepath.Join(dir, "fstree"), vectorsVariable+"="+filepath.Join(dir, "trees.json"), "HOME="+home)
	out, err := tests.CombinedOutput()
	if err != nil || strings.Contains(string(out), "no tests to run") {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
}
