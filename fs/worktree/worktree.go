// Package worktree goes between a directory and the digest of its tree: Write
// stores a directory and names it, Checkout makes a directory equal to a tree.
//
// Both remember in an index what they saw, and believe it later only where
// size, times, inode and mode still agree; so they cost what has changed. The
// index is a hint. Without it, or with one that can't be read, the answer is
// the same and only slower.
//
// Everything below the root is reached by names of one component relative to
// an open directory, and symlinks are never followed: whatever a tree or a
// directory holds, nothing outside the root is read or written.
//
// An entry named .fstree, at any depth, belongs to the workspace: it is never
// part of a tree, and never touched by a checkout.
package worktree

import (
	"runtime"

	"github.com/fstree/fstree/cas"
)

const (
	// DefaultIgnore is where the ignore file is, relative to the root.
	DefaultIgnore = ".fstreeignore"
	// DefaultIndex is where the index is, relative to the root.
	DefaultIndex = ".fstree/index"

	// private is the name that is never part of a tree.
	private = ".fstree"
)

// Store is what Write keeps a directory in.
type Store interface {
	cas.Getter
	cas.Haser
	cas.Adder
}

// Options say where things are. The zero value is the common case.
type Options struct {
	// Ignore is the path of the ignore file relative to the root, slash
	// separated; DefaultIgnore if empty.
	Ignore string
	// Index is the path of the index, absolute or relative to the root;
	// DefaultIndex if empty.
	Index string
	// Threads bounds how many directories and large files are worked on at
	// once; the number of processors if not positive.
	Threads int
	// Observer is told what happens; nil if nobody listens.
	Observer Observer
}

func (o Options) withDefaults() Options {
	if o.Ignore == "" {
		o.Ignore = DefaultIgnore
	}
	if o.Index == "" {
		o.Index = DefaultIndex
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	return o
}

func (o Options) observe(e Event) {
	if o.Observer != nil {
		o.Observer.Observe(e)
	}
}

func (o Options) warn(message string) { o.observe(Event{Kind: Warning, Message: message}) }

// Observer is told what Write and Checkout do.
type Observer interface {
	// Observe is called from several goroutines at once, and holds up the
	// work for as long as it takes.
	Observe(Event)
}

// Kind says what an Event tells.
type Kind int

const (
	// IndexLoaded: the index at Path was read.
	IndexLoaded Kind = iota
	// IndexRefreshed: the directory Path was compared with the index.
	IndexRefreshed
	// IndexSaved: the index at Path was written.
	IndexSaved
	// Scanned: the directory Path was listed, and holds Size entries.
	Scanned
	// Added: the entry Path is in the store as Digest, Size bytes long.
	Added
	// CheckedOut: the entry Path now is as the tree has it. Size is the number
	// of bytes written.
	CheckedOut
	// Removed: the entry Path was removed.
	Removed
	// Warning: something is not as it should be, as Message says, but the
	// result is right.
	Warning
)

// Event is one thing that happened. Path is relative to the root, and empty
// for the root itself; for the index and IndexRefreshed it is a path of the
// host.
type Event struct {
	Kind    Kind
	Path    string
	Digest  cas.Digest
	Size    int64
	Message string
}
