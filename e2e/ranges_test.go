package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ranges is a mount of a large file, from a server that things happen to.
type ranges struct {
	*testing.T
	dir     string
	server  *exec.Cmd
	address string
	data    []byte // of the file
	tree    string
}

const (
	rangesSize = 96 << 20

	// rangesTimeout is the --timeout of the mount. A read may then take
	// waitLimit at most.
	rangesTimeout = "2s"
)

func newRanges(t *testing.T) *ranges {
	r := &ranges{T: t, dir: t.TempDir(), data: make([]byte, rangesSize)}
	t.Cleanup(func() { unmountBelow(r.dir) })
	rand.NewChaCha8([32]byte{3}).Read(r.data)
	os.MkdirAll(r.path("tree"), 0o755)
	if err := os.WriteFile(r.path("tree/large"), r.data, 0o644); err != nil {
		t.Fatal(err)
	}
	r.tree = r.fstree("write-tree", r.path("tree"), "--cache", r.path("store"))
	r.address = "127.0.0.1:0"
	r.serve()
	t.Cleanup(func() { r.server.Process.Kill(); r.server.Wait() })
	os.Mkdir(r.path("mnt"), 0o755)
	r.mount()
	return r
}

func (r *ranges) path(name string) string { return filepath.Join(r.dir, name) }

// fstree runs a command that succeeds, and returns what it prints.
func (r *ranges) fstree(args ...string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Getenv(binaryVariable), args...)
	c.Env = append(os.Environ(), "FSTREE_CACHE_SIZE=0")
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		r.Fatalf("fstree %v: %v: %s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// serve starts a server, at the address of the one before.
func (r *ranges) serve() {
	r.Helper()
	r.server = exec.Command(os.Getenv(binaryVariable), "serve", "--path", r.path("store"), "--listen-grpc", r.address, "--listen-http", "127.0.0.1:0")
	said, err := r.server.StderrPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := r.server.Start(); err != nil {
		r.Fatal(err)
	}
	line := make([]byte, 4096)
	n, _ := said.Read(line)
	found := addressLine.FindStringSubmatch(string(line[:n]))
	if found == nil {
		r.Fatalf("the server said %q", line[:n])
	}
	r.address = found[2]
}

func (r *ranges) kill() {
	r.server.Process.Kill()
	r.server.Wait()
}

// silence stops the server. Until it has stopped it may answer.
func (r *ranges) silence() {
	r.Helper()
	r.server.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(r.server.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		r.Fatalf("the server did not stop: %v, %v", status, err)
	}
}

func (r *ranges) mount() {
	r.Helper()
	r.fstree("mount", r.tree, r.path("mnt"), "--mode", "cached", "--cache", r.path("cache"), "--timeout", rangesTimeout, "--remote", "jolt://"+r.address)
}

func (r *ranges) umount() {
	r.Helper()
	r.fstree("umount", r.path("mnt"))
}

// read reads n bytes at off in time, and sees that they are right or that there
// is an error.
func (r *ranges) read(off, n int) error {
	r.Helper()
	f, err := os.Open(r.path("mnt/large"))
	if err != nil {
		return err
	}
	defer f.Close()
	got := make([]byte, n)
	start := time.Now()
	_, err = f.ReadAt(got, int64(off))
	if took := time.Since(start); took > waitLimit {
		r.Errorf("%d bytes at %d took %v", n, off, took)
	}
	if err == nil && !bytes.Equal(got, r.data[off:off+n]) {
		r.Errorf("%d bytes at %d are wrong", n, off)
	}
	return err
}

func (r *ranges) mustRead(off, n int) {
	r.Helper()
	if err := r.read(off, n); err != nil {
		r.Fatalf("%d bytes at %d: %v", n, off, err)
	}
}

func (r *ranges) mustReadAll() {
	r.Helper()
	for off := 0; off < rangesSize; off += 1 << 20 {
		r.mustRead(off, 1<<20)
	}
}

// mustReadAllSoon reads the whole file. That the server is back may have to be
// noticed first.
func (r *ranges) mustReadAllSoon() {
	r.Helper()
	for end, off := time.Now().Add(waitLimit), 0; off < rangesSize; off += 1 << 20 {
		for r.read(off, 1<<20) != nil && time.Now().Before(end) {
			time.Sleep(100 * time.Millisecond)
		}
	}
	r.mustReadAll()
}

// cacheFiles calls use with the large files of the cache.
func (r *ranges) cacheFiles(use func(path string)) {
	r.Helper()
	found := 0
	err := filepath.WalkDir(r.path("cache"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if info, err := e.Info(); err == nil && info.Size() > rangesSize/2 {
			found++
			use(path)
		}
		return nil
	})
	if err != nil || found == 0 {
		r.Fatalf("the cache has %d large files (%v)", found, err)
	}
}

// overwrite writes over the middle of a file.
func (r *ranges) overwrite(path string) {
	r.Helper()
	os.Chmod(path, 0o644)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("wrong"), 4<<20), rangesSize/2); err != nil {
		r.Fatal(err)
	}
}

// moved returns how many bytes the mount has fetched.
func (r *ranges) moved() int64 {
	r.Helper()
	out := r.fstree("mounts", "--json", "--cache", r.path("cache"))
	for line := range strings.Lines(out) {
		var m struct {
			State, Directory string
			Fetched          int64 `json:"bytes_fetched"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			r.Fatalf("mounts: %q: %v", line, err)
		}
		if m.Directory == r.path("mnt") && m.State == "serving" {
			return m.Fetched
		}
	}
	r.Fatalf("mounts: %q", out)
	return 0
}

func TestMountedRangesStayRight(t *testing.T) {
	for name, story := range map[string]func(*ranges){
		"a small read moves little": func(r *ranges) {
			before := r.moved()
			r.mustRead(50_000_000, 4096)
			if n := r.moved() - before; n < 4096 || n > 256<<10 {
				r.Errorf("%d bytes were fetched", n)
			}
		},
		"what came stays": func(r *ranges) {
			r.mustRead(50_000_000, 2<<20)
			r.umount()
			r.mount()
			before := r.moved()
			r.mustRead(51_000_000, 4096) // so little that nothing is read ahead
			if n := r.moved() - before; n > 0 {
				r.Errorf("%d bytes were fetched again", n)
			}
			r.mustReadAll()
		},
		"server killed and restarted": func(r *ranges) {
			reading := make(chan struct{})
			go func() {
				defer close(reading)
				for off := 0; off < rangesSize; off += 1 << 20 {
					r.read(off, 1<<20) // which may fail for a while
				}
			}()
			for range 5 {
				time.Sleep(30 * time.Millisecond)
				r.kill()
				time.Sleep(100 * time.Millisecond)
				r.serve()
			}
			<-reading
			r.mustReadAllSoon()
		},
		"server gone": func(r *ranges) {
			r.mustRead(10_000_000, 4096)
			r.kill()
			if err := r.read(50_000_000, 4096); err == nil {
				r.Error("somebody answered")
			}
			r.mustRead(10_000_000, 4096)
			r.serve()
			r.mustReadAllSoon()
		},
		"server silent": func(r *ranges) {
			r.mustRead(10_000_000, 4096)
			r.silence()
			if err := r.read(50_000_000, 4096); err == nil {
				r.Error("somebody answered")
			}
			r.server.Process.Signal(syscall.SIGCONT)
			r.mustReadAllSoon()
		},
		"parts damaged": func(r *ranges) {
			r.mustRead(rangesSize/2, 4096)
			r.mustRead(rangesSize/2+20<<20, 4096)
			r.cacheFiles(r.overwrite)
			r.mustReadAll()
		},
		"file damaged": func(r *ranges) {
			r.umount()
			r.fstree("pull", r.tree, "--cache", r.path("cache"), "--remote", "jolt://"+r.address)
			r.mount()
			r.mustRead(0, 4096)
			r.cacheFiles(r.overwrite)
			r.mustReadAll()
		},
		"cache deleted": func(r *ranges) {
			r.mustRead(rangesSize/2, 4096)
			if err := exec.Command("sh", "-c", "rm -rf "+r.path("cache")+"/*").Run(); err != nil {
				r.Fatal(err)
			}
			r.mustReadAll()
		},
	} {
		t.Run(name, func(t *testing.T) { story(newRanges(t)) })
	}
}
