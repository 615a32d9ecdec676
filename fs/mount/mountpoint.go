package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrBusy is what errors.Is finds when something is mounted on the
	// mountpoint already, or when the mount to be ended is in use.
	ErrBusy = errors.New("busy")
	// ErrNotMounted is what errors.Is finds when there is no mount of ours on
	// a directory.
	ErrNotMounted = errors.New("not an fstree mount")
)

// resolve returns dir as the mount table spells it. It does not look at a
// mountpoint itself, which may hang or be dead.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	if _, mounted, err := mountedOn(dir); err != nil || mounted {
		return dir, err
	}
	return filepath.EvalSymlinks(dir)
}

// vacate makes sure that dir can be mounted on, and returns how it is spelled
// without links. A mount of ours whose process has died is taken away.
func vacate(ctx context.Context, dir string) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", err
	}
	for range 100 { // mounts may lie over each other
		m, mounted, err := mountedOn(path)
		if err != nil {
			return "", err
		}
		if !mounted {
			return path, checkDirectory(path)
		}
		if m.fsType != fsType || !dead(path) {
			return "", fmt.Errorf("mountpoint %s: %w: %s is mounted on it", dir, ErrBusy, m.source)
		}
		if err := detach(ctx, path, true); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("mountpoint %s: %w", dir, ErrBusy)
}

func checkDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "mount", Path: path, Err: unix.ENOTDIR}
	}
	return nil
}

// dead tells whether the process behind a FUSE mount is gone. Asking a living
// but hanging one takes no longer than a second. The question is statfs because
// the kernel answers nearly everything else by itself, also for the dead.
func dead(path string) bool {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(path, &st)
	}()
	select {
	case err := <-answer:
		return err == unix.ENOTCONN
	case <-time.After(time.Second):
		return false
	}
}
