package mount

import (
	"cmp"
	"slices"
	"time"
)

// A tree is forgotten in two steps. The kernel is told that its name may lead
// elsewhere; what the kernel then lets go of, and nobody holds otherwise, goes.
// So nobody loses a directory that he stands in, or a file that he has open.

// weight returns about how many bytes of memory the tree takes.
func (v *view) weight() int64 { return viewWeight + v.table.weight() }

// count notes what a new tree takes, and discount that it is gone.
func (ns *namespace) count(v *view) {
	ns.weight.Add(viewWeight)
	v.table.reportTo(&ns.weight)
}

func (ns *namespace) discount(v *view) {
	v.table.reportTo(nil)
	ns.weight.Add(-viewWeight)
}

// tidy has idle trees forgotten if there is not enough room. It does so on its
// own: the kernel does not answer as long as it waits for us. Trees that were
// dismissed before, and are still held, are left alone: they make no room.
// Nothing becomes idle so fast that it is worth while to look all the time.
func (ns *namespace) tidy() {
	excess := ns.weight.Load() - ns.bounds.Enough
	if excess <= 0 || !ns.tidying.CompareAndSwap(false, true) {
		return
	}
	ns.running.Go(func() {
		defer time.AfterFunc(ns.bounds.Idle/100, func() { ns.tidying.Store(false) })
		views := ns.views()
		slices.SortFunc(views, func(a, b *view) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
		for _, v := range views {
			if excess <= 0 || time.Since(time.Unix(0, v.used.Load())) < ns.bounds.Idle || ns.lifetime.Err() != nil {
				return
			}
			if v.dismissed.Load() {
				continue
			}
			excess -= v.weight()
			ns.dismiss(v)
		}
	})
}

func (ns *namespace) dismiss(v *view) {
	v.dismissed.Store(true)
	ns.forget(v, 0)
	full := v.root.String()
	ns.kernel.EntryNotify(topNumber, full)
	ns.kernel.EntryNotify(topNumber, shortName(full))
}

// forget notes that the kernel, or whoever held v, has let go of it so many
// times.
func (ns *namespace) forget(v *view, times int64) {
	if v.references.Add(-times) > 0 || !v.dismissed.Load() {
		return
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if v.references.Load() > 0 || !v.dismissed.Load() || ns.byPlace[v.place] != v {
		return
	}
	delete(ns.byPlace, v.place)
	delete(ns.byDigest, v.root)
	ns.discount(v)
	ns.running.Go(v.close)
	ns.listingChanged()
}

// listingChanged makes the kernel ask anew what there is.
func (ns *namespace) listingChanged() {
	ns.running.Go(func() { ns.kernel.InodeNotify(topNumber, 0, 0) })
}
