package ignore

import "strings"

// rule is one line of an ignore file. A path that it matches has the prefix,
// the suffix, and after the prefix what the glob describes. Most paths fail at
// the prefix or the suffix, and most rules are little more than one of them.
type rule struct {
	negated  bool // the rule takes back what earlier rules ignored
	dirOnly  bool // the rule is about directories
	nameOnly bool // the rule is about the last name of a path, at any depth

	prefix string
	suffix string
	glob   glob // nil when the prefix is all there is
}

// parseRule reads one line without its newline. It is not ok if the line is
// blank, a comment, or a pattern that can match nothing.
func parseRule(line string) (r rule, ok bool) {
	pattern := trimLine(line)
	if strings.HasPrefix(pattern, "#") {
		return rule{}, false
	}
	pattern, r.negated = strings.CutPrefix(pattern, "!")
	pattern, r.dirOnly = strings.CutSuffix(pattern, "/")
	r.nameOnly = !strings.Contains(pattern, "/")
	pattern = strings.TrimPrefix(pattern, "/")
	if pattern == "" {
		return rule{}, false
	}

	// Git compares the bytes before the first special one by themselves, and
	// takes what follows them for a pattern in its own right. Before its
	// version 2.52 that shows: in "/a**/b" the stars stand at the start of
	// that pattern, so they cross slashes and "ab" matches.
	literal := literalLen(pattern)
	r.prefix = pattern[:literal]
	r.glob, ok = compile(pattern[literal:])
	r.suffix = r.glob.suffix()
	return r, ok
}

// trimLine drops what is no part of the pattern: one carriage return, spaces
// that are not escaped, and everything from the first zero byte, where git's
// strings end.
func trimLine(line string) string {
	line = strings.TrimSuffix(line, "\r")
	line, _, _ = strings.Cut(line, "\x00")

	end := len(strings.TrimRight(line, " "))
	escapes := end - len(strings.TrimRight(line[:end], `\`))
	if end < len(line) && escapes%2 == 1 {
		end++
	}
	return line[:end]
}

// literalLen returns the number of bytes before the first special one.
func literalLen(pattern string) int {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return i
	}
	return len(pattern)
}

func (r *rule) match(path, name string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if r.nameOnly {
		path = name
	}
	if !strings.HasSuffix(path, r.suffix) || !strings.HasPrefix(path, r.prefix) {
		return false
	}
	rest := path[len(r.prefix):]
	if r.glob == nil {
		return rest == ""
	}
	return r.glob.match(rest)
}
