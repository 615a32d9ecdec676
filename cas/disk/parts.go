package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// parts are the files of an object of which parts are here. They lie in a
// directory that is named after the object and its size:
//
//	data      the bytes, each in its place
//	outboard  what proves them, each record in its place
//	state     a byte for each group: isHere once the group is in data
//
// Any number of processes write to them at once, for all write the same bytes
// to the same places, after they have verified them. The state is a hint: who
// reads a group verifies it, and takes the hint back if it was wrong. So nothing
// has to be written in any order, nor has anything to be locked for that.
//
// Locks are there for two other reasons. Who has the files open holds a shared
// lock on data, so that they are not evicted. And who writes to data holds a
// shared lock on state meanwhile, so that data stays as it is when it becomes
// the object's file.
type parts struct {
	dir                   string
	size                  int64
	data, outboard, state *os.File

	turn  chan struct{} // held by who holds the lock on state: it belongs to the file, not to him
	first atomic.Int64  // the groups before it were here, when somebody looked
}

// isHere is what a byte of the state is for a group that is here. Anything else
// is for one that is not.
const isHere = 0xa5

// The names of the files.
const (
	partData     = "data"
	partOutboard = "outboard"
	partState    = "state"
)

// errGone means that the files of parts are no longer where they were: they
// became the object, or somebody has removed them.
var errGone = errors.New("its parts are gone")

// findParts opens the files of a partial object. The error is fs.ErrNotExist if
// there are none, or are none any longer in a moment.
func findParts(dir string, size int64) (*parts, error) {
	p := &parts{dir: dir, size: size, turn: make(chan struct{}, 1)}
	err := p.open()
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *parts) open() (err error) {
	if p.data, err = os.OpenFile(p.path(partData), os.O_RDWR, 0); err != nil {
		return err
	}
	// Who removes the files holds the lock alone.
	if unix.Flock(int(p.data.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil || !isAt(p.data) {
		return fs.ErrNotExist
	}
	if p.outboard, err = os.OpenFile(p.path(partOutboard), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	p.state, err = os.OpenFile(p.path(partState), os.O_RDWR|os.O_CREATE, 0o600)
	return err
}

// makeParts opens the files of a partial object, new ones if there are none.
func makeParts(ctx context.Context, dir string, size int64) (*parts, error) {
	for {
		p, err := findParts(dir, size)
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		done, err := changeParts(dir, newParts)
		if err == nil && !done { // somebody else makes or removes them
			err = sleep(ctx, time.Millisecond)
		}
		if err != nil {
			return nil, err
		}
	}
}

// newParts makes data, if there is none. A state that was left there belongs to
// other data.
func newParts(dir string) error {
	data := filepath.Join(dir, partData)
	if _, err := os.Lstat(data); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := ignoreMissing(os.Truncate(filepath.Join(dir, partState), 0)); err != nil {
		return err
	}
	return os.WriteFile(data, nil, 0o600)
}

// changeParts runs fn, which makes or removes files in dir, and tells whether it
// did: it does not while somebody else does so, or if dir is gone.
func changeParts(dir string, fn func(dir string) error) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer f.Close()
	if !lock(f) {
		return false, nil
	}
	return true, fn(dir)
}

func (p *parts) path(name string) string { return filepath.Join(p.dir, name) }

func (p *parts) close() {
	for _, f := range []*os.File{p.data, p.outboard, p.state} {
		if f != nil {
			f.Close()
		}
	}
}

// touch notes that the parts are in use.
func (p *parts) touch(now time.Time) { os.Chtimes(p.path(partState), now, now) }

// gone tells whether the files are no longer where they were.
func (p *parts) gone() bool { return !isAt(p.data) }

// isAt tells whether f is still at its path.
func isAt(f *os.File) bool {
	there, err := os.Lstat(f.Name())
	here, statErr := f.Stat()
	return err == nil && statErr == nil && os.SameFile(there, here)
}

// removeUnused removes the parts in dir, unless somebody has them open.
func removeUnused(dir string) error {
	data, err := os.Open(filepath.Join(dir, partData))
	if err == nil {
		defer data.Close()
		if !lock(data) {
			return errInUse
		}
	}
	if err := ignoreMissing(err); err != nil {
		return err
	}
	return removeAll(dir)
}

var errInUse = errors.New("somebody uses it")

// removeAll removes the parts in dir.
func removeAll(dir string) (err error) {
	for _, name := range []string{partState, partOutboard, partData, ""} {
		err = errors.Join(err, ignoreMissing(os.Remove(filepath.Join(dir, name))))
	}
	return err
}

// write writes a group to its place and notes that it is here.
func (p *parts) write(ctx context.Context, group []byte, off int64) error {
	return p.locked(ctx, unix.LOCK_SH, func() error {
		if _, err := p.data.WriteAt(group, off); err != nil {
			return err
		}
		return p.mark(groupsIn(off, int64(len(group))), isHere)
	})
}

// locked runs fn with the lock on state, unless the files are gone.
func (p *parts) locked(ctx context.Context, how int, fn func() error) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := flock(ctx, p.state, how); err != nil {
		return err
	}
	defer unix.Flock(int(p.state.Fd()), unix.LOCK_UN)
	if p.gone() {
		return errGone
	}
	return fn()
}

// flock waits for a lock on f.
func flock(ctx context.Context, f *os.File, how int) error {
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is a sequence of groups: those from first up to end.
type run struct{ first, end int64 }

// groupsIn returns the groups that n bytes from off are in.
func groupsIn(off, n int64) run {
	if n <= 0 {
		return run{}
	}
	return run{off / bao.GroupSize, (off + n + bao.GroupSize - 1) / bao.GroupSize}
}

// bytes returns where in the object r is.
func (p *parts) bytes(r run) (off, n int64) {
	off = r.first * bao.GroupSize
	return off, min(r.end*bao.GroupSize, p.size) - off
}

// clip returns the part of n bytes from off that is inside of size bytes.
func clip(size, off, n int64) (int64, int64) {
	start := min(max(off, 0), size)
	return start, min(max(n, 0), size-start)
}

func (p *parts) all() run { return groupsIn(0, p.size) }

// mark notes whether the groups of r are here.
func (p *parts) mark(r run, is byte) error {
	marks := bytes.Repeat([]byte{is}, int(min(r.end-r.first, statePiece)))
	for at := r.first; at < r.end; at += statePiece {
		if _, err := p.state.WriteAt(marks[:min(r.end-at, statePiece)], at); err != nil {
			return err
		}
	}
	return nil
}

// drop notes that the groups of r are not here.
func (p *parts) drop(r run) {
	if err := p.mark(r, 0); err != nil {
		os.Remove(p.path(partState)) // then nothing is
	}
}

const statePiece = 4096

// runs returns the runs of groups in r of which the state says that they are
// here, or that they are not.
func (p *parts) runs(r run, here bool) iter.Seq[run] {
	return func(yield func(run) bool) {
		var buf [statePiece]byte
		found := run{r.first, r.first}
		for at := r.first; at < r.end; {
			piece := buf[:min(r.end-at, statePiece)]
			n, _ := io.ReadFull(io.NewSectionReader(p.state, at, int64(len(piece))), piece)
			clear(piece[n:])
			for _, is := range piece {
				if (is == isHere) == here {
					found.end = at + 1
				} else {
					if found.first < found.end && !yield(found) {
						return
					}
					found = run{at + 1, at + 1}
				}
				at++
			}
		}
		if found.first < found.end {
			yield(found)
		}
	}
}

// has tells whether all groups of r are said to be here.
func (p *parts) has(r run) bool {
	for range p.runs(r, false) {
		return false
	}
	return true
}

// complete tells whether all groups are said to be here. It looks first where
// it found one missing the last time.
func (p *parts) complete() bool {
	all := p.all()
	first := min(p.first.Load(), all.end)
	for _, r := range []run{{first, all.end}, {0, first}} {
		for missing := range p.runs(r, false) {
			p.first.Store(missing.first)
			return false
		}
	}
	return true
}

// reader returns a reader that verifies what it reads.
func (p *parts) reader(d cas.Digest) (*bao.ReaderAt, error) {
	return bao.NewReaderAt(d, p.size, p.data, p.outboard)
}

// partName returns the name of the directory for the parts of d.
func partName(d cas.Digest, size int64) string { return fmt.Sprintf("%s-%d", d.Hex(), size) }

// parsePartName is the reverse of partName.
func parsePartName(name string) (d cas.Digest, size int64, ok bool) {
	var hex string
	if n, err := fmt.Sscanf(name, "%64s-%d", &hex, &size); n != 2 || err != nil {
		return d, 0, false
	}
	d, err := cas.ParseDigest(cas.BLAKE3.String() + ":" + hex)
	return d, size, err == nil && partName(d, size) == name
}
