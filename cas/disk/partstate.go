package disk

import (
	"bytes"
	"io"
	"iter"
	"os"

	"github.com/fstree/fstree/cas/bao"
)

// isHere is what a byte of the state is for a group that is here. Anything else
// is for one that is not.
const isHere = 0xa5

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
