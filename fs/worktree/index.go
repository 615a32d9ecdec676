package worktree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// The index is one file, all integers little-endian:
//
//	u32     magic
//	u32     version
//	blocks  one per directory, subdirectories before what holds them
//	text    the store's epoch when the index was written
//	u32     its length
//	33      digest of the ignore rules, in binary form; zeros if there are none
//	u64     offset of the root's block
//	32      BLAKE3 of all before
//
// It belongs to one machine and program: there is no promise that another
// version can read it. The version goes up with the meaning of ignore rules too,
// since an index has the names that they left.
const (
	indexMagic   = 0x58495346 // "FSIX"
	indexVersion = 2
	indexHeader  = 8
	checksumSize = 32
	indexTrailer = 4 + digestSize + 8 + checksumSize

	// maxIndex bounds what is read, in bytes: some ten million entries.
	maxIndex = 1 << 30
)

var (
	errForeign = errors.New("it was written by another version")
	errDamaged = errors.New("it is damaged")
)

// index is a loaded index. Its zero value knows nothing.
type index struct {
	data  []byte
	root  uint64 // offset of the root's block, 0 if there is none
	epoch string
	rules cas.Digest // of the ignore file, zero if there is none
}

// top returns the block of the root directory.
func (x *index) top() block {
	if x.root == 0 {
		return nil
	}
	return x.block(x.root)
}

func (x *index) block(offset uint64) block {
	b := block(x.data[offset:])
	return b[:blockHeader+b.len()*recordSize+int(le.Uint32(b[textSizeAt:]))]
}

// child returns the block of a subdirectory.
func (x *index) child(r record) block { return x.block(r.child()) }

// indexPath is where the index of dir is.
func indexPath(dir string, opt Options) string {
	if filepath.IsAbs(opt.Index) {
		return opt.Index
	}
	return filepath.Join(dir, opt.Index)
}

// own is what belongs to the workspace itself: entries named .fstree, and an
// index that stands elsewhere below the root.
type own struct{ dir, name string }

func ownOf(dir string, opt Options) own {
	root, err := filepath.Abs(dir)
	if err != nil {
		return own{}
	}
	path, err := filepath.Rel(root, indexPath(root, opt))
	if err != nil || !filepath.IsLocal(path) {
		return own{}
	}
	parent, name := filepath.Split(path)
	return own{strings.TrimSuffix(parent, "/"), name}
}

// has tells whether the entry name of dir, relative to the root, is the
// workspace's own.
func (o own) has(dir string, name []byte) bool {
	return string(name) == private || string(name) == o.name && dir == o.dir
}

// loadIndex returns the index of dir. One that is absent, foreign or damaged
// is an empty one; the observer hears why.
func loadIndex(dir string, opt Options) *index {
	path := indexPath(dir, opt)
	x, err := readIndex(path)
	switch {
	case err == nil:
		opt.observe(Event{Kind: IndexLoaded, Path: path})
		return x
	case !errors.Is(err, os.ErrNotExist):
		opt.warn(fmt.Sprintf("index %s is not used and will be rebuilt: %v", path, cause(err)))
	}
	return &index{}
}

// cause strips what names the path a second time.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func readIndex(path string) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxIndex {
		return nil, errForeign
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, errDamaged
	}
	return parseIndex(data)
}

func parseIndex(data []byte) (*index, error) {
	if len(data) < indexHeader+indexTrailer || le.Uint32(data) != indexMagic || le.Uint32(data[4:]) != indexVersion {
		return nil, errForeign
	}
	whole := make(chan bool, 1)
	go func() { whole <- isWhole(data) }()
	x, err := readBlocks(data)
	if !<-whole {
		err = errDamaged
	}
	return x, err
}

// isWhole tells whether data ends with the checksum of what stands before.
func isWhole(data []byte) bool {
	body := len(data) - checksumSize
	sum, _ := cas.DigestFromBytes(append([]byte{byte(cas.BLAKE3)}, data[body:]...))
	return cas.Sum(data[:body]) == sum
}

// readBlocks returns the index in data, which need not be whole.
func readBlocks(data []byte) (*index, error) {
	end := len(data) - indexTrailer
	epoch := uint64(le.Uint32(data[end:]))
	x := &index{data: data, root: le.Uint64(data[end+4+digestSize:]), rules: digestAt(data[end+4:])}
	if epoch > uint64(end-indexHeader) {
		return nil, errDamaged
	}
	blocks := data[:end-int(epoch)]
	x.epoch = string(data[len(blocks):end])
	return x, x.check(uint64(len(blocks)))
}

// check reads all blocks once, so that later nothing is out of bounds and no
// path leads in circles, and each block is the child of one directory.
func (x *index) check(end uint64) error {
	offset, last := uint64(indexHeader), uint64(0)
	orphans := map[uint64]struct{}{}
	for offset < end {
		if end-offset < blockHeader {
			return errDamaged
		}
		head := x.data[offset:]
		size := blockHeader + uint64(le.Uint32(head[countAt:]))*recordSize + uint64(le.Uint32(head[textSizeAt:]))
		if size > end-offset {
			return errDamaged
		}
		b := x.block(offset)
		if err := b.check(offset); err != nil {
			return err
		}
		for i := range b.len() {
			if r := b.at(i); r.kind() == tree.Dir {
				if _, ok := orphans[r.child()]; !ok {
					return errDamaged
				}
				delete(orphans, r.child())
			}
		}
		orphans[offset] = struct{}{}
		last = offset
		offset += size
	}
	if x.root != last || len(orphans) != 1 {
		return errDamaged
	}
	return nil
}
