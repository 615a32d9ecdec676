package worktree_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/fs/worktree"
)

// victim names the directory into which a copy of this test checks out trees
// until it is killed.
const victim = "FSTREE_TEST_VICTIM"

func TestKilledCheckoutIsFinishedByTheNext(t *testing.T) {
	m := &model{rand.New(rand.NewPCG(4, 2)), t, &memory.Store{}}
	one, other := m.tree(4), m.tree(4)
	if dir := os.Getenv(victim); dir != "" {
		for {
			checkout(t, dir, one, m.store, worktree.CheckoutOptions{})
			checkout(t, dir, other, m.store, worktree.CheckoutOptions{})
		}
	}
	dir := filepath.Join(quickDir(t), "w")
	defer loosenAll(dir)
	for round := range 20 {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.timeout", "20s")
		cmd.Env = append(os.Environ(), victim+"="+dir)
		must(t, cmd.Start())
		for range 100 {
			if _, err := os.Stat(dir); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(20+round) * time.Millisecond)
		must(t, cmd.Process.Kill())
		cmd.Wait()
		if !strings.HasSuffix(cmd.ProcessState.String(), "killed") {
			t.Fatalf("the victim ended by itself: %s", cmd.ProcessState)
		}
		checkout(t, dir, one, m.store, worktree.CheckoutOptions{})
		expectTree(t, m.store, one, dir)
		expectNoTemps(t, dir)
	}
}

func TestDirectoryReplacedByASymlinkMeanwhileLeadsNowhere(t *testing.T) {
	store := &memory.Store{}
	below := putTree(t, store, fileEntry(t, store, "f", 0o600, []byte("new")), fileEntry(t, store, "g", 0o600, []byte("new")))
	full, empty := putTree(t, store, dirEntry("sub", 0o755, below)), putTree(t, store, dirEntry("sub", 0o755, putTree(t, store)))
	outside := files(t, map[string]string{"f": "mine", "keep": "mine"})
	dir := files(t, map[string]string{"sub/x": ""})
	stop := make(chan struct{})
	var flipping sync.WaitGroup
	flipping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			aside := fmt.Sprint(dir, "/../aside", i%2)
			os.RemoveAll(aside)
			os.Rename(dir+"/sub", aside)
			os.Symlink(outside, dir+"/sub")
			time.Sleep(time.Duration(i%5) * 100 * time.Microsecond)
			os.Remove(dir + "/sub")
			os.Rename(aside, dir+"/sub")
		}
	})
	for range 200 {
		// What is replaced under its hands may make a checkout fail.
		worktree.Checkout(t.Context(), dir, full, store, worktree.CheckoutOptions{})
		worktree.Checkout(t.Context(), dir, empty, store, worktree.CheckoutOptions{})
		worktree.Write(t.Context(), dir, store, worktree.Options{})
	}
	close(stop)
	flipping.Wait()
	for _, name := range []string{"f", "keep"} {
		if data, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(data) != "mine" {
			t.Errorf("%s outside is %q, %v", name, data, err)
		}
	}
	if got := paths(t, outside); len(got) != 2 {
		t.Errorf("outside there is %q", got)
	}
	os.RemoveAll(dir + "/sub")
	checkout(t, dir, full, store, worktree.CheckoutOptions{})
	expectTree(t, store, full, dir)
}

func TestPathsMayBeLongerThanTheSystemAllows(t *testing.T) {
	store := &memory.Store{}
	root := putTree(t, store, fileEntry(t, store, "bottom", 0o644, []byte("deep")))
	for range 100 {
		root = putTree(t, store, dirEntry(strings.Repeat("d", 200), 0o755, root), linkEntry("l", "x"))
	}
	dir := filepath.Join(t.TempDir(), "w")
	if got := checkout(t, dir, root, store, worktree.CheckoutOptions{}); got.Written != 201 {
		t.Errorf("got %+v", got)
	}
	if got := write(t, dir, &memory.Store{}, worktree.Options{Index: t.TempDir() + "/i"}).Root; got != root {
		t.Errorf("written as %s, want %s", got, root)
	}
	if got := checkout(t, dir, putTree(t, store), store, worktree.CheckoutOptions{}); got.Removed != 201 {
		t.Errorf("got %+v", got)
	}
}

func TestEntriesThatComeAndGoDoNotFailAWrite(t *testing.T) {
	dir := files(t, map[string]string{"stays": "1", "sub/stays": "2"})
	stop := make(chan struct{})
	var churning sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		churning.Wait()
	})
	defer end()
	churning.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			base := filepath.Join(dir, "sub", fmt.Sprint("d", i%7))
			os.MkdirAll(base+"/below", 0o755)
			os.WriteFile(base+"/f", []byte("whole"), 0o644)
			os.RemoveAll(filepath.Join(dir, "sub", fmt.Sprint("d", (i+3)%7)))
		}
	})
	store := &memory.Store{}
	for range 200 {
		write(t, dir, store, worktree.Options{})
	}
	end()
	if got, want := write(t, dir, store, worktree.Options{}).Root, digestOf(t, dir); got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
}

func TestNothingStaysOpen(t *testing.T) {
	m := &model{rand.New(rand.NewPCG(9, 9)), t, &memory.Store{}}
	root := m.tree(4)
	dir := filepath.Join(quickDir(t), "w")
	defer loosenAll(dir)
	open := func() int {
		t.Helper()
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(fds)
	}
	before := open()
	for allowed := range 30 {
		store := &brittleStore{m.store, make(chan struct{}, allowed)}
		for range allowed {
			store.left <- struct{}{}
		}
		worktree.Checkout(t.Context(), dir, root, store, worktree.CheckoutOptions{})
		worktree.Write(t.Context(), dir, &fullStore{}, worktree.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(allowed)*100*time.Microsecond)
		worktree.Write(ctx, dir, m.store, worktree.Options{})
		worktree.Checkout(ctx, dir, m.tree(4), m.store, worktree.CheckoutOptions{})
		cancel()
	}
	if after := open(); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}
