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

// weight returns what all trees take. It wants the lock to be held.
func (ns *namespace) weight() (sum int64) {
	for _, v := range ns.byPlace {
		sum += v.weight()
	}
	return sum
}

// tidy has idle trees forgotten if there is not enough room. It does so on its
// own: the kernel does not answer as long as it waits for us.
func (ns *namespace) tidy() {
	ns.mu.RLock()
	excess := ns.weight() - ns.bounds.Enough
	ns.mu.RUnlock()
	if excess <= 0 || !ns.tidying.CompareAndSwap(false, true) {
		return
	}
	ns.running.Go(func() {
		defer ns.tidying.Store(false)
		views := ns.views()
		slices.SortFunc(views, func(a, b *view) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
		for _, v := range views {
			if excess <= 0 || time.Since(time.Unix(0, v.used.Load())) < ns.bounds.Idle || ns.lifetime.Err() != nil {
				return
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
	ns.running.Go(v.close)
	ns.listingChanged()
}

// listingChanged makes the kernel ask anew what there is.
func (ns *namespace) listingChanged() {
	ns.running.Go(func() { ns.kernel.InodeNotify(topNumber, 0, 0) })
}
