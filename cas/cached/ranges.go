package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

const (
	// piece is how much is fetched at a time where more is to be fetched, and
	// aheadParallel how many of these are fetched ahead at a time in all.
	piece         = 4 << 20
	aheadParallel = 16

	// wholeParallel is how many pieces are under way of an object that is
	// fetched to be whole.
	wholeParallel = 4

	// grudge is how long a failed fetch stands for the next ones. Where reading
	// ahead has failed, readers at once ask again for less, and should not wait
	// for the same failure twice.
	grudge = 100 * time.Millisecond
)

// rangeFlight is the one fetch of a range. data and err are set when done is
// closed; data stays nil if near keeps the range.
type rangeFlight struct {
	object *lazy
	slice  bao.Slice
	toKeep bool // nobody wants it unless near keeps it
	done   chan struct{}
	data   []byte
	err    error
}

func (f *rangeFlight) span() span { return span{f.slice.Off, f.slice.Off + f.slice.Len} }

// await waits for all flights, or for the first that fails.
func await(ctx context.Context, flights []*rangeFlight) error {
	for _, f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// unkeptAt returns the bytes from pos on that a flight has in memory, or where
// the next ones begin.
func unkeptAt(flights []*rangeFlight, pos int64) (data []byte, next int64) {
	next = 1<<63 - 1
	for _, f := range flights {
		b := f.span()
		if !f.isHeld() || b.end <= pos {
			continue
		}
		if b.start <= pos {
			return f.data[pos-b.start:], pos
		}
		next = min(next, b.start)
	}
	return nil, next
}

// want returns the flights that bring what is missing of b, starting those that
// are not under way: toKeep tells whether they are of no use unless near keeps
// what they bring.
func (l *lazy) want(b span, toKeep bool) (needed []*rangeFlight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.missing(b) {
		for _, f := range l.flights {
			if f.span().overlaps(spanOf(s)) {
				needed = append(needed, f)
			}
		}
		for _, gap := range l.unflown(s) {
			needed = append(needed, l.start(gap, toKeep, nil))
		}
	}
	return needed
}

// ahead starts to fetch what the reader of b will read next, as far as there is
// room for such fetches.
func (l *lazy) ahead(b span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole != nil {
		return
	}
	most := int64(mostAhead)
	if l.keeper() == nil {
		most = unkeptAhead
	}
	next, reader := l.streams.read(b, most)
	next.end = min(next.end, l.size)
	for start := next.start; start < next.end; start += piece {
		for _, s := range l.missing(span{start, min(start+piece, next.end)}) {
			for _, gap := range l.unflown(s) {
				select {
				case l.store.aheads <- struct{}{}:
					l.start(gap, false, func() { <-l.store.aheads })
				default:
					reader.ahead = gap.Off
					return
				}
			}
		}
	}
}

func spanOf(s bao.Slice) span { return span{s.Off, s.Off + s.Len} }

// missing returns the slices that are to be fetched before b can be read. The
// mutex is held.
func (l *lazy) missing(b span) []bao.Slice {
	switch {
	case l.whole != nil || b.size() <= 0:
		return nil
	case l.part != nil:
		return l.part.Missing(b.start, b.size())
	}
	g := b.grouped(l.size)
	return []bao.Slice{{Size: l.size, Off: g.start, Len: g.size(), ProveSize: true}}
}

// unflown returns what of a slice no flight brings. The mutex is held.
func (l *lazy) unflown(s bao.Slice) (gaps []bao.Slice) {
	rest := []span{spanOf(s)}
	for _, f := range l.flights {
		var left []span
		for _, b := range rest {
			left = append(left, b.without(f.span())...)
		}
		rest = left
	}
	for _, b := range rest {
		gaps = append(gaps, bao.Slice{Size: s.Size, Off: b.start, Len: b.size(), ProveSize: s.ProveSize})
	}
	return gaps
}

// keeper is where fetched ranges are kept, nil if they are not. The mutex is
// held.
func (l *lazy) keeper() bao.PartialObject {
	if l.store.unkept.isOn() {
		return nil
	}
	return l.part
}

// start starts a flight, which is a user of the object. The mutex is held.
func (l *lazy) start(s bao.Slice, toKeep bool, end func()) *rangeFlight {
	f := &rangeFlight{object: l, slice: s, toKeep: toKeep, done: make(chan struct{})}
	part := l.keeper()
	if !l.use() {
		f.err = errClosed(l.digest)
		close(f.done)
		return f
	}
	l.flights = append(l.flights, f)
	go func() {
		defer l.store.running.Done()
		defer l.leave()
		if end != nil {
			defer end()
		}
		l.finish(f, l.store.observed(func() error { return l.fly(f, part) }))
	}()
	return f
}

// use counts something that runs and uses l, unless the Store is closed.
func (l *lazy) use() bool {
	if !l.store.begin() {
		return false
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.users++
	return true
}

// fly fetches the range of f, and once more if what came was wrong. If it is
// wrong again then it may be far's proofs that are, rather than the object.
func (l *lazy) fly(f *rangeFlight, part bao.PartialObject) (err error) {
	for range 2 {
		if err = l.bring(f, part); !isLie(err) {
			return err
		}
	}
	if l.mayBeRight() {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func isLie(err error) bool { return errors.As(err, new(*bao.Error)) }

// mayBeRight tells whether the object may be right of which far sends wrong
// parts: it was not whole and wrong lately, and far still says that it is of
// this size.
func (l *lazy) mayBeRight() bool {
	if l.store.isWrong(l.digest) {
		return false
	}
	var sizes []int64
	err := l.store.watch(l.store.lifetime, l.digest, func(ctx context.Context, _ *watched) (err error) {
		sizes, err = cas.SizesOf(ctx, l.store.far, []cas.Digest{l.digest})
		return err
	})
	return err == nil && len(sizes) == 1 && (sizes[0] < 0 || sizes[0] == l.size)
}

// bring fetches the range of f: into part if that works, else into memory,
// unless it is wanted for part only.
func (l *lazy) bring(f *rangeFlight, part bao.PartialObject) error {
	if part != nil {
		err := l.store.insist(l.store.lifetime, func() (bool, error) {
			lacking := bytesOf(part.Missing(f.slice.Off, f.slice.Len))
			err := l.fill(f, part)
			return err != nil && bytesOf(part.Missing(f.slice.Off, f.slice.Len)) < lacking, err
		})
		if !errors.As(err, new(*bao.KeepError)) {
			return err
		}
		l.store.unkept.failed()
	}
	if f.toKeep {
		return fmt.Errorf("object %s: %w", l.digest, errUnkept)
	}
	l.store.stats.unkept.Add(1)
	return l.store.insist(l.store.lifetime, func() (bool, error) { return false, l.hold(f) })
}

func bytesOf(slices []bao.Slice) (n int64) {
	for _, s := range slices {
		n += s.Len
	}
	return n
}

// fill has part keep what it lacks of the range.
func (l *lazy) fill(f *rangeFlight, part bao.PartialObject) error {
	for _, s := range part.Missing(f.slice.Off, f.slice.Len) {
		err := l.receive(s, func(ctx context.Context, r io.Reader) error { return part.Add(ctx, s, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// hold reads the range into memory.
func (l *lazy) hold(f *rangeFlight) error {
	s := f.slice
	s.ProveSize = true
	data := make([]byte, 0, s.Len)
	err := l.receive(s, func(_ context.Context, r io.Reader) error {
		data = data[:0]
		d, err := bao.NewDecoder(l.digest, s, r)
		for err == nil {
			var group []byte
			_, group, err = d.Next()
			data = append(data, group...)
		}
		if err == io.EOF {
			return nil
		}
		return err
	})
	if err == nil {
		f.data = data
	}
	return err
}

// receive hands the bytes of a slice to take.
func (l *lazy) receive(s bao.Slice, take func(context.Context, io.Reader) error) error {
	return l.store.watch(l.store.lifetime, l.digest, func(ctx context.Context, w *watched) error {
		r, err := l.store.far.(bao.Slicer).Slice(ctx, l.digest, s)
		w.sleep()
		if err != nil {
			return err
		}
		defer r.Close()
		l.store.stats.parts.Add(1)
		return take(ctx, w.from(r))
	})
}

// finish ends a flight.
func (l *lazy) finish(f *rangeFlight, err error) {
	if errors.Is(err, errors.ErrUnsupported) {
		l.store.setUnprovable(l.digest)
	}
	f.err = err
	if err == nil && f.data == nil {
		l.promote()
	}
	switch {
	case errors.Is(err, errUnkept), err == nil && f.data == nil:
		l.forget(f)
	case err != nil:
		time.AfterFunc(grudge, func() { l.forget(f) })
	}
	close(f.done)
	if f.data != nil {
		l.store.unkept.add(f)
	}
}

// isComplete tells whether nothing is missing. It looks here and there first:
// what is missing of a huge object can be a long list.
func (l *lazy) isComplete(part bao.PartialObject) bool {
	const probes = 16
	for i := range int64(probes) {
		if len(part.Missing(l.size/probes*i, 1)) > 0 {
			return false
		}
	}
	return len(part.Missing(0, l.size)) == 0
}

func (l *lazy) forget(f *rangeFlight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flights = slices.DeleteFunc(l.flights, func(other *rangeFlight) bool { return other == f })
}

// promote has an object that is complete read as what it now is.
func (l *lazy) promote() {
	l.mu.Lock()
	part, whole := l.part, l.whole
	l.mu.Unlock()
	if part == nil || whole != nil || !l.isComplete(part) {
		return
	}
	o, err := l.store.near.Get(l.store.lifetime, l.digest)
	if err != nil {
		return // it is read in parts, as before
	}
	whole, ok := o.(cas.RandomObject)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || l.whole != nil {
		o.Close()
		return
	}
	l.store.stats.objects.Add(1)
	l.whole = whole
	l.opened = append(l.opened, whole)
}

// fetchAll fetches everything that is missing, some pieces at a time.
func (l *lazy) fetchAll(ctx context.Context) error {
	const window = wholeParallel * piece
	l.letGo()
	for start := int64(0); start < l.size; start += piece {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		var now []*rangeFlight
		for next := start; next < min(start+window, l.size); next += piece {
			flights := l.want(span{next, min(next+piece, l.size)}, true)
			if next == start {
				now = flights
			}
		}
		if err := await(ctx, now); err != nil {
			return err
		}
		if slices.ContainsFunc(now, (*rangeFlight).isHeld) {
			return fmt.Errorf("object %s: %w", l.digest, errUnkept)
		}
	}
	return nil
}

// letGo has ranges fetched again that near did not keep.
func (l *lazy) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flights = slices.DeleteFunc(l.flights, (*rangeFlight).isHeld)
}

// isHeld tells whether the range is here, and not near.
func (f *rangeFlight) isHeld() bool {
	select {
	case <-f.done:
		return f.data != nil
	default:
		return false
	}
}

var errUnkept = errors.New("the cache can't keep it")
