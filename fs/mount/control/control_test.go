package control

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake is a mount that knows one path, and reads it until it is told to end.
type fake struct {
	tree    string
	path    string
	err     error         // with which reading ahead ends
	release chan struct{} // nil: at once
	ended   chan error    // takes how a Prefetch ended
}

func (f *fake) Status() Status { return Status{Dir: "/mnt", Tree: f.tree, PID: os.Getpid(), Errors: 7} }

func (f *fake) Prefetch(ctx context.Context, path string, report func(Progress)) (err error) {
	defer func() { f.ended <- err }()
	if path != f.path {
		return &fs.PathError{Op: "prefetch", Path: path, Err: fs.ErrNotExist}
	}
	report(Progress{})
	report(Progress{Files: 1, TotalFiles: 2})
	if f.release != nil {
		select {
		case <-f.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	report(Progress{Files: 2, TotalFiles: 2})
	return f.err
}

func serve(t *testing.T, dir, name string, f *fake) *Server {
	t.Helper()
	f.ended = make(chan error, 10)
	s, err := Listen(dir, name, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestMountsAreListed(t *testing.T) {
	// Longer than the address of a socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "mounts")
	if found, err := List(t.Context(), dir); err != nil || len(found) != 0 {
		t.Fatalf("%v, %v", found, err)
	}
	a := serve(t, dir, "0:1", &fake{tree: "a"})
	serve(t, dir, "0:2", &fake{tree: "b"})
	found, err := List(t.Context(), dir)
	if err != nil || len(found) != 2 || found[0].Tree != "a" || found[1].Tree != "b" || found[1].Device != "0:2" || found[1].Errors != 7 {
		t.Fatalf("%+v, %v", found, err)
	}
	a.Close()
	if found, err := List(t.Context(), dir); err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	if _, err := StatusOf(t.Context(), dir, "0:1"); !errors.Is(err, ErrNotServed) {
		t.Errorf("%v, want ErrNotServed", err)
	}
}

func TestLeftoversAreTakenAway(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"0:1": 0, unborn + "old": time.Hour, unborn + "young": 0} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		then := time.Now().Add(-age)
		os.Chtimes(filepath.Join(dir, name), then, then)
	}
	if found, err := List(t.Context(), dir); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != unborn+"young" {
		t.Errorf("%v is left", left)
	}
}

// The kernel gives the device number of a mount that has ended to the next one.
func TestEndingMountLeavesTheSocketOfItsSuccessor(t *testing.T) {
	dir := t.TempDir()
	before := serve(t, dir, "0:1", &fake{tree: "before"})
	serve(t, dir, "0:1", &fake{tree: "after"})
	before.Close()
	if s, err := StatusOf(t.Context(), dir, "0:1"); err != nil || s.Tree != "after" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSilentProcessDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	silent, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "0:1"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	serve(t, dir, "0:2", &fake{tree: "b"})
	found, err := List(t.Context(), dir)
	if !errors.Is(err, errSilent) || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if err := Prefetch(t.Context(), dir, "0:1", "p", true, func(Progress) {}); !errors.Is(err, errSilent) {
		t.Errorf("prefetch: %v", err)
	}
}

func TestPrefetchReportsUntilAllIsRead(t *testing.T) {
	dir, path := t.TempDir(), "odd \n\xff&=%/name"
	f := &fake{path: path}
	serve(t, dir, "0:1", f)
	var last Progress
	if err := Prefetch(t.Context(), dir, "0:1", path, true, func(p Progress) { last = p }); err != nil || last.Files != 2 {
		t.Errorf("%+v, %v", last, err)
	}
	f.err = errors.New("two of them are lost")
	if err := Prefetch(t.Context(), dir, "0:1", path, true, func(Progress) {}); err == nil || err.Error() != f.err.Error() {
		t.Errorf("%v, want %v", err, f.err)
	}
	for _, wait := range []bool{true, false} {
		if err := Prefetch(t.Context(), dir, "0:1", "absent", wait, func(Progress) {}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want ErrNotExist", err)
		}
	}
}

func TestPrefetchGoesOnWithoutTheOneWhoAsked(t *testing.T) {
	dir := t.TempDir()
	f := &fake{path: "p", release: make(chan struct{})}
	serve(t, dir, "0:1", f)
	if err := Prefetch(t.Context(), dir, "0:1", "p", false, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	close(f.release)
	if err := <-f.ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What takes long to read is no silence.
func TestSlowPrefetchIsWaitedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fake{path: "p", release: make(chan struct{})}
	serve(t, dir, "0:1", f)
	time.AfterFunc(silenceTime+time.Second, func() { close(f.release) })
	var last Progress
	if err := Prefetch(t.Context(), dir, "0:1", "p", true, func(p Progress) { last = p }); err != nil || last.Files != 2 {
		t.Errorf("%+v, %v", last, err)
	}
}

func TestPrefetchThatIsWaitedForEndsWithTheWait(t *testing.T) {
	dir := t.TempDir()
	f := &fake{path: "p", release: make(chan struct{})}
	serve(t, dir, "0:1", f)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("had enough")
	if err := Prefetch(ctx, dir, "0:1", "p", true, func(Progress) { cancel(why) }); !errors.Is(err, why) {
		t.Errorf("%v, want %v", err, why)
	}
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestCloseEndsPrefetches(t *testing.T) {
	dir := t.TempDir()
	f := &fake{path: "p", release: make(chan struct{})}
	s := serve(t, dir, "0:1", f)
	if err := Prefetch(t.Context(), dir, "0:1", "p", false, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
