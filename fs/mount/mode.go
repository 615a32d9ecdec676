package mount

import (
	"os"

	"github.com/fstree/fstree/cas/tree"
)

// ModeAuto passes through what is a single directory of few files that are
// large on the average: images, models, archives. That can be told from the
// root alone; what lies in deeper directories is not known when a tree is
// mounted.
const (
	fewFiles   = 64
	largeFiles = 64 << 20 // bytes
)

// chooseMode decides whether the kernel shall read local files itself.
func (fs *fileSystem) chooseMode(c caller, d dir, t *tree.Tree) {
	switch fs.opt.Mode {
	case ModePassthrough:
		fs.passthrough = true
	case ModeAuto:
		fs.passthrough = os.Geteuid() == 0 && fs.hasFewLargeFiles(c, d, t)
	}
}

func (fs *fileSystem) hasFewLargeFiles(c caller, d dir, t *tree.Tree) bool {
	files := int64(0)
	for e := range t.All() {
		if e.Type == tree.File {
			files++
		}
		if e.Type == tree.Dir || files > fewFiles {
			return false
		}
	}
	if files == 0 || fs.askSizes(c.patience(patience), d, t, d.first) != nil {
		return false
	}
	bytes := int64(0)
	for i := range d.count {
		if n, _ := fs.table.get(d.first + i); n.isFile() {
			bytes += n.size // nobody knows it: a little less than nothing
		}
	}
	return bytes/files >= largeFiles
}
