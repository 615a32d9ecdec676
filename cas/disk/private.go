package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// private makes sure that dir is a directory of this user that nobody else can
// write to. It closes a cache or an empty directory to others, but it does not
// touch the mode of a directory with somebody's files in it.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return bare(err)
	}
	if !info.IsDir() {
		return errors.New("is not a directory")
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, not to user %d: choose a directory of your own", owner, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if ours(dir) {
		return bare(os.Chmod(dir, 0o700))
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("holds other files and has mode %04o, so that others can write to it: use another directory, or mode 0700", info.Mode().Perm())
	}
	return nil
}

// ours tells whether dir is a cache already, or empty.
func ours(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, runDir)); err == nil {
		return true
	}
	names, err := os.ReadDir(dir)
	return err == nil && len(names) == 0
}
