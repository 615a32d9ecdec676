package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

func (s *Store) partPath(d cas.Digest, size int64) string {
	return s.path(partialDir, partName(d, size))
}

// partialUse is what one sees of a partial object from outside.
type partialUse struct {
	name   string // of its directory
	digest cas.Digest
	size   int64 // of the object
	used   uint32
	bytes  int64 // on disk
}

// partials returns all partial objects, the least recently used first. There
// are few: each is a large object that somebody has read from.
func (s *Store) partials() ([]partialUse, error) {
	names, err := os.ReadDir(s.path(partialDir))
	if err != nil {
		return nil, err
	}
	var uses []partialUse
	for _, name := range names {
		if d, size, ok := parsePartName(name.Name()); ok {
			u := partialUse{name: name.Name(), digest: d, size: size}
			s.measure(&u)
			uses = append(uses, u)
		}
	}
	slices.SortFunc(uses, func(a, b partialUse) int { return int(int64(a.used) - int64(b.used)) })
	return uses, nil
}

// measure finds out how much space u takes, and when it was used: that is the
// time of its state, which its users touch.
func (s *Store) measure(u *partialUse) {
	for _, name := range []string{partData, partOutboard, partState} {
		info, err := os.Lstat(s.path(partialDir, u.name, name))
		if err != nil {
			continue
		}
		u.bytes += bytesOnDisk(info)
		if name == partState {
			u.used = uint32(info.ModTime().Unix())
		}
	}
}

// bytesOnDisk returns how much space a file takes.
func bytesOnDisk(info os.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

func bytesOf(uses []partialUse) (n int64) {
	for _, u := range uses {
		n += u.bytes
	}
	return n
}

// removePartial removes a partial object that nobody has open, and tells whether
// it did.
func (s *Store) removePartial(name string) bool {
	done, err := changeParts(s.path(partialDir, name), removeUnused)
	return done && err == nil
}

// growStep is how many bytes of parts a process adds before it tells the index.
const growStep = 64 << 20

// grow notes that parts have grown by n bytes. Now and then it lets the index
// see whether something is to be evicted.
func (s *Store) grow(ctx context.Context, n int64) {
	if s.grown.Add(n) < growStep {
		return
	}
	s.grown.Store(0)
	err := s.ask(ctx, func(ctx context.Context, x index) error { return x.record(ctx, nil, s.limits()) })
	if err != nil {
		s.log.Debug("partial objects have grown unnoticed", "cache", s.dir, "cause", err)
	}
}

// countPartials takes the bytes of partial objects into account from then on.
func (x *engine) countPartials() []partialUse {
	uses, err := x.store.partials()
	if err != nil {
		x.store.log.Warn("partial objects are not counted", "cache", x.store.dir, "cause", err)
	}
	x.partialBytes.Store(bytesOf(uses))
	return uses
}

// removePartials removes partial objects that were last used in the bucket or
// before, until enough is gone, but not those that are open, held, or protected.
func (v *eviction) removePartials(bucket uint32) {
	for len(v.partial) > 0 && v.excess > 0 {
		u := v.partial[0]
		if bucketOf(u.used) > bucket || u.used >= v.protected {
			return
		}
		v.partial = v.partial[1:]
		name, _ := u.digest.MarshalBinary()
		if v.held.hasAny(name[1:][:heldNameSize]) || !v.engine.store.removePartial(u.name) {
			continue
		}
		v.excess -= u.bytes
		v.done.Objects++
		v.done.Bytes += u.bytes
		v.engine.partialBytes.Add(-u.bytes)
	}
}

// checkPartials reads all that is here of partial objects, and drops what is
// wrong.
func (v *verification) checkPartials(ctx context.Context) error {
	uses, err := v.store.partials()
	if err != nil {
		return err
	}
	for _, u := range uses {
		dropped, err := v.store.checkPartial(ctx, u)
		if err != nil {
			return err
		}
		if dropped > 0 {
			v.store.log.Warn("dropped damaged parts of an object", "cache", v.store.dir, "object", u.digest, "parts", dropped)
		}
		v.done.Dropped += dropped
	}
	return nil
}

func (s *Store) checkPartial(ctx context.Context, u partialUse) (dropped int64, err error) {
	p, err := findParts(s.path(partialDir, u.name), u.size)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer p.close()
	own, err := bao.NewPartial(u.digest, u.size)
	if err != nil {
		return 0, err
	}
	own.TrustSize()
	return p.verify(ctx, own)
}
