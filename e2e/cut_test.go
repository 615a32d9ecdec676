package e2e

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutter is a network that breaks every connection after some bytes, in
// whichever direction.
type cutter struct {
	net.Listener
	server      string
	least, most int64 // bytes
	cuts        atomic.Int64
	running     sync.WaitGroup
}

func newCutter(t *testing.T, server string, least, most int64) *cutter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: listener, server: server, least: least, most: most}
	c.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() { c.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.running.Wait()
	})
	return c
}

func (c *cutter) url() string { return "jolt://" + c.Addr().String() }

// carry ends both connections, without a farewell, when one direction is over
// or has carried what it may.
func (c *cutter) carry(client net.Conn) {
	defer reset(client)
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer reset(server)
	var up sync.WaitGroup
	defer up.Wait()
	way := func(to, from net.Conn) {
		limit := c.least + rand.Int64N(c.most-c.least)
		if n, _ := io.CopyN(to, from, limit); n == limit {
			c.cuts.Add(1)
		}
		reset(client)
		reset(server)
	}
	up.Go(func() { way(server, client) })
	way(client, server)
}

func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// TestTransferOverANetworkThatBreaks pushes and pulls a tree while connections
// are cut at random points. Each command gets through by itself, or says why
// not; running it again goes on, and in the end everything is there and right.
func TestTransferOverANetworkThatBreaks(t *testing.T) {
	s := &stress{T: t, dir: t.TempDir()}
	direct := s.serve()
	breaking := newCutter(t, strings.TrimPrefix(direct, "jolt://"), 100<<10, 4<<20)
	source := filepath.Join(os.Getenv(sourceVariable), "runtime")

	// until runs a command until it succeeds, and returns how often.
	until := func(args ...string) (out string, runs int) {
		for runs = 1; runs <= 20; runs++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			c := exec.CommandContext(ctx, os.Getenv(binaryVariable), append(args, "--remote", breaking.url(), "--timeout", "2s")...)
			var stderr strings.Builder
			c.Stderr = &stderr
			answer, err := c.Output()
			cancel()
			if err == nil {
				return strings.TrimSpace(string(answer)), runs
			}
			if ctx.Err() == context.DeadlineExceeded || !strings.HasPrefix(stderr.String(), "error: ") || strings.Count(stderr.String(), "\n") != 1 ||
				!strings.Contains(stderr.String(), "unavailable") {
				t.Fatalf("%v: %v: %s", args, err, &stderr)
			}
			t.Logf("run %d after %d cuts: %s", runs, breaking.cuts.Load(), &stderr)
		}
		t.Fatalf("%v never succeeded", args)
		return "", 0
	}
	options := func(name string) []string {
		return []string{"--cache", filepath.Join(s.dir, name), "--index", filepath.Join(s.dir, name+".index")}
	}
	root, pushes := until(append([]string{"write-tree-push", source}, options("a")...)...)
	afterPush := breaking.cuts.Load()
	out := filepath.Join(s.dir, "out")
	if answer, _ := until(append([]string{"pull-checkout", root, out}, options("b")...)...); answer != root {
		t.Errorf("pull-checkout printed %s, want %s", answer, root)
	}
	t.Logf("pushed with %d cuts in %d runs, pulled with %d cuts", afterPush, pushes, breaking.cuts.Load()-afterPush)
	if afterPush < 2 || breaking.cuts.Load()-afterPush < 2 {
		t.Errorf("%d cuts, that was no trial", breaking.cuts.Load())
	}
	s.same(source, out)

	// The server has everything, whoever asks.
	whole := exec.Command(os.Getenv(binaryVariable), append([]string{"pull", root, "--remote", direct}, options("c")...)...)
	if answer, err := whole.CombinedOutput(); err != nil {
		t.Errorf("pull: %v: %s", err, answer)
	}
	again := exec.Command(os.Getenv(binaryVariable), append([]string{"verify", root}, options("c")...)...)
	if answer, err := again.CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, answer)
	}
}

// TestLargeFileComesThroughConnectionsThatAreTooShort pulls a file over
// connections none of which lives long enough for all of it, with a process
// that is killed as well.
func TestLargeFileComesThroughConnectionsThatAreTooShort(t *testing.T) {
	s := &stress{T: t, dir: t.TempDir()}
	direct := s.serve()
	source := filepath.Join(s.dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 192<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	if err := os.WriteFile(filepath.Join(source, "large"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	fstree := func(remote string, args ...string) *exec.Cmd {
		return exec.Command(os.Getenv(binaryVariable), append(args, "--remote", remote, "--timeout", "10s")...)
	}
	answer, err := fstree(direct, "write-tree-push", source, "--cache", filepath.Join(s.dir, "a"), "--index", filepath.Join(s.dir, "a.index")).Output()
	if err != nil {
		t.Fatal(err)
	}
	breaking := newCutter(t, strings.TrimPrefix(direct, "jolt://"), 50<<20, 60<<20)
	out := filepath.Join(s.dir, "out")
	pull := []string{"pull-checkout", strings.TrimSpace(string(answer)), out, "--cache", filepath.Join(s.dir, "b"), "--index", filepath.Join(s.dir, "b.index")}
	killed := fstree(breaking.url(), pull...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); breaking.cuts.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	killed.Process.Kill()
	killed.Wait()
	if text, err := fstree(breaking.url(), pull...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if n := breaking.cuts.Load(); n < 3 {
		t.Errorf("%d cuts, that was no trial", n)
	}
	s.same(source, out)
}
