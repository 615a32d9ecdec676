package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/fstree/fstree/cas"
)

// Get opens d. A damaged object is set aside and is not found.
func (s *Store) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	return s.get(ctx, d, true)
}

func (s *Store) get(ctx context.Context, d cas.Digest, counted bool) (cas.RandomObject, error) {
	entries, err := s.lookup(ctx, []cas.Digest{d}, counted)
	if err != nil {
		return nil, err
	}
	return s.openFound(ctx, d, entries[0])
}

// openFound opens d, whose entry was e a moment ago.
func (s *Store) openFound(ctx context.Context, d cas.Digest, e entry) (cas.RandomObject, error) {
	for range 3 { // an object may move between the answer and its use
		if e.kind == 0 {
			break
		}
		o, err := s.open(ctx, d, e)
		if err == nil {
			return o, nil
		}
		if err := s.giveUp(ctx, item{d, e}, err); err != nil {
			return nil, err
		}
		if e, err = s.lookupOne(ctx, d); err != nil {
			return nil, err
		}
	}
	return nil, &cas.NotFoundError{Digest: d}
}

// giveUp forgets an object that could not be opened because it is lost or
// damaged. Any other cause it returns.
func (s *Store) giveUp(ctx context.Context, it item, cause error) error {
	switch {
	case isMismatch(cause):
		s.log.Warn("set a damaged object aside", "cache", s.dir, "object", it.digest, "cause", cause)
	case errors.Is(cause, fs.ErrNotExist):
		s.log.Debug("forgot a lost object", "cache", s.dir, "object", it.digest)
	default:
		return fmt.Errorf("cache %s: cannot read %s: %w", s.dir, it.digest, cause)
	}
	return s.ask(ctx, func(ctx context.Context, x index) error { return x.forget(ctx, it) })
}

func (s *Store) open(ctx context.Context, d cas.Digest, e entry) (cas.RandomObject, error) {
	if e.kind == filed {
		return s.openFile(ctx, d, e)
	}
	data, err := s.readPacked(d, e)
	if err != nil {
		return nil, err
	}
	return cas.NewObject(data), nil
}

// Has tells which of ds are held. Asking counts as a use.
func (s *Store) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	sizes, err := s.Sizes(ctx, ds)
	if err != nil {
		return nil, err
	}
	present := make([]bool, len(ds))
	for i := range sizes {
		present[i] = sizes[i] >= 0
	}
	return present, nil
}

// Sizes returns the lengths of ds, -1 for what is not held.
func (s *Store) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	return s.sizes(ctx, ds, true)
}

func (s *Store) sizes(ctx context.Context, ds []cas.Digest, counted bool) ([]int64, error) {
	entries, err := s.lookup(ctx, ds, counted)
	if err != nil {
		return nil, err
	}
	sizes := make([]int64, len(ds))
	packs := packLengths{}
	for i, e := range entries {
		sizes[i] = -1
		if e.kind != 0 && (s.looksRight(ds[i], e, packs) || s.intact(ctx, ds[i])) {
			sizes[i] = e.size
		}
	}
	return sizes, nil
}

// looksRight tells whether what d lies in is as it was, as far as one can see
// without reading it.
func (s *Store) looksRight(d cas.Digest, e entry, packs packLengths) bool {
	if e.kind == packed {
		return int64(e.place.offset)+recordSize(e.size) <= packs.of(s, e.place.pack)
	}
	info, err := os.Lstat(s.objectPath(d))
	return err == nil && info.Size() == e.size && s.fits(e.identity, info)
}

// packLengths remembers how long packs are while one question is answered.
type packLengths map[uint64]int64

// of returns the length of a pack, 0 if it is gone.
func (p packLengths) of(s *Store, id uint64) int64 {
	length, known := p[id]
	if !known {
		if info, err := os.Lstat(s.packPath(id)); err == nil {
			length = info.Size()
		}
		p[id] = length
	}
	return length
}

// intact tells whether Get would open d. What can't be opened is forgotten.
func (s *Store) intact(ctx context.Context, d cas.Digest) bool {
	o, err := s.Get(ctx, d)
	if err != nil {
		return false
	}
	o.Close()
	return true
}

// lookup asks the index for ds, in pieces of bounded size.
func (s *Store) lookup(ctx context.Context, ds []cas.Digest, counted bool) ([]entry, error) {
	if err := s.keep(ds...); err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(ds))
	for len(entries) < len(ds) {
		piece := ds[len(entries):min(len(ds), len(entries)+batchCount)]
		err := s.ask(ctx, func(ctx context.Context, x index) error {
			found, err := x.lookup(ctx, piece, counted)
			if err == nil {
				entries = append(entries, found...)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func (s *Store) lookupOne(ctx context.Context, d cas.Digest) (entry, error) {
	entries, err := s.lookup(ctx, []cas.Digest{d}, false)
	if err != nil {
		return entry{}, err
	}
	return entries[0], nil
}

// file is a large object.
type file struct {
	*io.SectionReader
	f *os.File
}

// File returns the open file, valid until Close.
func (o *file) File() *os.File { return o.f }

func (o *file) Close() error { return o.f.Close() }

func newFile(f *os.File, size int64) *file { return &file{io.NewSectionReader(f, 0, size), f} }
