package cached

import "github.com/fstree/fstree/cas/bao"

// span is the bytes of an object from start up to end.
type span struct{ start, end int64 }

func (b span) size() int64 { return b.end - b.start }

func (b span) overlaps(other span) bool { return b.start < other.end && other.start < b.end }

// without returns the parts of b that are not in other.
func (b span) without(other span) (rest []span) {
	if !b.overlaps(other) {
		return []span{b}
	}
	if b.start < other.start {
		rest = append(rest, span{b.start, other.start})
	}
	if other.end < b.end {
		rest = append(rest, span{other.end, b.end})
	}
	return rest
}

// grouped returns the groups that hold b, of an object of size bytes.
func (b span) grouped(size int64) span {
	end := b.end + (bao.GroupSize-b.end%bao.GroupSize)%bao.GroupSize
	return span{b.start - b.start%bao.GroupSize, min(end, size)}
}
