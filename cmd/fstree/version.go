package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker for a release.
var version = ""

// versionText says which program this is.
func versionText() string {
	v, revision := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = " " + setting.Value[:min(12, len(setting.Value))]
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return fmt.Sprintf("fstree %s%s %s/%s", v, revision, runtime.GOOS, runtime.GOARCH)
}

type versionCommand struct{}

// Run prints the version.
func (*versionCommand) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, versionText())
	return err
}
