// Package transfer moves a tree, that is its whole closure, from store to
// store. Only what the receiving store lacks is moved, and a transfer that was
// cut off leaves a store that is merely further on.
//
// The package does not know which store is on this machine. Push is used where
// the receiver is far and answers questions, Pull where the receiver is near
// and the trees have to be fetched before more is known.
//
// What a receiver may hold in between follows from how it is asked later. Push
// sends files before trees, and to a store that can only be asked for single
// objects each tree after those that it names. Pull keeps trees as they come:
// near is walked, so that a tree there promises nothing.
package transfer

import (
	"time"

	"github.com/fstree/fstree/cas"
)

// Options tune a transfer.
type Options struct {
	// Parallel is the number of objects under way at once, at least 1.
	Parallel int
	// Have are trees that the receiver probably holds with all that is below
	// them, and that probably have much in common with the one to move. They
	// save questions and bytes; they need not be right.
	Have []cas.Digest
	// Patience is how long a far store that was reached may fail with
	// cas.ErrUnavailable before the transfer does. What has arrived until then
	// is not sent again. DefaultPatience if zero. A store that was never
	// reached is given up within a second of its first failure.
	Patience time.Duration
	// Observer is told what happens. It may be nil.
	Observer Observer
}

// Observer watches a transfer. Its methods are called from many goroutines at
// once.
type Observer interface {
	// Missing reports an object that the receiver lacks.
	Missing(d cas.Digest, isTree bool)
	// Moved reports an object that the receiver now holds.
	Moved(d cas.Digest, isTree bool)
}

func (o *Options) fill() {
	o.Parallel = max(o.Parallel, 1)
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
}

// perStream is one stream's share of what is under way at once.
func (o *Options) perStream() int { return max(o.Parallel/streams, 1) }

type silent struct{}

func (silent) Missing(cas.Digest, bool) {}
func (silent) Moved(cas.Digest, bool)   {}

const (
	// hasBatch bounds a question about presence.
	hasBatch = 1000
	// batchSize is the number of objects that one call fetches.
	batchSize = 1024
	// perCall is the number of objects to send that is worth a call of its own.
	perCall = 256
	// streams is how many calls fetch at once. One works while others wait for
	// the answers to their questions.
	streams = 4
	// uploads is how many calls send at once. They hardly wait, and each may
	// leave a window of bytes in the memory of a server that is slower.
	uploads = 2
)
