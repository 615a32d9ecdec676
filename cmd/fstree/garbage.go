package main

import (
	"runtime"
	"runtime/debug"
)

// limitGarbage says when garbage is collected. A short command ends before it
// has made enough to be worth it: nothing is done below 16 MB. From then on,
// memory is dearer than the little time that collecting twice as often as usual
// costs, for many commands and mounts share a machine. But a heap of few MB
// would be collected every few milliseconds. What is never touched takes no
// memory and is counted, so that 8 MB of garbage are allowed for as long as the
// caller keeps what is returned.
func limitGarbage() (untouched *[]byte) {
	debug.SetGCPercent(400)
	untouched = new([]byte)
	runtime.AddCleanup(new(*byte), func(untouched *[]byte) { // after the first collection
		debug.SetGCPercent(50)
		*untouched = make([]byte, 16<<20)
	}, untouched)
	return untouched
}
