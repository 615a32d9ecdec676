package http

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// spoolInMemory is how many bytes of an upload are kept in memory where they
// can't be read twice.
const spoolInMemory = 1 << 20

// source is what an upload sends: bytes of known number that can be read from
// the start more than once, one reader at a time.
type source struct {
	seeker io.ReadSeeker
	start  int64
	size   int64
	file   *os.File // nil if there is none to close
}

func newSource(r io.Reader) (*source, error) {
	if s, ok := r.(io.ReadSeeker); ok {
		if src, err := measure(s); err == nil {
			return src, nil
		}
	}
	head, err := io.ReadAll(io.LimitReader(r, spoolInMemory))
	if err != nil {
		return nil, err
	}
	if len(head) < spoolInMemory {
		return &source{seeker: bytes.NewReader(head), size: int64(len(head))}, nil
	}
	return spool(io.MultiReader(bytes.NewReader(head), r))
}

func measure(s io.ReadSeeker) (*source, error) {
	start, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return &source{seeker: s, start: start, size: end - start}, nil
}

// spool copies r into a file without a name.
func spool(r io.Reader) (*source, error) {
	file, err := os.CreateTemp("", "fstree-upload-*")
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(file, r)
	if err = errors.Join(os.Remove(file.Name()), err); err != nil {
		file.Close()
		return nil, err
	}
	return &source{seeker: file, size: n, file: file}, nil
}

// open returns a reader of all bytes. Closing it does not close the source.
func (s *source) open() (io.ReadCloser, error) {
	if _, err := s.seeker.Seek(s.start, io.SeekStart); err != nil {
		return nil, err
	}
	return io.NopCloser(io.LimitReader(s.seeker, s.size)), nil
}

// Close frees what open reads from, but not what was given to newSource.
func (s *source) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
