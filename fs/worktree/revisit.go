package worktree

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// A directory whose own times, inode and mode are as the index has them has the
// same names as then: whatever adds, removes or renames an entry changes them.
// So it need not be listed, if the same rules said then what is ignored.

// timelyKinds are the file systems, by their magic numbers, that are known to keep
// the times of directories so. Others, those that show a bucket, a network
// share or a fixed tree as files, may not.
var timelyKinds = []int64{
	unix.BTRFS_SUPER_MAGIC, unix.EXT4_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
	unix.OVERLAYFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.XFS_SUPER_MAGIC,
}

// trustedDevice returns the device of the open directory if its file system is
// timely, 0 otherwise.
func trustedDevice(fd int) uint64 {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || !slices.Contains(timelyKinds, int64(fs.Type)) {
		return 0
	}
	st, err := statOf(fd)
	if err != nil {
		return 0
	}
	return st.device
}

// timely tells whether the times of the directory it can be trusted.
func (w *writer) timely(it *item) bool { return w.device != 0 && it.stat.device == w.device }

// spares tells whether the index has the names of all entries of d, which is
// described by it.
func (w *writer) spares(d *dirNode, it *item) bool {
	return d.known != nil && w.sameRules && w.timely(it) && d.parent.known.at(it.place).lists(it.stat)
}

// revisit describes the entries of d that the index knows. It returns false, and
// no entry, if they can't be all: d has changed since it was described.
func (w *writer) revisit(d *dirNode) bool {
	name := make(cname, 0, unix.NAME_MAX+1)
	for place := range d.known.len() {
		r := d.known.at(place)
		it := item{}
		if r.kind() == tree.Dir {
			it.stat.mode = unix.S_IFDIR // the rest is seen when it is open
		} else {
			st, err := statAt(d.fd, append(append(name[:0], r.name()...), 0))
			if err != nil || st.kind() != r.kind() {
				d.items = d.items[:0]
				return false
			}
			it.stat = st
		}
		w.recognise(d, &it, place)
		d.items = append(d.items, it)
	}
	return true
}
