package mount

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// digestAttribute is the extended attribute that tells the digest of a file or
// directory. Symlinks have none, as Linux allows them no such attribute.
const digestAttribute = "user.fstree.digest"

func (fs *fileSystem) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !fs.opt.Xattrs {
		return 0, fuse.ENOSYS
	}
	id, n, status := fs.node(h)
	if !status.Ok() {
		return 0, status
	}
	if name != digestAttribute || !n.isDir() && !n.isFile() {
		return 0, fuse.ENOATTR
	}
	digest := fs.root
	if id != root {
		e, err := fs.entry(fs.caller(cancel, h), id)
		if err != nil {
			return 0, fs.fail("getxattr", id, err)
		}
		digest = e.Digest
	}
	return answer(dest, digest.String())
}

func (fs *fileSystem) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if !fs.opt.Xattrs {
		return 0, fuse.ENOSYS
	}
	_, n, status := fs.node(h)
	if !status.Ok() {
		return 0, status
	}
	if !n.isDir() && !n.isFile() {
		return 0, fuse.OK
	}
	return answer(dest, digestAttribute+"\x00")
}

// answer puts value into dest, or tells how much room it needs.
func answer(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.Status(syscall.ERANGE)
	}
	return uint32(copy(dest, value)), fuse.OK
}
