package main

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
)

// crawl calls visit for every directory below dir, from so many goroutines at
// once. visit returns the subdirectories.
func crawl(dir string, threads int, visit func(dir string) ([]string, error)) error {
	var mu sync.Mutex
	wake := sync.NewCond(&mu)
	dirs, busy := []string{dir}, 0
	var failed error
	work := func() {
		mu.Lock()
		defer mu.Unlock()
		for {
			for len(dirs) == 0 && busy > 0 {
				wake.Wait()
			}
			if len(dirs) == 0 {
				wake.Broadcast()
				return
			}
			next := dirs[len(dirs)-1]
			dirs = dirs[:len(dirs)-1]
			busy++
			mu.Unlock()
			more, err := visit(next)
			mu.Lock()
			busy--
			if err != nil {
				failed = err
			}
			dirs = append(dirs, more...)
			if len(more) > 0 {
				wake.Broadcast()
			}
		}
	}
	var workers sync.WaitGroup
	for range threads {
		workers.Go(work)
	}
	workers.Wait()
	return failed
}

// walkAll does the least that can find a change: it lists every directory and
// asks for the attributes of every entry.
func walkAll(dir string, threads int) error {
	buffers := sync.Pool{New: func() any { return new([32 << 10]byte) }}
	return crawl(dir, threads, func(dir string) (subdirs []string, err error) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		buf := buffers.Get().(*[32 << 10]byte)
		defer buffers.Put(buf)
		var names []string
		for {
			n, err := unix.ReadDirent(fd, buf[:])
			if err != nil || n == 0 {
				break
			}
			_, _, names = unix.ParseDirent(buf[:n], -1, names)
		}
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return nil, err
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				subdirs = append(subdirs, filepath.Join(dir, name))
			}
		}
		return subdirs, nil
	})
}

// hashAll reads every file and keeps nothing.
func hashAll(dir string, threads int) error {
	buffers := sync.Pool{New: func() any { return new([1 << 20]byte) }}
	return crawl(dir, threads, func(dir string) (subdirs []string, err error) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		buf := buffers.Get().(*[1 << 20]byte)
		defer buffers.Put(buf)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir():
				subdirs = append(subdirs, path)
			case e.Type().IsRegular():
				if err := hashOne(path, buf[:]); err != nil {
					return nil, err
				}
			}
		}
		return subdirs, nil
	})
}

func hashOne(path string, buf []byte) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h := cas.NewHasher(cas.BLAKE3)
	defer h.Release()
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 {
			h.Digest()
			return err
		}
		h.Write(buf[:n])
	}
}
