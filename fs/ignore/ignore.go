// Package ignore decides which paths of a directory tree one ignore file at
// its root leaves out. The rules are git's rules for .gitignore, and
// git check-ignore is the judge of every doubt.
//
// Each line of the file is one rule, and the last rule that matches a path
// decides. Names are bytes in no particular encoding, and case matters. A line
// that is not a legal pattern, such as one with an unclosed bracket, matches
// nothing and is no error.
//
// The package reads no files and knows no symbolic links: a link is a file.
package ignore

import "strings"

const byteOrderMark = "\xef\xbb\xbf"

// Matcher holds the rules of one ignore file. It never changes, so many
// goroutines may use it at once. A nil Matcher ignores nothing.
type Matcher struct {
	rules []rule
}

// Parse reads the text of an ignore file. It accepts every text, and does not
// keep it.
func Parse(text []byte) *Matcher {
	m := &Matcher{}
	body := strings.TrimPrefix(string(text), byteOrderMark)
	for line := range strings.SplitSeq(body, "\n") {
		if r, ok := parseRule(line); ok {
			m.rules = append(m.rules, r)
		}
	}
	return m
}

// Match tells whether the rules ignore path, given that they ignore none of
// the directories above it. It is for a walk that does not enter ignored
// directories; Ignored asks for no such promise.
//
// The path is relative to the root, with slashes between its names and at
// neither end. The root itself, "" or ".", is never ignored.
func (m *Matcher) Match(path string, isDir bool) bool {
	if m == nil || path == "" || path == "." {
		return false
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	for i := len(m.rules) - 1; i >= 0; i-- {
		if r := &m.rules[i]; r.match(path, name, isDir) {
			return !r.negated
		}
	}
	return false
}

// Ignored tells whether the rules ignore path or any directory above it. What
// lies in an ignored directory is ignored, whatever the rules say about it.
func (m *Matcher) Ignored(path string, isDir bool) bool {
	for i := range len(path) {
		if path[i] == '/' && m.Match(path[:i], true) {
			return true
		}
	}
	return m.Match(path, isDir)
}
