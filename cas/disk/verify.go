package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
)

// Verified is what a verification has read.
type Verified struct {
	Objects int64
	Bytes   int64

	// Dropped is the number of parts of partial objects, of 64 KiB each, that
	// were wrong. They are fetched again when they are needed.
	Dropped int64
}

// Verify reads every object and calls damaged, one call at a time, for each
// that is not what it should be: with a *cas.MismatchError, or with
// fs.ErrNotExist if its bytes are gone. It leaves them where they are; SetAside
// does not. Of partial objects, which are read at last, it drops what is wrong.
// An object that comes or goes meanwhile may be left out.
func (s *Store) Verify(ctx context.Context, damaged func(cas.Digest, error)) (Verified, error) {
	v := s.verification(damaged)
	var after cas.Digest
	for {
		items, err := s.list(ctx, after)
		if err == nil && len(items) == 0 {
			err = v.checkPartials(ctx)
			return v.done, err
		}
		if err != nil {
			return v.done, err
		}
		if err := v.check(ctx, items); err != nil {
			return v.done, err
		}
		after = items[len(items)-1].digest
	}
}

// VerifyObjects is Verify for ds alone. One that the store does not hold is
// reported with a *cas.NotFoundError.
func (s *Store) VerifyObjects(ctx context.Context, ds []cas.Digest, damaged func(cas.Digest, error)) (Verified, error) {
	v := s.verification(damaged)
	for piece := range slices.Chunk(ds, batchCount) {
		entries, err := s.lookup(ctx, piece, false)
		if err != nil {
			return v.done, err
		}
		var items []item
		for i, d := range piece {
			if entries[i].kind == 0 {
				damaged(d, &cas.NotFoundError{Digest: d})
				continue
			}
			items = append(items, item{d, entries[i]})
		}
		if err := v.check(ctx, items); err != nil {
			return v.done, err
		}
	}
	return v.done, nil
}

func (s *Store) verification(damaged func(cas.Digest, error)) *verification {
	v := &verification{store: s, damaged: damaged, turn: make(chan struct{}, 1)}
	v.turn <- struct{}{}
	return v
}

// list returns some objects in the order of their digests, from the first one
// after the given one.
func (s *Store) list(ctx context.Context, after cas.Digest) (items []item, err error) {
	err = s.ask(ctx, func(ctx context.Context, x index) (err error) {
		items, err = x.list(ctx, after)
		return err
	})
	return items, err
}

type verification struct {
	store   *Store
	damaged func(cas.Digest, error)

	turn chan struct{} // holds one token, for whoever changes done or reports
	done Verified
}

// check reads items on all cores.
func (v *verification) check(ctx context.Context, items []item) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for _, it := range items {
		workers.Go(func() error {
			err := v.store.checkBytes(ctx, it)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return v.note(ctx, it, err)
		})
	}
	return workers.Wait()
}

// note counts an object, and reports it if it is damaged where the index says
// that it still is.
func (v *verification) note(ctx context.Context, it item, err error) error {
	if err != nil && !isMismatch(err) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		now, lookupErr := v.store.lookupOne(ctx, it.digest)
		if lookupErr != nil {
			return lookupErr
		}
		if now.kind == 0 || now.place != it.entry.place || now.identity != it.entry.identity {
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) && it.entry.kind == filed && it.entry.identity == (identity{}) {
		return nil // on its way in or out when a process was killed
	}
	<-v.turn
	defer func() { v.turn <- struct{}{} }()
	v.done.Objects++
	v.done.Bytes += it.entry.size
	if err != nil {
		v.damaged(it.digest, err)
	}
	return nil
}

// checkBytes reads all bytes of an object, however its file looks.
func (s *Store) checkBytes(ctx context.Context, it item) error {
	if it.entry.kind == packed {
		_, err := s.readPacked(it.digest, it.entry)
		return err
	}
	f, err := os.Open(s.objectPath(it.digest))
	if err != nil {
		return err
	}
	defer f.Close()
	if ranged(it.digest, it.entry.size) {
		return s.checkOutboard(ctx, it.digest, f, it.entry.size)
	}
	return hashFile(ctx, it.digest, f)
}

func isMismatch(err error) bool {
	var mismatch *cas.MismatchError
	return errors.As(err, &mismatch)
}

// SetAside drops an object. If it has a file of its own, that moves to the
// directory "damaged".
func (s *Store) SetAside(ctx context.Context, d cas.Digest) error {
	e, err := s.lookupOne(ctx, d)
	if err != nil || e.kind == 0 {
		return err
	}
	return s.ask(ctx, func(ctx context.Context, x index) error { return x.forget(ctx, item{d, e}) })
}
