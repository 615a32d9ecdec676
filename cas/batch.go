package cas

import (
	"bytes"
	"context"
	"io"
	"iter"
	"sync"

	"github.com/fstree/fstree/internal/crew"
)

// VisitObject is told of one object asked for: either o, which is closed when
// VisitObject returns, or the error with which it could not be had. An error
// that it returns ends the batch and is returned from it.
type VisitObject = func(d Digest, o Object, err error) error

// BatchGetter opens many objects at a smaller price than one by one. It is
// optional: ask a store through GetMany.
type BatchGetter interface {
	// GetMany calls visit for every one of ds, in any order, from one
	// goroutine at a time. An object that is absent or damaged is told to
	// visit and does not end the batch; what prevents all further answers is
	// returned.
	GetMany(ctx context.Context, ds []Digest, visit VisitObject) error
}

// VisitUnverified is VisitObject for bytes that may be wrong.
type VisitUnverified = func(d Digest, r io.Reader, err error) error

// UnverifiedGetter opens objects for whoever verifies them, as every Putter
// does: hashing them twice would be in vain. It is optional: ask a store
// through GetUnverified.
type UnverifiedGetter interface {
	// GetUnverified is GetMany without verification. Nobody must get to see the
	// bytes of r who does not verify them. They end soon behind the length that
	// the object is said to have. If all of them are in memory already, r is a
	// *bytes.Reader, and may be kept.
	GetUnverified(ctx context.Context, ds []Digest, visit VisitUnverified) error
}

// GetUnverified is UnverifiedGetter.GetUnverified for any g, with verification
// if g knows no other way.
func GetUnverified(ctx context.Context, g Getter, ds []Digest, parallel int, visit VisitUnverified) error {
	if u, ok := g.(UnverifiedGetter); ok {
		return u.GetUnverified(ctx, ds, visit)
	}
	return GetMany(ctx, g, ds, parallel, func(d Digest, o Object, err error) error { return visit(d, o, err) })
}

// Objects are objects to store. The iterator opens and closes them; each is
// read before the next is asked for.
type Objects = iter.Seq2[Digest, Object]

// ReportObject is told that an object was stored (nil), or why it was not. An
// error that it returns ends the batch and is returned from it.
type ReportObject = func(d Digest, err error) error

// BatchPutter stores many objects at a smaller price than one by one. It is
// optional: ask a store through PutMany.
type BatchPutter interface {
	// PutMany stores objects as Put does, side by side and so in any order,
	// and calls report for each from one goroutine at a time, which need not
	// be the one that iterates. What is reported is stored: whoever needs an
	// object to be there before another waits for the report. An object that
	// can't be read or is not what its digest says is told to report and does
	// not end the batch; what prevents all further answers is returned, and
	// then some objects were not reported.
	PutMany(ctx context.Context, objects Objects, report ReportObject) error
}

// BatchAdder stores and names many objects at a smaller price than one by one.
// It is optional: ask a store through AddMany.
type BatchAdder interface {
	// AddMany calls fn with an Adder that names objects before they are stored,
	// and that is good until fn returns. It is safe for concurrent use. All that
	// was added is stored if AddMany returns nil, in any order: until then a tree
	// may be there before what it names. An object whose reader fails is not
	// added, and does no harm to the others. What fn returns is returned.
	AddMany(ctx context.Context, fn func(Adder) error) error
}

// AddMany is BatchAdder.AddMany for any a. One that is no BatchAdder stores each
// object before it names it.
func AddMany(ctx context.Context, a Adder, fn func(Adder) error) error {
	if b, ok := a.(BatchAdder); ok {
		return b.AddMany(ctx, fn)
	}
	return fn(a)
}

// GetMany is BatchGetter.GetMany for any g. One that is no BatchGetter is asked
// for parallel objects at a time, which are visited in the order of ds.
func GetMany(ctx context.Context, g Getter, ds []Digest, parallel int, visit VisitObject) error {
	if b, ok := g.(BatchGetter); ok {
		return b.GetMany(ctx, ds, visit)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := pipeline{slots: make([]chan opened, min(parallel, len(ds)))}
	for i := range p.slots {
		p.slots[i] = make(chan opened, 1)
	}
	defer p.drain()
	defer cancel()
	for i, d := range ds {
		for p.started < min(len(ds), i+len(p.slots)) {
			p.start(ctx, g, ds[p.started])
		}
		o := p.next()
		err := visit(d, o.object, o.err)
		o.close()
		if err != nil {
			return err
		}
	}
	return nil
}

type opened struct {
	object Object
	err    error
}

func (o opened) close() {
	if o.object != nil {
		o.object.Close()
	}
}

// pipeline opens objects ahead of their use.
type pipeline struct {
	slots   []chan opened
	started int
	taken   int
}

func (p *pipeline) start(ctx context.Context, g Getter, d Digest) {
	slot := p.slots[p.started%len(p.slots)]
	p.started++
	go func() {
		o, err := g.Get(ctx, d)
		if err != nil {
			o = nil
		}
		slot <- opened{o, err}
	}()
}

func (p *pipeline) next() opened {
	o := <-p.slots[p.taken%len(p.slots)]
	p.taken++
	return o
}

func (p *pipeline) drain() {
	for p.taken < p.started {
		p.next().close()
	}
}

// smallObject is the size up to which PutMany holds objects in memory, to store
// them side by side.
const smallObject = 256 << 10

// PutMany is BatchPutter.PutMany for any p. One that is no BatchPutter is given
// up to parallel small objects at a time, and large ones one by one.
func PutMany(ctx context.Context, p Putter, objects Objects, parallel int, report ReportObject) error {
	if b, ok := p.(BatchPutter); ok {
		return b.PutMany(ctx, objects, report)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers, _ := crew.New(ctx, parallel)
	b := batch{putter: p, report: report, cancel: cancel, workers: workers}
	for d, o := range objects {
		if ctx.Err() != nil {
			break
		}
		b.put(ctx, d, o)
	}
	b.workers.Wait()
	return context.Cause(ctx)
}

type batch struct {
	putter  Putter
	cancel  context.CancelCauseFunc
	workers *crew.Crew

	mu     sync.Mutex
	report ReportObject
}

func (b *batch) put(ctx context.Context, d Digest, o Object) {
	if o.Size() < 0 || o.Size() > smallObject {
		b.done(d, b.putter.Put(ctx, d, o))
		return
	}
	data, err := readWhole(o)
	if err != nil {
		b.done(d, err)
		return
	}
	b.workers.Do(func() error {
		b.done(d, b.putter.Put(ctx, d, bytes.NewReader(data)))
		return nil
	})
}

func readWhole(o Object) ([]byte, error) {
	if b, ok := o.(interface{ Bytes() []byte }); ok {
		return b.Bytes(), nil
	}
	return io.ReadAll(o)
}

func (b *batch) done(d Digest, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.report(d, err); err != nil {
		b.cancel(err)
	}
}
