package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mounted is a mount of ours as the mount table of this process shows it.
type Mounted struct {
	Dir    string // absolute, without links
	Device string // as Server.Device returns it
	Source string // see Options.FsName
	UID    string // user id of its owner in decimal
}

// List returns all mounts of ours, of whatever user. It asks none of them, so a
// hanging one can't make it hang.
func List() ([]Mounted, error) {
	entries, err := mounts()
	var found []Mounted
	for _, e := range entries {
		if e.fsType == fsType {
			found = append(found, e.mounted())
		}
	}
	return found, err
}

// On returns the mount on dir, whether its process lives or not. It is
// ErrNotMounted if that is none of ours.
func On(dir string) (Mounted, error) {
	path, err := resolve(dir)
	if err != nil {
		return Mounted{}, err
	}
	e, found, err := mountedOn(path)
	if err == nil && (!found || e.fsType != fsType) {
		err = fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	return e.mounted(), err
}

// Find returns the mount that path is in, and where in it: a path from its
// root, with slashes. path must exist. It is ErrNotMounted if that is no mount
// of ours.
func Find(path string) (m Mounted, inside string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return m, "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return m, "", err
	}
	entries, err := mounts()
	if err != nil {
		return m, "", err
	}
	var last mountEntry
	for _, e := range entries { // the last one on the longest path is what is seen
		if len(e.dir) >= len(last.dir) && contains(e.dir, path) {
			last = e
		}
	}
	if last.fsType != fsType {
		return m, "", fmt.Errorf("%s: %w", path, ErrNotMounted)
	}
	return last.mounted(), strings.Trim(last.root+strings.TrimPrefix(path, last.dir), "/"), nil
}

// contains tells whether path is dir or below it. Both are clean.
func contains(dir, path string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// Dead tells whether the process behind the mount is gone. It takes no longer
// than a second.
func (m Mounted) Dead() bool { return dead(m.Dir) }

// Held tells whether the mount goes on although it was unmounted: overlayfs
// stands on it, or another mount namespace has it too. It is false as well if
// that can't be told.
func (m Mounted) Held() bool {
	_, err := os.Lstat(deviceInfo(m.Device))
	return err == nil && m.Device != ""
}
