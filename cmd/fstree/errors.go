package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
)

// hinted is an error together with the way out of it.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// hint adds advice to err, unless err is nil or brings advice along.
func hint(err error, format string, args ...any) error {
	var h *hinted
	if err == nil || errors.As(err, &h) {
		return err
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// fail tells the user of err in one line, and returns code.
func (a *app) fail(err error, code int) int {
	message := a.explain(err)
	if a.JSON {
		a.emit(event{Type: "error", Message: message})
	} else {
		fmt.Fprintln(a.stderr, "error: "+message)
	}
	return code
}

// explain puts err and the way out of it into one line.
func (a *app) explain(err error) string {
	if err == nil {
		return ""
	}
	message := oneLine(err.Error())
	if advice := a.advice(err); advice != "" {
		message += "; " + advice
	}
	return message
}

// advice says what to do about err.
func (a *app) advice(err error) string {
	var h *hinted
	var usage *kong.ParseError
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &usage):
		return `see "fstree --help"`
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, disk.ErrUnavailable):
		return "" // the error names the process that is in the way
	case errors.Is(err, errOffline):
		return "leave --offline out to fetch it"
	case errors.Is(err, cas.ErrUnavailable):
		return "check --remote (FSTREE_REMOTE) and that the server runs"
	case errors.Is(err, cas.ErrNotFound): // of the cache's own objects, see incomplete
		return "the remote does not have it: push the tree there first, or name another one with --remote (FSTREE_REMOTE)"
	case errors.Is(err, cas.ErrReadOnly):
		return "push to a remote that takes uploads"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space and run the command again"
	}
	return ""
}

// oneLine keeps a message on its line, whatever names are in it.
func oneLine(message string) string {
	return strings.NewReplacer("\n", "; ", "\r", `\r`).Replace(strings.TrimSpace(message))
}
