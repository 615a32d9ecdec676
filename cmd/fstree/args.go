package main

import (
	"slices"
	"strings"
)

// disambiguate makes "ls-tree -r" mean --recursive, as in git, and leaves
// "-r URL" to be the remote, as everywhere else.
func disambiguate(args []string) []string {
	if !slices.Contains(args, "ls-tree") {
		return args
	}
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		isSwitches := len(arg) > 1 && strings.Trim(arg[1:], "rl") == "" && arg[0] == '-'
		takesURL := arg == "-r" && i+1 < len(out) && strings.Contains(out[i+1], "://")
		if isSwitches && !takesURL {
			out[i] = strings.ReplaceAll(arg, "r", "R")
		}
	}
	return out
}
