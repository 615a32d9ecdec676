package mount

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fstree/fstree/cas"
)

// fileStore keeps every object as a file in a directory.
type fileStore string

type osFile = os.File

type fileObject struct {
	*osFile
	size int64
}

func (o fileObject) Size() int64    { return o.size }
func (o fileObject) File() *os.File { return o.osFile }

func (s fileStore) Get(_ context.Context, d cas.Digest) (cas.Object, error) {
	f, err := os.Open(filepath.Join(string(s), d.Hex()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &cas.NotFoundError{Digest: d}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return fileObject{f, info.Size()}, nil
}

func (s fileStore) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	present := make([]bool, len(ds))
	for i, d := range ds {
		_, err := os.Stat(filepath.Join(string(s), d.Hex()))
		present[i] = err == nil
	}
	return present, nil
}

func (s fileStore) Put(_ context.Context, d cas.Digest, r io.Reader) error {
	f, err := os.CreateTemp(string(s), "temporary")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(string(s), d.Hex()))
}
