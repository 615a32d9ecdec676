package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The cases of go-fuse's posixtest write what they then read. These ask the
// same questions of a tree that is there already, and for each way to change
// something that it is refused as on any read-only file system.

// posixTree is mounted, with a file of a few pages, a link to it, and a
// directory of many names.
func posixTree(t *testing.T, many int) (m *mounted, content []byte, names []string) {
	content = bytes.Repeat([]byte("abcxyz\n"), 10_000)
	files := map[string]string{"file": string(content), "link": "-> file", "empty": "", "dir/sub/deep": "deep"}
	for i := range many {
		name := fmt.Sprintf("%04d-with-a-name-of-some-length", i)
		files["many/"+name] = ""
		names = append(names, name)
	}
	return mountChild(t, childOptions{Source: write(t, files), Cached: true}), content, names
}

func open(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestFilesAreReadAsPosixSays(t *testing.T) {
	m, content, _ := posixTree(t, 10)
	fd := open(t, m.path("file"), unix.O_RDONLY)
	buf := make([]byte, 100)
	for off, want := range map[int64]int{0: 100, 69_950: 50, 70_000: 0, 1 << 40: 0} {
		if n, err := unix.Pread(fd, buf, off); n != want || err != nil || !bytes.Equal(buf[:n], content[min(off, 70_000):][:n]) {
			t.Errorf("at %d: %d bytes, %v; want %d", off, n, err, want)
		}
	}
	for _, test := range []struct {
		off    int64
		whence int
		want   int64
		err    error
	}{
		{-1, unix.SEEK_END, 69_999, nil},
		{100, unix.SEEK_DATA, 100, nil},
		{100, unix.SEEK_HOLE, 70_000, nil}, // the end is a hole
		{70_000, unix.SEEK_DATA, 0, unix.ENXIO},
		{70_001, unix.SEEK_DATA, 0, unix.ENXIO},
		{70_001, unix.SEEK_HOLE, 0, unix.ENXIO},
	} {
		if off, err := unix.Seek(fd, test.off, test.whence); err != test.err || err == nil && off != test.want {
			t.Errorf("seek %d, %d: %d, %v; want %d, %v", test.off, test.whence, off, err, test.want, test.err)
		}
	}
	if _, err := unix.Write(fd, buf); err != unix.EBADF {
		t.Errorf("write: %v, want EBADF", err)
	}
	if _, err := unix.Read(open(t, m.dir, unix.O_RDONLY), buf); err != unix.EISDIR {
		t.Errorf("read of a directory: %v, want EISDIR", err)
	}
	if _, err := unix.Open(m.path("link"), unix.O_RDONLY|unix.O_NOFOLLOW, 0); err != unix.ELOOP {
		t.Errorf("a link that is not followed: %v, want ELOOP", err)
	}
	if _, err := unix.Open(m.path("file"), unix.O_RDONLY|unix.O_DIRECTORY, 0); err != unix.ENOTDIR {
		t.Errorf("a file as a directory: %v, want ENOTDIR", err)
	}
}

func TestDirectReadsSeeTheSameBytes(t *testing.T) {
	m, content, _ := posixTree(t, 10)
	fd := open(t, m.path("file"), unix.O_RDONLY|unix.O_DIRECT)
	aligned, err := unix.Mmap(-1, 0, 128<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(aligned)
	if n, err := unix.Pread(fd, aligned, 0); err != nil || !bytes.Equal(aligned[:n], content) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestPathsAreResolvedFromDescriptors(t *testing.T) {
	m, _, _ := posixTree(t, 10)
	dir := open(t, m.path("dir"), unix.O_PATH|unix.O_DIRECTORY)
	fd, err := unix.Openat(dir, "sub/deep", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 10)
	if n, err := unix.Read(fd, buf); err != nil || string(buf[:n]) != "deep" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := unix.Openat(dir, "sub/../../file", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Errorf("up and down: %v", err)
	}
	if n, err := unix.Readlink(m.path("link"), buf); err != nil || string(buf[:n]) != "file" {
		t.Errorf("link: %q, %v", buf[:n], err)
	}
	if n, err := unix.Readlink(m.path("file"), buf); err != unix.EINVAL {
		t.Errorf("readlink of a file: %d, %v; want EINVAL", n, err)
	}
}

func TestListingIsWholeFromEveryPlace(t *testing.T) {
	m, _, want := posixTree(t, 3000)
	for _, size := range []int{512, 4096, 100_000} {
		fd := open(t, m.path("many"), unix.O_RDONLY|unix.O_DIRECTORY)
		places := listFrom(t, fd, size, func(names []string) {
			slices.Sort(names)
			if !slices.Equal(names, want) {
				t.Errorf("with %d bytes at once: %d names, want %d", size, len(names), len(want))
			}
		})
		middle := places[len(places)/2]
		if _, err := unix.Seek(fd, middle, unix.SEEK_SET); err != nil {
			t.Fatal(err)
		}
		listFrom(t, fd, size, func(names []string) {
			if rest := len(places) - len(places)/2 - 1; len(names) != rest {
				t.Errorf("from place %d: %d names, want %d", middle, len(names), rest)
			}
		})
	}
}

// listFrom reads a directory to its end, with room for size bytes at once, gives
// the names to see, and returns the places after each of them.
func listFrom(t *testing.T, fd, size int, see func(names []string)) (places []int64) {
	t.Helper()
	var names []string
	buf := make([]byte, size)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			see(names)
			return places
		}
		for rest := buf[:n]; len(rest) > 0; {
			// ino u64, off i64, length u16, type u8, name
			length := int(rest[16]) | int(rest[17])<<8
			name, _, _ := bytes.Cut(rest[19:length], []byte{0})
			if string(name) != "." && string(name) != ".." {
				names = append(names, string(name))
				off := int64(0)
				for i := 7; i >= 0; i-- {
					off = off<<8 | int64(rest[8+i])
				}
				places = append(places, off)
			}
			rest = rest[length:]
		}
	}
}

func TestListedInodesAreThoseOfStat(t *testing.T) {
	m, _, _ := posixTree(t, 10)
	entries, err := os.ReadDir(m.dir)
	if err != nil || len(entries) != 5 {
		t.Fatalf("%v, %v", entries, err)
	}
	seen := map[uint64]string{}
	for _, e := range entries {
		var listed, looked unix.Stat_t
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Lstat(m.path(e.Name()), &looked), unix.Lstat(m.path(info.Name()), &listed)); err != nil || listed != looked {
			t.Errorf("%s: %+v, then %+v, %v", e.Name(), listed, looked, err)
		}
		if other, twice := seen[looked.Ino]; twice {
			t.Errorf("%s and %s have the same inode number", other, e.Name())
		}
		seen[looked.Ino] = e.Name()
	}
}

func TestFilesCanBeLocked(t *testing.T) {
	m, _, _ := posixTree(t, 10)
	a, b := open(t, m.path("file"), unix.O_RDONLY), open(t, m.path("file"), unix.O_RDONLY)
	if err := unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("flock: %v", err)
	}
	if err := unix.Flock(b, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("a second flock: %v, want EWOULDBLOCK", err)
	}
	unix.Flock(a, unix.LOCK_UN)
	read := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Len: 10}
	for _, fd := range []int{a, b} {
		if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &read); err != nil {
			t.Errorf("lock of a range: %v", err)
		}
	}
}

func TestManyReadersOpenOneFile(t *testing.T) {
	m, content, _ := posixTree(t, 10)
	var readers sync.WaitGroup
	for range 100 {
		readers.Go(func() {
			if got, err := os.ReadFile(m.path("file")); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	readers.Wait()
}

func TestReadersLeaveNoDescriptors(t *testing.T) {
	m, content, _ := posixTree(t, 10)
	descriptors := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.child.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	for range 3 {
		if got, err := os.ReadFile(m.path("file")); err != nil || len(got) != len(content) {
			t.Fatal(err)
		}
	}
	before := descriptors()
	for range 200 {
		if _, err := os.ReadFile(m.path("file")); err != nil {
			t.Fatal(err)
		}
		names, err := os.ReadDir(m.dir)
		if err != nil || len(names) != 5 {
			t.Fatal(err)
		}
	}
	if after := descriptors(); after > before+2 {
		t.Errorf("%d descriptors became %d", before, after)
	}
}
