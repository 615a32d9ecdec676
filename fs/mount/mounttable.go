package mount

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// mountEntry is a line of the mount table.
type mountEntry struct {
	dir     string
	root    string // of what is shown, within its file system
	fsType  string
	source  string
	device  string // major:minor
	options string // of the file system
}

// option returns the value of an option of the file system.
func (e mountEntry) option(name string) string {
	for option := range strings.SplitSeq(e.options, ",") {
		if value, ok := strings.CutPrefix(option, name+"="); ok {
			return value
		}
	}
	return ""
}

func (e mountEntry) mounted() Mounted {
	return Mounted{Dir: e.dir, Device: e.device, Source: e.source, UID: e.option("user_id")}
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
			dir: unescape(before[4]), root: unescape(before[3]), device: before[2],
			fsType: after[0], source: unescape(after[1]), options: strings.Join(after[2:], " "),
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

// deviceOf returns the device number of the mount on dir.
func deviceOf(dir string) string {
	m, _, _ := mountedOn(dir)
	return m.device
}

// deviceInfo is where the kernel tells of the device of a mount, as long as it
// lasts.
func deviceInfo(device string) string { return "/sys/class/bdi/" + device }

// raiseReadahead lets the kernel read ahead two reads at a time, so that one is
// answered while the reader takes the other. Its own limit for FUSE is a
// sixteenth of that. Only root may; nothing depends on it.
func raiseReadahead(device string) {
	path := deviceInfo(device) + "/read_ahead_kb"
	_ = os.WriteFile(path, []byte(strconv.Itoa(2*maxRead>>10)), 0)
}
