package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Unmount ends the mount of ours on dir, whether its process lives or not. A
// mount in use is ErrBusy, and the error tells who uses it; lazy takes it out
// of the way even so and ends it when the last user has left.
func Unmount(ctx context.Context, dir string, lazy bool) error {
	m, err := On(dir)
	if err != nil {
		return err
	}
	err = detach(ctx, m.Dir, lazy)
	if err != nil && !lazy {
		if users := usersOf(m.Dir); len(users) > 0 {
			return fmt.Errorf("%s is %w: in use by %s", dir, ErrBusy, strings.Join(users, ", "))
		}
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is %w", dir, ErrBusy)
	}
	return err
}

func detach(ctx context.Context, path string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		if err := unix.Unmount(path, flags); err != nil {
			return &os.PathError{Op: "unmount", Path: path, Err: err}
		}
		return nil
	}
	arguments := []string{"-u", "--", path}
	if lazy {
		arguments = append([]string{"-z"}, arguments...)
	}
	return run(exec.CommandContext(ctx, "fusermount3", arguments...))
}

// maxUsers is how many users of a mount are named.
const maxUsers = 5

// usersOf names processes with something open below path, as far as this user
// may see. The links that it reads are answered without asking the mount.
func usersOf(path string) []string {
	var users []string
	links, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range links {
		if len(users) < maxUsers && uses(process, path) {
			name, _ := os.ReadFile(process + "/comm")
			users = append(users, fmt.Sprintf("%s (%s)", filepath.Base(process), strings.TrimSpace(string(name))))
		}
	}
	return users
}

func uses(process, path string) bool {
	below := func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && (target == path || strings.HasPrefix(target, path+"/"))
	}
	if below(process+"/cwd") || below(process+"/root") || below(process+"/exe") {
		return true
	}
	for _, kind := range []string{"fd", "map_files"} {
		entries, _ := os.ReadDir(filepath.Join(process, kind))
		for _, e := range entries {
			if below(filepath.Join(process, kind, e.Name())) {
				return true
			}
		}
	}
	return false
}
