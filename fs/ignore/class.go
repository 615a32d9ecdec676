package ignore

import "strings"

// set is a set of bytes.
type set [4]uint64

// anyByte is what "?" matches. Slashes are cut out before a set is asked.
var anyByte = set{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

func (s *set) has(b byte) bool { return s[b>>6]&(1<<(b&63)) != 0 }

func (s *set) add(b byte) { s[b>>6] |= 1 << (b & 63) }

func (s *set) addRange(low, high byte) {
	for b := int(low); b <= int(high); b++ {
		s.add(byte(b))
	}
}

func (s *set) addClass(contains func(byte) bool) {
	for b := range 256 {
		if contains(byte(b)) {
			s.add(byte(b))
		}
	}
}

func (s *set) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// parseClass reads the bracket expression at the start of a pattern and
// returns its set and its size. It is not ok if the bracket never closes or
// names an unknown class.
func parseClass(pattern string) (s *set, size int, ok bool) {
	p := classParser{pattern: pattern, at: 1}
	inverted := p.byte() == '!' || p.byte() == '^'
	if inverted {
		p.at++
	}
	// The first byte is a member even if it is the closing bracket.
	for first := true; first || p.byte() != ']'; first = false {
		if !p.member() {
			return nil, 0, false
		}
	}
	if inverted {
		p.set.invert()
	}
	return &p.set, p.at + 1, true
}

type classParser struct {
	pattern string
	at      int // the next byte
	closing int // the last "]" that className found
	set     set
	low     byte // the byte that a range would start from; 0 for none
}

// byte returns the next byte, or 0 at the end. No pattern contains a 0.
func (p *classParser) byte() byte {
	if p.at < len(p.pattern) {
		return p.pattern[p.at]
	}
	return 0
}

// member reads one byte, range or named class into the set.
func (p *classParser) member() bool {
	if p.atClass() {
		return p.namedClass()
	}
	if p.atRange() {
		p.at++
		high, ok := p.literal()
		p.set.addRange(p.low, high)
		p.low = 0
		return ok
	}
	c, ok := p.literal()
	p.set.add(c)
	p.low = c
	return ok
}

func (p *classParser) atClass() bool {
	return strings.HasPrefix(p.pattern[min(p.at, len(p.pattern)):], "[:")
}

// atRange tells whether a "-" comes that stands between two bytes.
func (p *classParser) atRange() bool {
	next := p.at + 1
	return p.low != 0 && p.byte() == '-' && next < len(p.pattern) && p.pattern[next] != ']'
}

// literal reads one byte that may be escaped.
func (p *classParser) literal() (c byte, ok bool) {
	if p.byte() == '\\' {
		p.at++
	}
	c = p.byte()
	p.at++
	return c, c != 0
}

// namedClass reads what begins like "[:alpha:]". If no ":" stands before the
// next closing bracket, git takes the opening one as a byte of the set.
func (p *classParser) namedClass() bool {
	start := p.at + len("[:")
	if p.closing < start {
		// The search goes on from where the last one ended, or else a long row
		// of "[:" would be searched to its end from each of them.
		i := strings.IndexByte(p.pattern[start:], ']')
		if i < 0 {
			return false
		}
		p.closing = start + i
	}
	name, ok := strings.CutSuffix(p.pattern[start:p.closing], ":")
	if !ok {
		p.set.add('[')
		p.at++
		return true
	}
	contains, ok := classes[name]
	if !ok {
		return false
	}
	p.set.addClass(contains)
	p.low = 0
	p.at = p.closing + 1
	return true
}

// classes are the named ones, as git knows them: of ASCII alone, and with
// fewer kinds of space than C.
var classes = map[string]func(byte) bool{
	"alnum":  isAlnum,
	"alpha":  isAlpha,
	"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
	"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  isLower,
	"print":  func(b byte) bool { return b == ' ' || isGraph(b) },
	"punct":  func(b byte) bool { return isGraph(b) && !isAlnum(b) },
	"space":  func(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' },
	"upper":  isUpper,
	"xdigit": func(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' },
}

func isAlnum(b byte) bool { return isAlpha(b) || isDigit(b) }
func isAlpha(b byte) bool { return isLower(b) || isUpper(b) }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }
func isGraph(b byte) bool { return '!' <= b && b <= '~' }
func isLower(b byte) bool { return 'a' <= b && b <= 'z' }
func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }
