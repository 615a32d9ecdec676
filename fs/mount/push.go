package mount

import (
	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

const (
	// pushBack bounds how many entries are looked at before the place where a
	// listing goes on, and pushSize the files that are handed over.
	pushBack = 256
	pushSize = 128 << 10

	// pushLess is how many entries there are to one that the kernel has to ask
	// for: by these a sweep is followed.
	pushLess = 8
)

// aheadSource is a source that keeps small files at hand that it has fetched
// ahead.
type aheadSource interface {
	// TakeAhead hands over such a file, once.
	TakeAhead(d cas.Digest) (data []byte, ok bool)
}

// push hands to the kernel what was fetched ahead of the files that stand before
// a place in a listing. Whoever lists a directory in the course of a sweep will
// read them next, and the kernel, which knows them from the listing, need not
// ask for each of them.
//
// It may wait for somebody who reads such a file just now: not long, for what
// he waits for is here.
func (fs *fileSystem) push(d dir, t *tree.Tree, place uint64) {
	source, ok := fs.source.(aheadSource)
	if !ok || place <= dots || !fs.opens.unneeded() {
		return
	}
	end := uint32(min(place-dots, uint64(d.count)))
	for i := end - min(end, pushBack); i < end; i++ {
		id := d.first + i
		n, _ := fs.table.get(id)
		if !n.isFile() || n.size <= 0 || n.size > pushSize || id%pushLess == 0 {
			continue
		}
		if data, ok := source.TakeAhead(t.At(int(i)).Digest); ok && int64(len(data)) == n.size {
			fs.kernel.InodeNotifyStoreCache(fs.number(id), 0, data)
			fs.stats.objects.Add(1)
			fs.stats.bytes.Add(n.size)
		}
	}
}
