package mount

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas/tree"
)

const (
	// patience is how long a listing waits for the sizes that would spare the
	// kernel a question per file.
	patience = 500 * time.Millisecond

	// maxName is the longest name that is listed. The kernel refuses a whole
	// listing for a longer one.
	maxName = 1024
)

// OpenDir makes the kernel do without us, which implies that it keeps listings.
func (s *shared) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	s.stats.requests.Add(1)
	if s.opt.NoDirectoryCache {
		return fuse.OK
	}
	return fuse.ENOSYS
}

func (fs *fileSystem) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(cancel, in, func(l *listing, place uint64) bool {
		e, _ := l.entry(place)
		return out.AddDirEntry(e)
	})
}

// ReadDirPlus gives the kernel the attributes of what it lists, as far as they
// are known or cheap: a listing costs the content of no file.
func (fs *fileSystem) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(cancel, in, func(l *listing, place uint64) bool {
		e, id := l.entry(place)
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if place >= dots {
			l.describe(entry, id)
		}
		return true
	})
}

// list calls add with the places in a directory from the one asked for, until
// it returns false.
func (fs *fileSystem) list(cancel <-chan struct{}, in *fuse.ReadIn, add func(l *listing, place uint64) bool) fuse.Status {
	id, n, status := fs.node(&in.InHeader)
	if !status.Ok() || !n.isDir() {
		return or(status, fuse.ENOTDIR)
	}
	c := fs.caller(cancel, &in.InHeader)
	d, t, err := fs.directory(c, id)
	if err != nil {
		return fs.fail("list", id, err)
	}
	fs.push(d, t, in.Offset)
	l := listing{fs: fs, caller: c, dir: d, tree: t}
	for place := in.Offset; place < dots+uint64(t.Len()); place++ {
		if place >= dots && len(t.At(int(place-dots)).Name) > maxName {
			continue
		}
		if !add(&l, place) {
			break
		}
	}
	return fuse.OK
}

// dots is the number of places before the first entry: "." and "..".
const dots = 2

// listing is one piece of the listing of a directory.
type listing struct {
	fs      *fileSystem
	caller  caller
	dir     dir
	tree    *tree.Tree
	unsized bool // sizes were asked for in vain
}

// entry returns what stands at a place.
func (l *listing) entry(place uint64) (fuse.DirEntry, uint32) {
	e := fuse.DirEntry{Mode: syscall.S_IFDIR, Off: place + 1}
	id := l.dir.self
	switch place {
	case 0:
		e.Name = "."
	case 1:
		e.Name = ".."
		if id == root { // of a namespace, or there is nothing above
			e.Ino = topNumber
			return e, id
		}
		id = l.fs.table.parent(id).self
	default:
		i := uint32(place - dots)
		id = l.dir.first + i
		n, _ := l.fs.table.get(id)
		e.Name, e.Mode = l.tree.At(int(i)).Name, uint32(n.mode)
	}
	e.Ino = l.fs.number(id)
	return e, id
}

// describe fills in the attributes of id, or leaves node 0: the kernel then
// asks when it needs them.
func (l *listing) describe(out *fuse.EntryOut, id uint32) {
	n, _ := l.fs.table.get(id)
	if n.isFile() && n.size == sizeUnasked && !l.unsized {
		err := l.fs.askSizes(l.caller.patience(patience), l.dir, l.tree, id)
		l.unsized = err != nil
		n, _ = l.fs.table.get(id)
	}
	if !n.isFile() || n.size >= 0 {
		l.fs.fill(out, id, n)
	}
}
