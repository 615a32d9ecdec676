package worktree

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/fs/ignore"
)

// maxIgnore bounds the size of an ignore file, in bytes.
const maxIgnore = 16 << 20

// loadIgnore returns the rules of the open root directory, nil if there are
// none.
func loadIgnore(root int, opt Options) (*ignore.Matcher, error) {
	fd, err := unix.Openat(root, opt.Ignore, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return nil, nil
	case err == unix.ELOOP:
		opt.warn(fmt.Sprintf("ignore file %s is not used: it is a symlink", opt.Ignore))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ignore file %s: %w", opt.Ignore, err)
	}
	f := os.NewFile(uintptr(fd), opt.Ignore)
	defer f.Close()
	if st, err := statOf(fd); err == nil && st.mode&unix.S_IFMT != unix.S_IFREG {
		opt.warn(fmt.Sprintf("ignore file %s is not used: it is not a file", opt.Ignore))
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIgnore+1))
	if err == nil && len(text) > maxIgnore {
		err = errors.New("too large")
	}
	if err != nil {
		return nil, fmt.Errorf("ignore file %s: %w", opt.Ignore, err)
	}
	return ignore.Parse(text), nil
}
