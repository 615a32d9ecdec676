package mount

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLimit bounds a test with a mount. Then the connection to the kernel is
// broken, and whatever hangs in the mount fails. It is long enough for two
// cores that many others use as well, as all bounds of tests have to be.
const testLimit = 3 * time.Minute

// waitLimit bounds a wait in a test.
const waitLimit = time.Minute

// mounted is a mount served by a child process.
type mounted struct {
	t       *testing.T
	dir     string
	child   *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Scanner
	log     *syncBuffer
}

// mountChild mounts in a child, and ends the mount with the test.
func mountChild(t *testing.T, o childOptions) *mounted {
	t.Helper()
	m, err := startChild(t, o)
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	return m
}

func startChild(t *testing.T, o childOptions) (*mounted, error) {
	if o.Mountpoint == "" {
		o.Mountpoint = t.TempDir()
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	encoded, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &mounted{t: t, dir: o.Mountpoint, child: role(t, "serve", "OPTIONS="+string(encoded)), log: &syncBuffer{}}
	m.child.Stderr = m.log
	m.stdin, _ = m.child.StdinPipe()
	stdout, _ := m.child.StdoutPipe()
	if err := m.child.Start(); err != nil {
		t.Fatal(err)
	}
	m.answers = bufio.NewScanner(stdout)
	if !m.answers.Scan() {
		m.child.Wait()
		return nil, errors.New(strings.TrimSpace(m.log.String()))
	}
	limit := time.AfterFunc(testLimit, m.abort)
	t.Cleanup(func() {
		limit.Stop()
		m.end()
		if t.Failed() {
			t.Logf("log of the child:\n%s", m.log)
		}
	})
	return m, nil
}

// role is the command that runs the test binary as something else.
func role(t *testing.T, name string, variables ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+name), variables...)
	return cmd
}

// end unmounts by ending the child's input, and by force if that takes long.
func (m *mounted) end() {
	m.stdin.Close()
	force := time.AfterFunc(waitLimit, func() {
		m.t.Errorf("the child did not end by itself")
		unix.Unmount(m.dir, unix.MNT_DETACH)
		m.child.Process.Kill()
	})
	m.child.Wait()
	force.Stop()
	unix.Unmount(m.dir, unix.MNT_DETACH)
}

// abort breaks the connection between kernel and child.
func (m *mounted) abort() {
	m.t.Errorf("%s took too long", m.t.Name())
	m.child.Process.Kill()
}

// tell sends a command to the child and returns its answer.
func (m *mounted) tell(command string) string {
	m.t.Helper()
	fmt.Fprintln(m.stdin, command)
	if !m.answers.Scan() {
		m.t.Fatalf("the child did not answer %q:\n%s", command, m.log)
	}
	return m.answers.Text()
}

func (m *mounted) fault(command string) {
	m.t.Helper()
	if answer := m.tell(command); answer != "ok" {
		m.t.Fatalf("%s: %s", command, answer)
	}
}

func (m *mounted) report() (r report) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.tell("report")), &r); err != nil {
		m.t.Fatal(err)
	}
	return r
}

// expectLog waits for words in the child's log.
func (m *mounted) expectLog(words ...string) {
	m.t.Helper()
	eventually(m.t, func() error {
		log := m.log.String()
		for _, word := range words {
			if !strings.Contains(log, word) {
				return fmt.Errorf("%q is not in the log:\n%s", word, log)
			}
		}
		return nil
	})
}

func (m *mounted) path(names ...string) string {
	return filepath.Join(append([]string{m.dir}, names...)...)
}

// syncBuffer is a buffer that one goroutine fills and another reads.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// write makes a directory with these files: a name that ends in "/" is a
// directory, a content that starts with "-> " a symlink.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// compareTrees tells how copied differs from original in names, types,
// permissions, sizes, link targets and bytes.
func compareTrees(original, copied string) error {
	var want, got []string
	for root, list := range map[string]*[]string{original: &want, copied: &got} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line, err := describe(root, path)
			*list = append(*list, line)
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(want) < 2 {
		return fmt.Errorf("%s is empty", original)
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			return fmt.Errorf("entry %d differs:\n%q\n%q", i, at(want, i), at(got, i))
		}
	}
	return nil
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

func describe(root, path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	name, _ := filepath.Rel(root, path)
	switch info.Mode().Type() {
	case fs.ModeDir:
		if path == root {
			return ".", nil
		}
		return fmt.Sprintf("%s %v", name, info.Mode()), nil
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return fmt.Sprintf("%s -> %s %d", name, target, info.Size()), err
	default:
		return fmt.Sprintf("%s %v %d %s", name, info.Mode(), info.Size(), digestOf(path)), nil
	}
}
