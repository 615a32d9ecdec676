package worktree

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// saveIndex makes root the index of dir. If it can't, the observer hears why:
// the next run is slower, and as right.
func saveIndex(dir string, opt Options, old *index, root *section, epoch string, rules cas.Digest) {
	path := indexPath(dir, opt)
	if err := writeIndex(path, old, root, epoch, rules); err != nil {
		opt.warn(fmt.Sprintf("index %s is not saved: %v", path, cause(err)))
		return
	}
	opt.observe(Event{Kind: IndexSaved, Path: path})
}

func writeIndex(path string, old *index, root *section, epoch string, rules cas.Digest) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	defer f.Close()
	if err := encodeIndex(f, old, root, epoch, rules); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func encodeIndex(f io.Writer, old *index, root *section, epoch string, rules cas.Digest) error {
	hasher := cas.NewHasher(cas.BLAKE3)
	defer hasher.Release()
	buffered := bufio.NewWriterSize(f, 256<<10)
	w := &indexWriter{w: io.MultiWriter(buffered, hasher), old: old, tick: tick()}
	w.write(le.AppendUint32(le.AppendUint32(nil, indexMagic), indexVersion))
	top := w.add(root)
	trailer := le.AppendUint32([]byte(epoch), uint32(len(epoch)))
	trailer = appendDigest(trailer, rules)
	w.write(le.AppendUint64(trailer, top))
	if w.err != nil {
		return w.err
	}
	sum, _ := hasher.Digest().AppendBinary(nil)
	if _, err := buffered.Write(sum[1:]); err != nil {
		return err
	}
	return buffered.Flush()
}

// indexWriter lays sections out one after the other until err.
type indexWriter struct {
	w       io.Writer
	old     *index
	offset  uint64
	scratch []byte
	tick    int64
	err     error
}

func (w *indexWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
	w.offset += uint64(len(b))
}

// add writes what is below s, then s, and returns where that stands.
func (w *indexWriter) add(s *section) uint64 {
	children := make([]uint64, 0, len(s.children))
	for _, child := range s.children {
		children = append(children, w.add(child))
	}
	if s.old {
		children = w.addOld(s.block)
	}
	w.scratch = append(w.scratch[:0], s.block...)
	w.amend(w.scratch, children, !s.old)
	offset := w.offset
	w.write(w.scratch)
	return offset
}

// addOld writes what is below an unchanged directory.
func (w *indexWriter) addOld(b block) []uint64 {
	var children []uint64
	for i := range b.len() {
		if r := b.at(i); r.kind() == tree.Dir {
			children = append(children, w.add(&section{block: w.old.child(r), old: true}))
		}
	}
	return children
}

// amend puts the places of subdirectories into b. In a block made by this run
// it marks what changed in the present tick as racily clean: a change still to
// come in the same tick would not show.
func (w *indexWriter) amend(b block, children []uint64, fresh bool) {
	for i := range b.len() {
		r := b.at(i)
		if r.kind() == tree.Dir {
			le.PutUint64(r.fields[sizeAt:], children[0])
			children = children[1:]
		} else if fresh && !r.stat().settled(w.tick) {
			le.PutUint64(r.fields[ctimeAt:], 0)
		}
	}
}
