package mount

import (
	"context"
	"fmt"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// synthetic is a store with one root, dirs directories in it, and files files
// in each of those. It makes up trees when they are asked for, and so takes
// next to no memory itself.
type synthetic struct {
	files int
	root  []byte
	dirs  map[cas.Digest]int
}

func newSynthetic(dirs, files int) (*synthetic, cas.Digest, error) {
	s := &synthetic{files: files, dirs: map[cas.Digest]int{}}
	var entries []tree.Entry
	for i := range dirs {
		data, err := s.dir(i)
		if err != nil {
			return nil, cas.Digest{}, err
		}
		d := cas.Sum(data)
		s.dirs[d] = i
		entries = append(entries, tree.Entry{Name: fmt.Sprintf("dir%06d", i), Type: tree.Dir, Perm: 0o755, Digest: d})
	}
	t, err := tree.New(entries)
	if err != nil {
		return nil, cas.Digest{}, err
	}
	s.root = t.Encode()
	return s, cas.Sum(s.root), nil
}

func (s *synthetic) dir(i int) ([]byte, error) {
	entries := make([]tree.Entry, s.files)
	for j := range entries {
		name := fmt.Sprintf("file-%06d-%06d", i, j)
		entries[j] = tree.Entry{Name: name, Type: tree.File, Perm: 0o644, Digest: cas.Sum([]byte(name))}
	}
	t, err := tree.New(entries)
	if err != nil {
		return nil, err
	}
	return t.Encode(), nil
}

func (s *synthetic) Get(_ context.Context, d cas.Digest) (cas.Object, error) {
	if d == cas.Sum(s.root) {
		return cas.NewObject(s.root), nil
	}
	i, ok := s.dirs[d]
	if !ok {
		return nil, &cas.NotFoundError{Digest: d}
	}
	data, err := s.dir(i)
	if err != nil {
		return nil, err
	}
	return cas.NewObject(data), nil
}

// Sizes says that every file has 12,345 bytes.
func (s *synthetic) Sizes(_ context.Context, ds []cas.Digest) ([]int64, error) {
	sizes := make([]int64, len(ds))
	for i := range sizes {
		sizes[i] = 12345
	}
	return sizes, nil
}
