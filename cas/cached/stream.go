package cached

const (
	// firstAhead and mostAhead bound how far is read ahead of a sequential
	// reader, in bytes. What is fetched grows from one to the other.
	firstAhead = 128 << 10
	mostAhead  = 16 << 20

	// jitter is how far a read may be from where its reader was expected,
	// beyond what it reads: reads of one reader overtake each other.
	jitter = 128 << 10

	// streamsKept bounds the readers of one object that are told apart.
	streamsKept = 8
)

// streams tells apart the sequential readers of one object, so that each finds
// what it reads next on its way or here. Whoever reads here and there is told
// nothing, and costs no more than what he reads.
type streams struct {
	kept []*stream // the last seen in front
}

// stream is a reader who reads on where he left off.
type stream struct {
	pos    int64 // end of what was read
	ahead  int64 // end of what was told to be fetched
	window int64 // bytes to keep fetched behind pos
}

// read notes a read of b by r, and returns what is to be fetched ahead now,
// maybe nothing: what is not has to be said to r. most bounds the window.
func (s *streams) read(b span, most int64) (next span, r *stream) {
	for i, r := range s.kept {
		if r.continues(b) {
			copy(s.kept[1:i+1], s.kept[:i])
			s.kept[0] = r
			return r.advance(b, most), r
		}
	}
	r = &stream{pos: b.end, ahead: b.end, window: firstAhead}
	s.kept = append([]*stream{r}, s.kept[:min(len(s.kept), streamsKept-1)]...)
	return span{}, r
}

func (r *stream) continues(b span) bool {
	slack := 2*b.size() + jitter
	return r.pos-slack <= b.start && b.start <= r.pos+slack
}

func (r *stream) advance(b span, most int64) span {
	if b.end <= r.pos {
		return span{}
	}
	r.pos = b.end
	r.ahead = max(r.ahead, r.pos)
	r.window = min(r.window, most)
	goal := r.pos + r.window
	if goal-r.ahead < r.window/4 {
		return span{}
	}
	next := span{r.ahead, goal}
	r.ahead = goal
	r.window = min(4*r.window, most)
	return next
}
