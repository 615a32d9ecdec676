package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrBusy is what errors.Is finds when something is mounted on the
	// mountpoint already, or when the mount to be ended is in use.
	ErrBusy = errors.New("busy")
	// ErrNotMounted is what errors.Is finds when there is no mount of ours on
	// a directory.
	ErrNotMounted = errors.New("not an fstree mount")
)

// mountEntry is a line of the mount table.
type mountEntry struct {
	dir    string
	fsType string
	source string
	device string // major:minor
}

// mounts returns the mount table of this process. Looking there touches no
// file system, so a hanging one can't make it hang.
func mounts() ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

func parseMounts(r io.Reader) ([]mountEntry, error) {
	var entries []mountEntry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// ID PARENT MAJOR:MINOR ROOT DIR OPTIONS [FIELDS] - TYPE SOURCE OPTIONS
		head, tail, found := strings.Cut(lines.Text(), " - ")
		before, after := strings.Fields(head), strings.Fields(tail)
		if !found || len(before) < 6 || len(after) < 2 {
			continue
		}
		entries = append(entries, mountEntry{
			dir: unescape(before[4]), device: before[2], fsType: after[0], source: unescape(after[1]),
		})
	}
	return entries, lines.Err()
}

// unescape undoes the octal escapes of the mount table, such as \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// raiseReadahead lets the kernel read ahead as much as one read may bring. Its
// own limit for FUSE is an eighth of that. Only root may; nothing depends on it.
func raiseReadahead(dir string) {
	if m, mounted, err := mountedOn(dir); err == nil && mounted {
		path := "/sys/class/bdi/" + m.device + "/read_ahead_kb"
		_ = os.WriteFile(path, []byte(strconv.Itoa(maxRead>>10)), 0)
	}
}

// mountedOn returns the topmost mount on dir, which resolve has returned.
func mountedOn(dir string) (mountEntry, bool, error) {
	entries, err := mounts()
	if err != nil {
		return mountEntry{}, false, err
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].dir == dir {
			return entries[i], true, nil
		}
	}
	return mountEntry{}, false, nil
}

// resolve returns dir as the mount table spells it. It does not look at a
// mountpoint itself, which may hang or be dead.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	if _, mounted, err := mountedOn(dir); err != nil || mounted {
		return dir, err
	}
	return filepath.EvalSymlinks(dir)
}

// vacate makes sure that dir can be mounted on, and returns how it is spelled
// without links. A mount of ours whose process has died is taken away.
func vacate(ctx context.Context, dir string) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", err
	}
	for range 100 { // mounts may lie over each other
		m, mounted, err := mountedOn(path)
		if err != nil {
			return "", err
		}
		if !mounted {
			return path, checkDirectory(path)
		}
		if m.fsType != fsType || !dead(path) {
			return "", fmt.Errorf("mountpoint %s: %w: %s is mounted on it", dir, ErrBusy, m.source)
		}
		if err := detach(ctx, path, true); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("mountpoint %s: %w", dir, ErrBusy)
}

func checkDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "mount", Path: path, Err: unix.ENOTDIR}
	}
	return nil
}

// dead tells whether the process behind a FUSE mount is gone. Asking a living
// but hanging one takes no longer than a second.
func dead(path string) bool {
	answer := make(chan error, 1)
	go func() {
		var st unix.Stat_t
		answer <- unix.Lstat(path, &st)
	}()
	select {
	case err := <-answer:
		return err == unix.ENOTCONN
	case <-time.After(time.Second):
		return false
	}
}

// Unmount ends the mount of ours on dir, whether its process lives or not. A
// mount in use is ErrBusy, and the error tells who uses it; lazy takes it out
// of the way even so and ends it when the last user has left.
func Unmount(ctx context.Context, dir string, lazy bool) error {
	path, err := resolve(dir)
	if err != nil {
		return err
	}
	m, mounted, err := mountedOn(path)
	if err != nil {
		return err
	}
	if !mounted || m.fsType != fsType {
		return fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	err = detach(ctx, path, lazy)
	if err != nil && !lazy {
		if users := usersOf(path); len(users) > 0 {
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
