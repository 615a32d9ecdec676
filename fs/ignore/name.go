package ignore

import "strings"

// name describes one name of a path: chunks with a star between each two.
type name []chunk

// anyName is the star alone.
var anyName = name{{}, {}}

// compileName reads a pattern up to its first slash, and tells whether there
// was one. It is not ok if the pattern can match nothing.
func compileName(pattern string) (n name, rest string, more, ok bool) {
	var b chunkBuilder
	for pattern != "" {
		switch pattern[0] {
		case '/':
			return append(n, b.chunk()), pattern[1:], true, true
		case '*':
			n = append(n, b.chunk())
			pattern = strings.TrimLeft(pattern, "*")
			continue
		case '?':
			b.addSet(&anyByte)
		case '[':
			set, size, ok := parseClass(pattern)
			if !ok {
				return nil, "", false, false
			}
			b.addSet(set)
			pattern = pattern[size:]
			continue
		case '\\':
			pattern = pattern[1:]
			if pattern == "" {
				return nil, "", false, false
			}
			if pattern[0] == '/' {
				continue
			}
			b.addByte(pattern[0])
		default:
			b.addByte(pattern[0])
		}
		pattern = pattern[1:]
	}
	return append(n, b.chunk()), "", false, true
}

// match tells whether the whole of s matches n. The first chunk has its place
// at the start and the last at the end. Each one between goes to the first
// place that fits, which leaves the most for those after it, so that no choice
// is ever taken back.
func (n name) match(s string) bool {
	if !n[0].begins(s) {
		return false
	}
	s = s[len(n[0].text):]
	if len(n) == 1 {
		return s == ""
	}
	last := len(n) - 1
	for i := 1; i < last; i++ {
		at := n[i].index(s)
		if at < 0 {
			return false
		}
		s = s[at+len(n[i].text):]
	}
	return n[last].ends(s)
}

// chunk is a part of a name in which every byte of the pattern stands for one
// byte of the name.
type chunk struct {
	text string
	sets []*set // where not nil, it stands in place of the byte of text
}

func (c *chunk) begins(s string) bool {
	if c.sets == nil {
		return strings.HasPrefix(s, c.text)
	}
	if len(s) < len(c.sets) {
		return false
	}
	for i, set := range c.sets {
		if set == nil && s[i] != c.text[i] || set != nil && !set.has(s[i]) {
			return false
		}
	}
	return true
}

func (c *chunk) ends(s string) bool {
	return len(s) >= len(c.text) && c.begins(s[len(s)-len(c.text):])
}

func (c *chunk) index(s string) int {
	if c.sets == nil {
		return strings.Index(s, c.text)
	}
	for i := range len(s) - len(c.sets) + 1 {
		if c.begins(s[i:]) {
			return i
		}
	}
	return -1
}

type chunkBuilder struct {
	text []byte
	sets []*set
	wild bool // any set is not nil
}

func (b *chunkBuilder) addByte(c byte) {
	b.text = append(b.text, c)
	b.sets = append(b.sets, nil)
}

func (b *chunkBuilder) addSet(s *set) {
	b.text = append(b.text, 0)
	b.sets = append(b.sets, s)
	b.wild = true
}

// chunk returns what was added since the last call.
func (b *chunkBuilder) chunk() chunk {
	c := chunk{text: string(b.text)}
	if b.wild {
		c.sets = b.sets
	}
	*b = chunkBuilder{}
	return c
}
