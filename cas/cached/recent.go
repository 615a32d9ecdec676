package cached

import (
	"container/list"
	"sync"

	"github.com/fstree/fstree/cas"
)

// recentBytes bounds what recent holds.
const recentBytes = 24 << 20

// recent holds what has come in batches until somebody asks for it, the latest
// of it: whoever has it fetched ahead will do so soon, and once.
type recent struct {
	mu      sync.Mutex
	objects map[cas.Digest]*list.Element // of recentObject
	order   list.List                    // the latest in front
	bytes   int
}

type recentObject struct {
	digest cas.Digest
	data   []byte
}

func (r *recent) add(d cas.Digest, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.objects[d]; twice {
		return
	}
	if r.objects == nil {
		r.objects = map[cas.Digest]*list.Element{}
	}
	r.objects[d] = r.order.PushFront(recentObject{d, data})
	r.bytes += len(data)
	for r.bytes > recentBytes {
		r.remove(r.order.Back())
	}
}

// take returns the bytes of d and lets go of them.
func (r *recent) take(d cas.Digest) (data []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.objects[d]
	if !ok {
		return nil, false
	}
	return r.remove(e).data, true
}

func (r *recent) remove(e *list.Element) recentObject {
	o := r.order.Remove(e).(recentObject)
	delete(r.objects, o.digest)
	r.bytes -= len(o.data)
	return o
}
