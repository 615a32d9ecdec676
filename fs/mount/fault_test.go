package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// someFiles is a small tree, and the content of its larger file.
func someFiles(t *testing.T) (dir string, big []byte) {
	big = bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	return write(t, map[string]string{"big": string(big), "small": "small", "dir/file": "file"}), big
}

func TestColdFileIsFetchedOnceForAllReaders(t *testing.T) {
	source, big := someFiles(t)
	m := mountChild(t, childOptions{Source: source, Faults: "get slow 300ms files"})
	var readers sync.WaitGroup
	for range 64 {
		readers.Go(func() {
			if got, err := os.ReadFile(m.path("big")); err != nil || !bytes.Equal(got, big) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	readers.Wait()
	if n := m.report().Gets[digestOf(filepath.Join(source, "big"))]; n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestFailingFetchIsAnInputOutputError(t *testing.T) {
	source, _ := someFiles(t)
	for _, cached := range []bool{false, true} {
		for fault, cause := range map[string]string{
			"get fail files":  "the far store is broken",
			"get lost files":  "not found",
			"get wrong files": "is corrupt",
			"get hang files":  "no answer in time",
		} {
			t.Run(fmt.Sprintf("%s, cached %v", fault, cached), func(t *testing.T) {
				m := mountChild(t, childOptions{Source: source, Faults: fault, Cached: cached, Timeout: time.Second})
				start := time.Now()
				if got, err := os.ReadFile(m.path("big")); !errors.Is(err, unix.EIO) {
					t.Errorf("%d bytes, %v, want EIO", len(got), err)
				}
				if took := time.Since(start); took > waitLimit {
					t.Errorf("it took %v", took)
				}
				m.expectLog(cause, "path=/big")
			})
		}
	}
}

func TestMountRecoversWithTheRemote(t *testing.T) {
	source, big := someFiles(t)
	for _, cached := range []bool{false, true} {
		for _, fault := range []string{"get fail", "get hang", "get wrong"} {
			t.Run(fmt.Sprintf("%s, cached %v", fault, cached), func(t *testing.T) {
				m := mountChild(t, childOptions{Source: source, Cached: cached, Timeout: time.Second})
				if _, err := os.ReadFile(m.path("small")); err != nil {
					t.Fatal(err)
				}
				m.fault(fault)
				if _, err := os.ReadFile(m.path("big")); !errors.Is(err, unix.EIO) {
					t.Errorf("uncached file: %v, want EIO", err)
				}
				if _, err := os.ReadDir(m.path("dir")); !errors.Is(err, unix.EIO) {
					t.Errorf("uncached directory: %v, want EIO", err)
				}
				if got, err := os.ReadFile(m.path("small")); err != nil || string(got) != "small" {
					t.Errorf("cached file: %q, %v", got, err)
				}
				m.fault("get good")
				eventually(t, func() error {
					got, err := os.ReadFile(m.path("big"))
					if err == nil && !bytes.Equal(got, big) {
						t.Fatalf("after the return: %d bytes", len(got))
					}
					return err
				})
				eventually(t, func() error { return compareTrees(source, m.dir) })
			})
		}
	}
}

func TestWrongSizeIsAnErrorAndThenMended(t *testing.T) {
	source, _ := someFiles(t)
	for _, fault := range []string{"sizes more", "sizes less"} {
		t.Run(fault, func(t *testing.T) {
			m := mountChild(t, childOptions{Source: source, Faults: fault})
			if got, err := os.ReadFile(m.path("big")); !errors.Is(err, unix.EIO) {
				t.Fatalf("%d bytes, %v, want EIO", len(got), err)
			}
			m.expectLog("that were claimed", "path=/big")
			for _, name := range []string{"small", "dir/file"} {
				os.ReadFile(m.path(name))
			}
			eventually(t, func() error { return compareTrees(source, m.dir) })
		})
	}
}

// The kernel does not ask for the content of a file that it believes to be
// empty, so reading can't disprove that claim.
func TestClaimedEmptinessIsNotBelieved(t *testing.T) {
	source, _ := someFiles(t)
	m := mountChild(t, childOptions{Source: source, Faults: "sizes zero"})
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

func TestListingDoesNotWaitForSizes(t *testing.T) {
	source, _ := someFiles(t)
	m := mountChild(t, childOptions{Source: source, Faults: "sizes hang", Timeout: 2 * waitLimit})
	start := time.Now()
	if names, err := os.ReadDir(m.dir); err != nil || len(names) != 3 {
		t.Fatalf("%v, %v", names, err)
	}
	if took := time.Since(start); took > waitLimit {
		t.Errorf("it took %v", took)
	}
}

// eventually repeats what the kernel may still be catching up with, on a busy
// machine.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(waitLimit); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
