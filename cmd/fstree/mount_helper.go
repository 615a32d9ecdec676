package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// helperNames are the names under which mount(8) runs the program, for the file
// system types fstree and fuse.fstree.
var helperNames = []string{"mount.fstree", "mount.fuse.fstree"}

// systemCache is the cache of what root mounts through mount(8): at boot there
// is no home directory.
const systemCache = "/var/cache/fstree"

// Exit codes of mount(8).
const (
	helperUsage  = 1
	helperFailed = 32
)

func isHelper(program string) bool { return slices.Contains(helperNames, filepath.Base(program)) }

// runHelper is the program as mount(8) runs it, with the arguments
// "SOURCE DIR [-sfnv] [-o OPTION,…]". It returns the exit code.
func runHelper(args []string, stdout, stderr io.Writer) int {
	h, err := parseHelper(args)
	if err == nil && len(h.operands) != 2 {
		err = errors.New("expected SOURCE DIR [-sfnv] [-o OPTION,…]")
	}
	if err == nil {
		args, err = h.arguments()
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "error: "+oneLine(err.Error()))
		return helperUsage
	case !h.fake && run(args, stdout, stderr) != exitOK:
		return helperFailed
	}
	return exitOK
}

// helperCall is what mount(8) asks for.
type helperCall struct {
	operands []string
	options  []string
	sloppy   bool // unknown options are no errors
	fake     bool // everything but mounting
}

func parseHelper(args []string) (h helperCall, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			h.operands = append(h.operands, args...)
			return h, nil
		case len(arg) < 2 || arg[0] != '-':
			h.operands = append(h.operands, arg)
		default:
			if args, err = h.flags(arg[1:], args); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// flags reads one argument of flags, and returns what follows those.
func (h *helperCall) flags(flags string, rest []string) ([]string, error) {
	for i, flag := range flags {
		switch flag {
		case 's':
			h.sloppy = true
		case 'f':
			h.fake = true
		case 'n', 'v':
		case 'o', 't':
			value := flags[i+1:]
			if value == "" {
				if len(rest) == 0 {
					return nil, fmt.Errorf("-%c takes a value", flag)
				}
				value, rest = rest[0], rest[1:]
			}
			if flag == 'o' {
				h.options = append(h.options, strings.Split(value, ",")...)
			}
			return rest, nil
		default:
			return nil, fmt.Errorf("unknown flag -%c", flag)
		}
	}
	return rest, nil
}

// arguments says the same as options of the mount command.
func (h helperCall) arguments() ([]string, error) {
	known, err := mountFlags()
	if err != nil {
		return nil, err
	}
	args, namespace := []string{"mount"}, false
	if os.Geteuid() == 0 && os.Getenv("FSTREE_CACHE") == "" {
		args = append(args, "--cache="+systemCache)
	}
	for _, option := range h.options {
		name, _, valued := strings.Cut(option, "=")
		flag := strings.ReplaceAll(name, "_", "-")
		takesValue, ours := known[flag]
		switch {
		case ours && takesValue == valued:
			args = append(args, "--"+flag+strings.TrimPrefix(option, name))
			namespace = namespace || flag == "namespace"
		case ours:
			return nil, fmt.Errorf("option %s: %s", name, pick(takesValue, "it takes a value", "it takes no value"))
		case !h.sloppy && !isGeneric(name):
			return nil, fmt.Errorf("unknown option %q", name)
		}
	}
	args = append(args, "--source="+h.operands[0], "--")
	if !namespace {
		args = append(args, strings.TrimPrefix(h.operands[0], sourcePrefix))
	}
	return append(args, h.operands[1]), nil
}

// mountFlags returns the flags that the mount command takes, and whether they
// take a value.
func mountFlags() (map[string]bool, error) {
	parser, err := newParser(&app{})
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, node := range parser.Model.Children {
		if node.Name != "mount" {
			continue
		}
		for _, flags := range node.AllFlags(false) {
			for _, flag := range flags {
				known[flag.Name] = !flag.IsBool()
			}
		}
	}
	for _, name := range []string{"help", "version", "foreground", "source"} { // mount(8) waits for a mount
		delete(known, name)
	}
	return known, nil
}

// genericOptions are for mount(8), systemd and the kernel, or go without saying
// for a mount that is read-only and lets in neither devices nor set-uid.
var genericOptions = strings.Fields(`rw ro suid nosuid dev nodev exec async sync
	atime noatime diratime nodiratime relatime norelatime strictatime lazytime
	nolazytime auto noauto user nouser users group owner defaults nofail _netdev
	silent loud mand nomand iversion noiversion`)

func isGeneric(name string) bool {
	return name == "" || slices.Contains(genericOptions, name) || strings.HasPrefix(name, "x-") ||
		strings.HasPrefix(name, "X-") || name == "comment" || name == "uhelper"
}
