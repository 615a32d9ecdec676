package worktree

import (
	"fmt"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// IndexEntry is what the index knows of one entry.
type IndexEntry struct {
	Path   string // relative to the root
	Type   tree.Type
	Perm   uint32     // permission bits
	Digest cas.Digest // of the file or the tree; zero for a symlink
	Target string     // of a symlink
	Mtime  time.Time
}

// ReadIndex returns what the index of dir knows, a directory before what is in
// it, otherwise in bytewise order of name. An index that is absent is
// fs.ErrNotExist.
func ReadIndex(dir string, opt Options) ([]IndexEntry, error) {
	opt = opt.withDefaults()
	path := indexPath(dir, opt)
	x, err := readIndex(path)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path, cause(err))
	}
	return x.appendEntries(nil, "", x.top()), nil
}

func (x *index) appendEntries(entries []IndexEntry, dir string, b block) []IndexEntry {
	for i := range b.len() {
		r := b.at(i)
		st := r.stat()
		e := IndexEntry{Path: join(dir, r.name()), Type: r.kind(), Perm: st.perm(), Mtime: time.Unix(0, st.mtime)}
		switch e.Type {
		case tree.File:
			e.Digest = r.digest()
		case tree.Symlink:
			e.Target = string(r.target())
		}
		if e.Type != tree.Dir {
			entries = append(entries, e)
			continue
		}
		below := x.child(r)
		e.Digest = below.digest()
		entries = x.appendEntries(append(entries, e), e.Path, below)
	}
	return entries
}
