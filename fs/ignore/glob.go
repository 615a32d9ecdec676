package ignore

import "strings"

// glob is a pattern cut at its slashes. No wildcard but a double star crosses
// a slash, so a path matches name by name.
type glob []segment

type segment struct {
	kind kind
	name name // if kind is oneName
}

type kind uint8

const (
	oneName  kind = iota // one name, as the segment's name describes it
	anyNames             // "**/": any number of names, also none
	allNames             // "**" at the end: every name that is left
)

// compile reads a pattern. It is not ok if the pattern can match nothing.
func compile(pattern string) (g glob, ok bool) {
	if pattern == "" {
		return nil, true
	}
	for more := true; more; {
		if stars, rest, ok := cutStars(pattern); ok {
			g = append(g, stars...)
			if stars[0].kind == allNames {
				return g, true
			}
			pattern = rest
			continue
		}
		var s segment
		if s.name, pattern, more, ok = compileName(pattern); !ok {
			return nil, false
		}
		g = append(g, s)
	}
	return g, true
}

// cutStars cuts a double star, if it stands for whole names, from the start of
// a pattern. More than two stars are as good as two.
func cutStars(pattern string) (stars glob, rest string, ok bool) {
	rest = strings.TrimLeft(pattern, "*")
	if len(pattern)-len(rest) < 2 {
		return nil, pattern, false
	}
	if rest == "" {
		return glob{{kind: allNames}}, "", true
	}
	if rest, ok = strings.CutPrefix(rest, "/"); ok {
		return glob{{kind: anyNames}}, rest, true
	}
	if rest, ok = strings.CutPrefix(rest, `\/`); ok {
		// To git an escaped slash is one that must be there, so at least one
		// name stands before it.
		return glob{{name: anyName}, {kind: anyNames}}, rest, true
	}
	return nil, pattern, false
}

// suffix returns bytes that every match of g ends in.
func (g glob) suffix() string {
	if len(g) == 0 || g[len(g)-1].kind != oneName {
		return ""
	}
	name := g[len(g)-1].name
	if last := name[len(name)-1]; last.sets == nil {
		return last.text
	}
	return ""
}

// match tells whether the whole path matches g.
//
// When a name fails, only the last "**/" needs to take one name more: what an
// earlier one might take, the last one can take as well. So no name of the
// path meets a segment twice after the same "**/", and the time is at most the
// product of the two lengths.
func (g glob) match(path string) bool {
	i, rest, more := 0, path, true
	retry, from := -1, "" // the segment after the last "**/", and where it was tried
	for {
		switch {
		case i == len(g):
			if !more {
				return true
			}
		case g[i].kind == anyNames:
			i++
			retry, from = i, rest
			continue
		case !more:
		case g[i].kind == allNames:
			return true
		default:
			var name string
			name, rest, more = strings.Cut(rest, "/")
			if g[i].name.match(name) {
				i++
				continue
			}
		}
		if retry < 0 {
			return false
		}
		if _, from, more = strings.Cut(from, "/"); !more {
			return false
		}
		i, rest = retry, from
	}
}
