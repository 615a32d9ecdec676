package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the words that stories use beside those of testscript.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"server":       startServer,
	"halt":         stopServer,
	"silence":      startSilence,
	"capture":      capture,
	"compare":      compare,
	"freeport":     freePort,
	"fill":         fill,
	"flip":         flip,
	"eventually":   eventually,
	"slay":         slay,
	"storeVectors": storeVectors,
}

// started are the servers of all stories, by story and name.
var started sync.Map

type serverKey struct{ story, name string }

var addressLine = regexp.MustCompile(`(grpc|http)://([0-9.]+:[0-9]+)`)

// startServer: server NAME [OPTION...] starts "fstree serve" over the directory
// NAME and sets $NAME_GRPC and $NAME_HTTP to its addresses. An option that
// names a listener replaces the default one.
func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: server NAME [OPTION...]")
	}
	name := args[0]
	options := append([]string{"serve", "--path", ts.MkAbs(name), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"}, args[1:]...)
	server := exec.Command(os.Getenv(binaryVariable), options...)
	server.Dir = ts.MkAbs(".")
	server.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH")}
	stderr, err := server.StderrPipe()
	ts.Check(err)
	ts.Check(server.Start())
	started.Store(serverKey{ts.MkAbs("."), name}, server)
	ts.Defer(func() { server.Process.Kill(); server.Wait() })

	lines := bufio.NewScanner(stderr)
	found := map[string]string{}
	for len(found) < 2 && lines.Scan() {
		for _, match := range addressLine.FindAllStringSubmatch(lines.Text(), -1) {
			found[match[1]] = match[2]
		}
	}
	if len(found) < 2 {
		ts.Fatalf("server %s did not say where it listens", name)
	}
	go io.Copy(io.Discard, stderr)
	ts.Setenv(name+"_GRPC", found["grpc"])
	ts.Setenv(name+"_HTTP", found["http"])
}

// stopServer: halt NAME sends SIGTERM and expects a clean end within a minute.
func stopServer(ts *testscript.TestScript, neg bool, args []string) {
	value, ok := started.LoadAndDelete(serverKey{ts.MkAbs("."), args[0]})
	if !ok {
		ts.Fatalf("no server %s", args[0])
	}
	server := value.(*exec.Cmd)
	ts.Check(server.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(waitLimit, func() { server.Process.Kill() })
	defer kill.Stop()
	if err := server.Wait(); err != nil {
		ts.Fatalf("server %s ended with %v", args[0], err)
	}
}

// startSilence: silence NAME sets $NAME to an address where connections are
// taken and nothing is ever said.
func startSilence(ts *testscript.TestScript, neg bool, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, conn)
		}
	}()
	ts.Setenv(args[0], listener.Addr().String())
}

// capture: capture NAME sets $NAME to what the last command printed, trimmed.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// freePort: freeport NAME sets $NAME to a port that nobody listened on a moment
// ago, for programs that can't choose one themselves.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Check(listener.Close())
	ts.Setenv(args[0], fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))
}

// waitLimit bounds waits, with regard to busy machines.
const waitLimit = time.Minute

// eventually: eventually COMMAND ARG... runs a program again and again until it
// succeeds, for a minute at most.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(waitLimit)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still %v: %s", err, strings.Join(args, " "))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

var servingLine = regexp.MustCompile(`^{"state":"serving","directory":"([^"]*)".*"pid":([1-9][0-9]*)`)

// slay: slay DIR kills the process behind DIR, and waits until the mount is
// dead.
func slay(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	list := exec.Command(os.Getenv(binaryVariable), "mounts", "--json", "--cache", ts.Getenv("FSTREE_CACHE"))
	out, err := list.Output()
	ts.Check(err)
	pid := 0
	for line := range strings.Lines(string(out)) {
		if match := servingLine.FindStringSubmatch(line); match != nil && match[1] == dir {
			pid, err = strconv.Atoi(match[2])
			ts.Check(err)
		}
	}
	if pid == 0 {
		ts.Fatalf("no process serves %s", args[0])
	}
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	if !dead(dir) {
		ts.Fatalf("the process behind %s survives", args[0])
	}
}

// fill: fill FILE SIZE writes bytes that do not compress and differ by place.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	var size int
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		ts.Fatalf("size: %v", err)
	}
	data := make([]byte, size)
	state := uint64(size) + 0x9e3779b97f4a7c15
	for i := range data {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		data[i] = byte(state)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// flip: flip FILE changes one byte in the middle of a file.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Chmod(path, 0o644))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, info.Size()/2)
	ts.Check(err)
	b[0] ^= 1
	_, err = f.WriteAt(b, info.Size()/2)
	ts.Check(err)
}

// compare: compare A B fails unless both directories hold the same names,
// types, permission bits, link targets and bytes. Names "-x NAME" leave entries
// out. The modes of A and B themselves are not part of a tree.
func compare(ts *testscript.TestScript, neg bool, args []string) {
	skip := map[string]bool{}
	for len(args) > 2 && args[0] == "-x" {
		skip[args[1]] = true
		args = args[2:]
	}
	differences, entries := 0, 0
	report := func(format string, a ...any) {
		differences++
		if differences <= 20 && !neg {
			ts.Logf(format, a...)
		}
	}
	a, b := contents(ts, ts.MkAbs(args[0]), skip), contents(ts, ts.MkAbs(args[1]), skip)
	for path, infoA := range a {
		entries++
		infoB, ok := b[path]
		if !ok {
			report("%s is only in %s", path, args[0])
			continue
		}
		if difference := compareEntry(filepath.Join(ts.MkAbs(args[0]), path), filepath.Join(ts.MkAbs(args[1]), path), infoA, infoB); difference != "" {
			report("%s: %s", path, difference)
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			report("%s is only in %s", path, args[1])
		}
	}
	if entries == 0 {
		ts.Fatalf("%s is empty: nothing was compared", args[0])
	}
	if (differences > 0) != neg {
		ts.Fatalf("%d differences in %d entries", differences, entries)
	}
}

func contents(ts *testscript.TestScript, root string, skip map[string]bool) map[string]fs.FileInfo {
	found := map[string]fs.FileInfo{}
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip[d.Name()] {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if path == root {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found[strings.TrimPrefix(path, root+"/")] = info
		return nil
	}))
	return found
}

func compareEntry(pathA, pathB string, a, b fs.FileInfo) string {
	if a.Mode().Type() != b.Mode().Type() || a.Mode().Perm() != b.Mode().Perm() {
		return fmt.Sprintf("mode %s and %s", a.Mode(), b.Mode())
	}
	switch {
	case a.Mode()&fs.ModeSymlink != 0:
		targetA, errA := os.Readlink(pathA)
		targetB, errB := os.Readlink(pathB)
		if errA != nil || errB != nil || targetA != targetB {
			return fmt.Sprintf("targets %q, %v and %q, %v", targetA, errA, targetB, errB)
		}
	case a.Mode().IsRegular():
		if a.Size() != b.Size() {
			return fmt.Sprintf("sizes %d and %d", a.Size(), b.Size())
		}
		dataA, errA := os.ReadFile(pathA)
		dataB, errB := os.ReadFile(pathB)
		if errA != nil || errB != nil || !bytes.Equal(dataA, dataB) {
			return fmt.Sprintf("bytes differ (%v, %v)", errA, errB)
		}
	}
	return ""
}
