package worktree

import "sync"

// Slices of items are used again: a directory needs its own only until it is
// finished.
var spareItems = sync.Pool{New: func() any { return new([]item) }}

func takeItems() []item { return (*spareItems.Get().(*[]item))[:0] }

// maxSpareItems keeps one huge directory from being held for ever.
const maxSpareItems = 1 << 12

func giveItems(items []item) {
	if cap(items) == 0 || cap(items) > maxSpareItems {
		return
	}
	clear(items)
	items = items[:0]
	spareItems.Put(&items)
}
