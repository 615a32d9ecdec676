package worktree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// limits are what a file system says about the names in it.
type limits struct {
	name    int  // the longest name, in bytes
	folding bool // names that differ in case alone are one
	windows bool // names that Windows can't have are refused
}

// casefoldFlag marks a directory that folds case, on ext4 and f2fs.
const casefoldFlag = 0x40000000

// limitsAt returns the limits of the directory dir, or, if it is yet to be
// made, of the one in which that will happen.
func limitsAt(dir string) (limits, error) {
	fd, err := openRoot(dir)
	for ; err == unix.ENOENT && dir != filepath.Dir(dir); fd, err = openRoot(dir) {
		if dir, err = filepath.Abs(filepath.Dir(dir)); err != nil {
			return limits{}, err
		}
	}
	if err != nil {
		return limits{}, fmt.Errorf("%s: %w", dir, err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return limits{}, os.NewSyscallError("fstatfs", err)
	}
	l := limits{name: int(fs.Namelen)}
	switch uint32(fs.Type) {
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		l.folding, l.windows = true, true
	}
	if flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil && flags&casefoldFlag != 0 {
		l.folding = true
	}
	return l, nil
}

// check tells which entry of t can't be in a directory with these limits.
func (l limits) check(t *tree.Tree) (name string, err error) {
	folded := map[string]string{}
	for e := range t.All() {
		switch {
		case e.Name == private:
			return e.Name, fmt.Errorf("the tree has an entry named %s, which is the workspace's own", private)
		case l.name > 0 && len(e.Name) > l.name:
			return e.Name, fmt.Errorf("the name has %d bytes, and the file system allows %d", len(e.Name), l.name)
		case len(e.Target) >= maxTarget:
			return e.Name, fmt.Errorf("the link target has %d bytes, and the system allows %d", len(e.Target), maxTarget-1)
		case l.windows && !windowsName(e.Name):
			return e.Name, fmt.Errorf("the file system does not allow the name")
		}
		if !l.folding {
			continue
		}
		key := fold(e.Name)
		if key == private {
			return e.Name, fmt.Errorf("the file system takes the name for %s, which is the workspace's own", private)
		}
		if other, ok := folded[key]; ok {
			return e.Name, fmt.Errorf("the file system takes the name for %q, which the tree has as well", other)
		}
		folded[key] = e.Name
	}
	return "", nil
}

// fold makes names equal that differ in case alone.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// windowsName tells whether file systems that come from Windows allow name.
func windowsName(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsAny(name, `"*:<>?\|`) && strings.TrimRight(name, ". ") == name &&
		strings.IndexFunc(name, func(r rune) bool { return r < ' ' }) < 0
}
