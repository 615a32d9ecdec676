package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stressTime is how long the processes fight over the cache.
const stressTime = time.Minute

// TestOneCacheForManyWhileItsOwnerIsKilled has eight commands and two mounts
// use one cache, whose owner is killed again and again. Every command that is
// not killed itself succeeds, every byte is right, and nothing is damaged
// afterwards.
func TestOneCacheForManyWhileItsOwnerIsKilled(t *testing.T) {
	s := newStress(t)
	ctx, cancel := context.WithTimeout(t.Context(), stressTime)
	defer cancel()
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() { s.write(ctx, i) })
		running.Go(func() { s.read(ctx, i) })
	}
	for i := range 2 {
		running.Go(func() { s.look(ctx, i) })
	}
	running.Go(func() { s.kill(ctx) })
	running.Wait()

	t.Logf("%d commands succeeded, %d owners were killed, %d of them mounts", s.succeeded.Load(), s.killed.Load(), s.remounts.Load())
	if s.killed.Load() < 20 || s.succeeded.Load() < 50 || s.remounts.Load() == 0 {
		t.Errorf("that was no stress: %d killed, %d succeeded, %d remounts", s.killed.Load(), s.succeeded.Load(), s.remounts.Load())
	}
	if out, err := s.fstree("verify").CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

type stress struct {
	*testing.T
	dir     string
	remote  string
	sources []string // directories
	trees   []string // their digests

	succeeded, killed, remounts atomic.Int64
}

func newStress(t *testing.T) *stress {
	s := &stress{T: t, dir: t.TempDir()}
	t.Cleanup(func() { unmountBelow(s.dir) })
	s.remote = s.serve()
	for _, name := range []string{"net/http", "crypto", "cmd/go/internal"} {
		source := filepath.Join(os.Getenv(sourceVariable), name)
		push := s.fstree("write-tree-push", source, "--index", filepath.Join(s.dir, "index", name))
		push.Args = append(push.Args, "--cache", filepath.Join(s.dir, "other"))
		out, err := push.Output()
		if err != nil {
			t.Fatalf("push: %v", err)
		}
		s.sources, s.trees = append(s.sources, source), append(s.trees, strings.TrimSpace(string(out)))
	}
	return s
}

// serve starts a server and returns its URL.
func (s *stress) serve() string {
	server := exec.Command(os.Getenv(binaryVariable), "serve", "--path", filepath.Join(s.dir, "store"), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
	stderr, err := server.StderrPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := server.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { server.Process.Kill(); server.Wait() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	address := addressLine.FindStringSubmatch(line)
	if err != nil || address == nil {
		s.Fatalf("server: %q, %v", line, err)
	}
	return "jolt://" + address[2]
}

func (s *stress) cache() string { return filepath.Join(s.dir, "cache") }

func (s *stress) fstree(args ...string) *exec.Cmd {
	c := exec.Command(os.Getenv(binaryVariable), args...)
	c.Env = append(os.Environ(), "FSTREE_CACHE="+s.cache(), "FSTREE_REMOTE="+s.remote)
	return c
}

// run runs a command and returns what it prints, false if it was killed. Any
// other failure is one of the test.
func (s *stress) run(args ...string) (string, bool) {
	var stderr strings.Builder
	c := s.fstree(args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if wasKilled(err) {
		return "", false
	}
	if err != nil {
		s.Errorf("fstree %v: %v: %s", args, err, &stderr)
		return "", false
	}
	s.succeeded.Add(1)
	return strings.TrimSpace(string(out)), true
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status := exit.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL
}

// write stores trees, each time with a new index so that everything is read.
func (s *stress) write(ctx context.Context, worker int) {
	index := filepath.Join(s.dir, fmt.Sprint("write-index", worker))
	for i := worker; ctx.Err() == nil; i++ {
		os.Remove(index)
		which := i % len(s.sources)
		if out, ok := s.run("write-tree", s.sources[which], "--index", index); ok && out != s.trees[which] {
			s.Errorf("write-tree printed %s, want %s", out, s.trees[which])
		}
	}
}

// read checks trees out, one over the other, and compares.
func (s *stress) read(ctx context.Context, worker int) {
	target := filepath.Join(s.dir, fmt.Sprint("out", worker))
	for i := worker; ctx.Err() == nil; i++ {
		which := i % len(s.sources)
		if _, ok := s.run("pull-checkout", s.trees[which], target); ok {
			s.same(s.sources[which], target, "--exclude=.fstree")
		}
	}
}

func (s *stress) same(source, other string, options ...string) {
	diff := exec.Command("diff", append(options, "-r", source, other)...)
	if out, err := diff.CombinedOutput(); err != nil {
		s.Errorf("diff %s %s: %v: %s", source, other, err, out)
	}
}

// look mounts a tree and compares it, again and again. When the process of the
// mount is killed, mounting again is all that it takes.
func (s *stress) look(ctx context.Context, worker int) {
	dir := filepath.Join(s.dir, fmt.Sprint("mnt", worker))
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.Error(err)
		return
	}
	mounted := false
	for ctx.Err() == nil {
		if !mounted {
			_, mounted = s.run("mount", s.trees[worker], dir)
			continue
		}
		out, err := exec.Command("diff", "-r", s.sources[worker], dir).CombinedOutput()
		switch {
		case err == nil:
			time.Sleep(50 * time.Millisecond)
		case dead(dir):
			s.remounts.Add(1)
			mounted = false
		default:
			s.Errorf("diff of mount: %v: %s", err, out)
		}
	}
	if out, err := s.fstree("umount", dir).CombinedOutput(); err != nil {
		s.Errorf("umount: %v: %s", err, out)
	}
}

// dead tells whether the process behind a mount is gone, or is so soon.
func dead(dir string) bool {
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := syscall.Statfs(dir, new(syscall.Statfs_t)); err == syscall.ENOTCONN {
			return true
		}
	}
	return false
}

// kill ends whoever owns the index of the cache; the owner's process is named
// in run/lock.
func (s *stress) kill(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond)
		text, err := os.ReadFile(filepath.Join(s.cache(), "run", "lock"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && isFstree(pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			s.killed.Add(1)
		}
	}
}

// isFstree keeps the test from killing what has nothing to do with it: a number
// may be left of a process that is gone.
func isFstree(pid int) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && strings.Contains(string(environment), binaryVariable+"="+os.Getenv(binaryVariable))
}
