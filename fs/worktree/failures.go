package worktree

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// EntryError is what went wrong with one entry.
type EntryError struct {
	Path string // relative to the root, empty for the root itself
	Err  error
}

func (e *EntryError) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *EntryError) Unwrap() error { return e.Err }

// EntryErrors lists the entries that could not be read, in bytewise order of
// path. Its text is one line however many they are.
type EntryErrors struct {
	Errors []*EntryError // at most maxFailures
	More   int           // how many more there were
}

// maxFailures bounds how many failures are remembered.
const maxFailures = 1000

func (e *EntryErrors) Error() string {
	if len(e.Errors) == 1 && e.More == 0 {
		return e.Errors[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d entries failed: ", len(e.Errors)+e.More)
	for i, err := range e.Errors {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}

// Unwrap returns the errors of the entries.
func (e *EntryErrors) Unwrap() []error {
	errs := make([]error, len(e.Errors))
	for i, err := range e.Errors {
		errs[i] = err
	}
	return errs
}

// failures collects what goes wrong in several goroutines.
type failures struct {
	mu   sync.Mutex
	errs []*EntryError
	more int
}

func (f *failures) add(path string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == maxFailures {
		f.more++
		return
	}
	f.errs = append(f.errs, &EntryError{path, err})
}

func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 {
		return nil
	}
	slices.SortFunc(f.errs, func(a, b *EntryError) int { return strings.Compare(a.Path, b.Path) })
	return &EntryErrors{f.errs, f.more}
}
