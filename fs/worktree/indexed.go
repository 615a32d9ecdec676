package worktree

import "github.com/fstree/fstree/cas"

// IndexedRoot returns the tree that the directory dir was equal to when its
// index was written, the zero Digest if there is no index that can be read. It
// is a hint at what a store may hold, and tells nothing of dir as it is now.
func IndexedRoot(dir string, opt Options) cas.Digest {
	x, err := readIndex(indexPath(dir, opt.withDefaults()))
	if err != nil {
		return cas.Digest{}
	}
	return x.top().digest()
}
