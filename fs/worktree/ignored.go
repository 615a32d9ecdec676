package worktree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/ignore"
)

// maxIgnore bounds the size of an ignore file, in bytes.
const maxIgnore = 16 << 20

// loadIgnore returns the rules of the open root directory and the digest of
// their text, nil and zero if there are none.
func loadIgnore(root int, opt Options) (*ignore.Matcher, cas.Digest, error) {
	text, err := readIgnore(root, opt)
	if text == nil || err != nil {
		return nil, cas.Digest{}, err
	}
	return ignore.Parse(text), cas.Sum(text), nil
}

// readIgnore returns what the ignore file holds, nil if there is none.
func readIgnore(root int, opt Options) ([]byte, error) {
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
	return text, nil
}

// treeIgnore returns the rules that the tree itself holds, nil if none.
func (c *checkout) treeIgnore(root cas.Digest) (*ignore.Matcher, error) {
	e := tree.Entry{Type: tree.Dir, Digest: root}
	for name := range strings.SplitSeq(path.Clean(c.opt.Ignore), "/") {
		if e.Type != tree.Dir {
			return nil, nil
		}
		t, err := tree.Read(c.ctx, c.store, e.Digest)
		if err != nil {
			return nil, err
		}
		var ok bool
		if e, ok = t.Lookup(name); !ok {
			return nil, nil
		}
	}
	if e.Type != tree.File {
		return nil, nil
	}
	text, err := cas.ReadAll(c.ctx, c.store, e.Digest, maxIgnore)
	if err != nil {
		return nil, fmt.Errorf("ignore file %s: %w", c.opt.Ignore, err)
	}
	return ignore.Parse(text), nil
}
