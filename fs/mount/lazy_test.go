package mount

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/castest"
)

// largeFile is a tree with a file that is fetched in ranges.
func largeFile(t *testing.T) (dir string, content []byte) {
	content = make([]byte, 4<<20+12345)
	rand.NewChaCha8([32]byte{7}).Read(content)
	return write(t, map[string]string{"large": string(content), "small": "small"}), content
}

// readAt reads n bytes of the file name at off.
func readAt(m *mounted, name string, off, n int64) ([]byte, error) {
	f, err := os.Open(m.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, n)
	got, err := f.ReadAt(buf, off)
	return buf[:got], err
}

func expectRange(t *testing.T, m *mounted, content []byte, off, n int64) {
	t.Helper()
	if got, err := readAt(m, "large", off, n); err != nil || !bytes.Equal(got, content[off:off+n]) {
		t.Errorf("%d bytes at %d: %d, %v", n, off, len(got), err)
	}
}

func TestReadInALargeFileFetchesTheRange(t *testing.T) {
	source, content := largeFile(t)
	m := mountChild(t, childOptions{Source: source, Cached: true})
	expectRange(t, m, content, 3_000_000, 4096)
	r := m.report()
	if r.Slices != 1 || r.Gets[digestOf(filepath.Join(source, "large"))] != 0 {
		t.Errorf("%d slices, %v", r.Slices, r.Gets)
	}
	if r.Fetched > 256<<10 {
		t.Errorf("%d bytes were fetched", r.Fetched)
	}
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
	if r := m.report(); r.Slices > 20 || r.Gets[digestOf(filepath.Join(source, "large"))] != 0 {
		t.Errorf("%d slices, %v", r.Slices, r.Gets)
	}
}

func TestRangesOfALargeFileAreRightForManyReaders(t *testing.T) {
	source, content := largeFile(t)
	m := mountChild(t, childOptions{Source: source, Cached: true})
	var readers sync.WaitGroup
	for seed := range uint64(16) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 20 {
				off := r.Int64N(int64(len(content)))
				expectRange(t, m, content, off, min(r.Int64N(200_000), int64(len(content))-off))
			}
		})
	}
	readers.Wait()
}

func TestFailingRangeIsAnInputOutputErrorAndThenMended(t *testing.T) {
	source, content := largeFile(t)
	for fault, cause := range map[string]string{
		"fail":  "the far store is broken",
		"hang":  "nothing came for",
		"wrong": "is corrupt",
		"short": "is corrupt",
	} {
		t.Run(fault, func(t *testing.T) {
			m := mountChild(t, childOptions{Source: source, Cached: true, Timeout: time.Second})
			expectRange(t, m, content, 0, 4096)
			m.fault("slice " + fault)
			m.fault("get " + strings.Replace(fault, "short", "wrong", 1))
			start := time.Now()
			if got, err := readAt(m, "large", 3_000_000, 4096); !errors.Is(err, unix.EIO) {
				t.Errorf("%d bytes, %v, want EIO", len(got), err)
			}
			if took := time.Since(start); took > waitLimit {
				t.Errorf("it took %v", took)
			}
			m.expectLog("path=/large")
			if fault != "hang" { // the mount's own bound and the store's are equal
				m.expectLog(cause)
			}
			expectRange(t, m, content, 0, 4096)
			m.fault("slice good")
			m.fault("get good")
			eventually(t, func() error {
				_, err := readAt(m, "large", 3_000_000, 4096)
				return err
			})
			expectRange(t, m, content, 3_000_000, 4096)
			if err := compareTrees(source, m.dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWrongSizeOfALargeFileIsAnErrorAndThenMended(t *testing.T) {
	source, _ := largeFile(t)
	for _, size := range []string{"more", "less"} {
		t.Run(size, func(t *testing.T) {
			m := mountChild(t, childOptions{Source: source, Cached: true, Faults: "sizes " + size})
			if got, err := os.ReadFile(m.path("large")); !errors.Is(err, unix.EIO) {
				t.Fatalf("%d bytes, %v, want EIO", len(got), err)
			}
			m.expectLog("not found", "path=/large")
			m.fault("sizes good")
			os.ReadFile(m.path("large"))
			os.ReadFile(m.path("small"))
			eventually(t, func() error { return compareTrees(source, m.dir) })
		})
	}
}

func TestFarWithoutRangesIsReadWhole(t *testing.T) {
	source, content := largeFile(t)
	m := mountChild(t, childOptions{Source: source, Cached: true, Faults: "slice unsupported"})
	expectRange(t, m, content, 3_000_000, 4096)
	expectRange(t, m, content, 1_000_000, 4096)
	if r := m.report(); r.Slices != 1 || r.Gets[digestOf(filepath.Join(source, "large"))] != 1 {
		t.Errorf("%d slices, %v", r.Slices, r.Gets)
	}
}

func TestFileWhosePartsAreWrongIsReadWhole(t *testing.T) {
	source, content := largeFile(t)
	m := mountChild(t, childOptions{Source: source, Cached: true, Faults: "slice wrong"})
	expectRange(t, m, content, 3_000_000, 4096)
	expectRange(t, m, content, 1_000_000, 4096)
	if r := m.report(); r.Gets[digestOf(filepath.Join(source, "large"))] != 1 {
		t.Errorf("%v", r.Gets)
	}
}

func TestPrefetchFromAFarWithoutRangesGoesOn(t *testing.T) {
	source := t.TempDir()
	for i := range uint64(prefetchFailures + 4) {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprint("large", i)), castest.Bytes(1<<20+1, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := prefetched(t, childOptions{Source: source, Cached: true, Faults: "slice unsupported", Options: Options{Prefetch: PrefetchAll}})
	m.fault("get fail")
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

func TestPrefetchedLargeFileIsWhole(t *testing.T) {
	source, content := largeFile(t)
	m := prefetched(t, childOptions{Source: source, Cached: true, Options: Options{Prefetch: PrefetchAll}})
	m.fault("slice fail")
	m.fault("get fail")
	for off := int64(0); off < int64(len(content)); off += 1 << 20 {
		expectRange(t, m, content, off, min(1<<20, int64(len(content))-off))
	}
}

func TestReaderOfARangeCanBeKilled(t *testing.T) {
	source, _ := largeFile(t)
	m := mountChild(t, childOptions{Source: source, Cached: true, Faults: "slice hang", Timeout: 2 * waitLimit})
	reader := role(t, "read", "FILE="+m.path("large"))
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return blocked(reader.Process.Pid) })
	reader.Process.Kill()
	ended := make(chan error)
	go func() { ended <- reader.Wait() }()
	select {
	case <-ended:
	case <-time.After(waitLimit):
		t.Error(fmt.Errorf("it lives"))
		m.fault("slice good")
		<-ended
	}
}
