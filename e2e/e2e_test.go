// Package e2e holds the stories: what a user types, against the real binary,
// real servers and real mounts. It knows nothing of the packages inside.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// binaryVariable names the binary under test, for the run as an ordinary user,
// who may not build one.
const binaryVariable = "FSTREE_TEST_BINARY"

// sourceVariable names the real input: the Go toolchain's source tree.
const sourceVariable = "FSTREE_TEST_SOURCE"

// vectorsVariable names the file with the recorded trees.
const vectorsVariable = "FSTREE_TEST_VECTORS"

func TestMain(m *testing.M) {
	os.Exit(prepare(m.Run))
}

// prepare builds the binary and runs the tests on a file system in memory: the
// stories create very many files.
func prepare(tests func() int) int {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	if os.Getenv(binaryVariable) != "" {
		return tests()
	}
	dir, err := os.MkdirTemp("", "fstree-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "fstree")
	build := exec.Command("go", "build", "-o", binary, "../cmd/fstree")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is delivered
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "go env:", err)
		return 1
	}
	os.Setenv(sourceVariable, filepath.Join(strings.TrimSpace(string(root)), "src"))
	os.Setenv(vectorsVariable, "../cas/tree/testdata/vectors/trees.json")
	os.Chmod(dir, 0o755)
	os.Setenv(binaryVariable, binary)
	return tests()
}

func TestStories(t *testing.T) {
	stories(t, "testdata/stories")
}

// TestRealInput is the whole pipeline on the Go toolchain's source tree.
func TestRealInput(t *testing.T) {
	stories(t, "testdata/real")
}

func stories(t *testing.T, dir string) {
	if found, err := filepath.Glob(filepath.Join(dir, "*.txtar")); err != nil || len(found) == 0 {
		t.Fatalf("no stories in %s (%v)", dir, err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Setup:               setup,
		Cmds:                commands,
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// setup gives each story a home of its own and takes away what it leaves.
func setup(env *testscript.Env) error {
	binary := os.Getenv(binaryVariable)
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("PATH", filepath.Dir(binary)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("GOSRC", os.Getenv(sourceVariable))
	// A story that forgets to name its remote must not find anybody's server.
	env.Setenv("FSTREE_REMOTE", "jolt://127.0.0.1:1")
	env.Values[workDirKey{}] = env.WorkDir
	env.Defer(func() { unmountBelow(env.WorkDir) })
	return nil
}

type workDirKey struct{}

// condition adds [root] to what testscript knows.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// unmountBelow ends the mounts that a test left behind, and their processes:
// nothing else would, and removing its directory would hang or race with them.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		mountpoint := strings.ReplaceAll(fields[4], `\040`, " ")
		if os.Getuid() == 0 {
			exec.Command("umount", "-l", mountpoint).Run()
		} else {
			exec.Command("fusermount3", "-u", "-z", mountpoint).Run()
		}
	}
	for _, pid := range background(dir) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for end := time.Now().Add(waitLimit); len(background(dir)) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// background returns the processes that mounts left in the background, of
// those that were told of something below dir.
func background(dir string) (pids []int) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		arguments, _ := os.ReadFile(process + "/cmdline")
		environment, err := os.ReadFile(process + "/environ")
		told := string(arguments) + string(environment)
		if err != nil || !strings.Contains(told, "FSTREE_READY_FD=") || !strings.Contains(told, dir+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
