package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/fs/worktree"
)

// event is one line of --json. The types and fields are those that callers of
// the older tool read; docs/format.md lists them.
type event struct {
	Type    string `json:"type"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message,omitempty"`
	Value   *int64 `json:"value,omitempty"`
}

var eventLock sync.Mutex

// emit writes e on stderr if --json was given. Names that are not UTF-8 get
// replacement characters: the line stays valid JSON.
func (a *app) emit(e event) {
	if !a.JSON {
		return
	}
	eventLock.Lock()
	defer eventLock.Unlock()
	writeEvent(a.stderr, e)
}

func writeEvent(w io.Writer, e event) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(e) // nobody is left to tell
}

// warn tells the user something that is no failure.
func (a *app) warn(message string) {
	if a.JSON {
		a.emit(event{Type: "warning", Message: message})
		return
	}
	eventLock.Lock()
	defer eventLock.Unlock()
	fmt.Fprintln(a.stderr, "warning: "+oneLine(message))
}

// worktreeEvents are what --json says of a worktree; without --json only
// warnings are heard.
type worktreeEvents struct{ *app }

var worktreeEventTypes = map[worktree.Kind]string{
	worktree.IndexLoaded:    "index::load",
	worktree.IndexRefreshed: "index::refresh",
	worktree.IndexSaved:     "index::save",
	worktree.Added:          "cache::add",
	worktree.CheckedOut:     "index::checkout",
}

func (w worktreeEvents) Observe(e worktree.Event) {
	if e.Kind == worktree.Warning {
		w.warn(e.Message)
		return
	}
	if kind, told := worktreeEventTypes[e.Kind]; told {
		w.emit(event{Type: kind, Path: e.Path})
	}
}

// pushEvents and pullEvents are what --json says of a transfer.
type pushEvents struct{ *app }

func (p pushEvents) Missing(d cas.Digest, isTree bool) {
	p.emit(event{Type: pick(isTree, "cache::remote_missing_tree", "cache::remote_missing_object"), Path: d.String()})
}

func (p pushEvents) Moved(d cas.Digest, isTree bool) {
	p.emit(event{Type: pick(isTree, "cache::push_tree", "cache::push_object"), Path: d.String()})
}

type pullEvents struct{ *app }

func (p pullEvents) Missing(cas.Digest, bool) {}

func (p pullEvents) Moved(d cas.Digest, isTree bool) {
	p.emit(event{Type: pick(isTree, "cache::pull_tree", "cache::pull_object"), Path: d.String()})
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
