package mount

import (
	"cmp"
	"slices"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
)

// shortName is a digest without its algorithm.
func shortName(full string) string { return full[strings.Index(full, ":")+1:] }

// in returns the tree that a node is in.
func (ns *namespace) in(node uint64) (*view, fuse.Status) {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	v := ns.byPlace[uint32(node>>32)]
	if v == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	v.use()
	return v, fuse.OK
}

// isLink tells whether a node is the symlink to the root of a tree.
func isLink(node uint64) bool { return uint32(node) == 0 }

func (ns *namespace) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if h.NodeId != topNumber {
		v, status := ns.in(h.NodeId)
		if !status.Ok() {
			return status
		}
		return v.Lookup(cancel, h, name, out)
	}
	ns.stats.requests.Add(1)
	d, err := cas.ParseDigest(name)
	full := d.String()
	if err != nil || name != full && name != shortName(full) { // as upper case is
		out.SetEntryTimeout(forever) // with node 0: there will be no such name
		return fuse.OK
	}
	v, err := ns.open(ns.caller(cancel, h), d)
	if isNoTree(err) {
		return fuse.ENOENT // and the kernel asks again the next time
	}
	if err != nil {
		return ns.failed("lookup", err, func() string { return "/" + name })
	}
	defer ns.letGo(v)
	if name == full {
		n, _ := v.table.get(root)
		v.fill(out, root, n)
	} else {
		v.fillLink(out)
	}
	out.SetEntryTimeout(ns.bounds.Name)
	return fuse.OK
}

// fillLink tells the kernel of the symlink to the root.
func (v *view) fillLink(out *fuse.EntryOut) {
	v.references.Add(1)
	out.NodeId = v.base
	out.Generation = 1
	out.SetAttrTimeout(forever)
	v.describeLink(&out.Attr)
}

func (v *view) describeLink(a *fuse.Attr) {
	v.describe(a, v.base, syscall.S_IFLNK|0o777, uint64(len(v.root.String())))
}

// Forget notes what the kernel does not hold any more.
func (ns *namespace) Forget(node, times uint64) {
	if node == topNumber {
		return
	}
	ns.mu.RLock()
	v := ns.byPlace[uint32(node>>32)]
	ns.mu.RUnlock()
	if v != nil {
		ns.forget(v, int64(times))
	}
}

func (ns *namespace) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.NodeId == topNumber {
		ns.stats.requests.Add(1)
		out.SetTimeout(forever)
		ns.describe(&out.Attr, topNumber, syscall.S_IFDIR|0o755, 0)
		return fuse.OK
	}
	v, status := ns.in(in.NodeId)
	switch {
	case !status.Ok():
		return status
	case isLink(in.NodeId):
		ns.stats.requests.Add(1)
		out.SetTimeout(forever)
		v.describeLink(&out.Attr)
		return fuse.OK
	}
	return v.GetAttr(cancel, in, out)
}

func (ns *namespace) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	v, status := ns.in(h.NodeId)
	switch {
	case !status.Ok():
		return nil, status
	case isLink(h.NodeId):
		ns.stats.requests.Add(1)
		return []byte(v.root.String()), fuse.OK
	}
	return v.Readlink(cancel, h)
}

func (ns *namespace) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	v, status := ns.in(in.NodeId)
	if !status.Ok() {
		return status
	}
	return v.Open(cancel, in, out)
}

func (ns *namespace) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	v, status := ns.in(in.NodeId)
	if !status.Ok() {
		return nil, status
	}
	return v.Read(cancel, in, buf)
}

func (ns *namespace) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if in.NodeId == topNumber {
		return ns.list(in, out.AddDirEntry)
	}
	v, status := ns.in(in.NodeId)
	if !status.Ok() {
		return status
	}
	return v.ReadDir(cancel, in, out)
}

func (ns *namespace) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if in.NodeId == topNumber {
		return ns.list(in, func(e fuse.DirEntry) bool { return out.AddDirLookupEntry(e) != nil })
	}
	v, status := ns.in(in.NodeId)
	if !status.Ok() {
		return status
	}
	return v.ReadDirPlus(cancel, in, out)
}

// list lists the trees that were used lately, in the order of their places:
// trees that come or go in between shift nothing.
func (ns *namespace) list(in *fuse.ReadIn, add func(fuse.DirEntry) bool) fuse.Status {
	ns.stats.requests.Add(1)
	for place := in.Offset; place < dots; place++ {
		if !add(fuse.DirEntry{Name: "..."[:place+1], Mode: syscall.S_IFDIR, Ino: topNumber, Off: place + 1}) {
			return fuse.OK
		}
	}
	for _, v := range ns.lately() {
		off := dots + uint64(v.place)
		if off <= in.Offset {
			continue
		}
		if !add(fuse.DirEntry{Name: v.root.String(), Mode: syscall.S_IFDIR, Ino: v.number(root), Off: off}) {
			break
		}
	}
	return fuse.OK
}

// lately returns the trees to list, in the order of their places.
func (ns *namespace) lately() []*view {
	views := ns.views()
	if len(views) > ns.bounds.Listed {
		slices.SortFunc(views, func(a, b *view) int { return cmp.Compare(b.used.Load(), a.used.Load()) })
		views = views[:ns.bounds.Listed]
	}
	slices.SortFunc(views, func(a, b *view) int { return cmp.Compare(a.place, b.place) })
	return views
}

// StatFs tells what is known without asking anybody.
func (ns *namespace) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var nodes int
	var bytes int64
	for _, v := range ns.views() {
		n, _, b := v.table.totals()
		nodes, bytes = nodes+n, bytes+b
	}
	statfs(out, nodes+1, bytes)
	return fuse.OK
}

func (ns *namespace) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !ns.opt.Xattrs {
		return 0, fuse.ENOSYS
	}
	if h.NodeId == topNumber || isLink(h.NodeId) {
		return 0, fuse.ENOATTR
	}
	v, status := ns.in(h.NodeId)
	if !status.Ok() {
		return 0, status
	}
	return v.GetXAttr(cancel, h, name, dest)
}

func (ns *namespace) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if !ns.opt.Xattrs {
		return 0, fuse.ENOSYS
	}
	if h.NodeId == topNumber || isLink(h.NodeId) {
		return 0, fuse.OK
	}
	v, status := ns.in(h.NodeId)
	if !status.Ok() {
		return 0, status
	}
	return v.ListXAttr(cancel, h, dest)
}
