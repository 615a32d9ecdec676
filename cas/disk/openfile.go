package disk

import (
	"io"
	"os"
	"syscall"

	"github.com/fstree/fstree/cas"
)

// file is a large object.
type file struct {
	*io.SectionReader
	f *os.File
}

func newFile(w *watchedFile, size int64) *file { return &file{io.NewSectionReader(w, 0, size), w.File} }

// File returns the open file, valid until Close.
func (o *file) File() *os.File { return o.f }

func (o *file) Close() error { return o.f.Close() }

// watchedFile is an open file that was proved, and is read as long as it looks
// as it did then: whoever keeps it open for days must not see what somebody
// has written to it since. It costs a system call for each read.
type watchedFile struct {
	*os.File
	digest cas.Digest
	proved identity
}

func watch(d cas.Digest, f *os.File) (*watchedFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, d, identityOf(info)}, nil
}

// ReadAt fails with a MismatchError once the file has changed.
func (w *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.File.ReadAt(p, off)
	if !w.isUnchanged() {
		return 0, &cas.MismatchError{Want: w.digest}
	}
	return n, err
}

func (w *watchedFile) isUnchanged() bool {
	info, err := w.File.Stat()
	if err != nil {
		return false
	}
	seen := identityOf(info)
	if info.Sys().(*syscall.Stat_t).Nlink == 0 {
		seen.ctime = w.proved.ctime // it was changed by the removal of its name
	}
	return seen == w.proved
}
