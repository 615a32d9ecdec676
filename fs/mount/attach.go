package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const device = "/dev/fuse"

var (
	// ErrNoDevice is what errors.Is finds when /dev/fuse is not there or can't
	// be opened.
	ErrNoDevice = errors.New("cannot open " + device)
	// ErrNoHelper is what errors.Is finds when an ordinary user mounts or
	// unmounts and fusermount3 is not installed.
	ErrNoHelper = errors.New("fusermount3 is not installed")
)

// attachment is what is told to whoever mounts.
type attachment struct {
	source     string // what mount and df show
	allowOther bool
	noExec     bool
	maxRead    int // bytes of one READ
}

// fsType is the type of our mounts in the mount table.
const fsType = "fuse.fstree"

// attach mounts on dir and returns the descriptor of the connection to the
// kernel: by itself as root, through fusermount3 as an ordinary user.
func attach(ctx context.Context, dir string, a attachment) (int, error) {
	if os.Geteuid() == 0 {
		return attachDirectly(dir, a)
	}
	return attachWithHelper(ctx, dir, a)
}

func attachDirectly(dir string, a attachment) (int, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), a.maxRead)
	if a.allowOther {
		data += ",allow_other"
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if a.noExec {
		flags |= unix.MS_NOEXEC
	}
	err = unix.Mount(a.source, dir, fsType, flags, data)
	if err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "mount", Path: dir, Err: err}
	}
	return fd, nil
}

var optionEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

func attachWithHelper(ctx context.Context, dir string, a attachment) (int, error) {
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		return -1, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	options := fmt.Sprintf("ro,nosuid,nodev,default_permissions,subtype=fstree,max_read=%d,fsname=%s",
		a.maxRead, optionEscaper.Replace(a.source))
	if a.allowOther {
		options += ",allow_other"
	}
	if a.noExec {
		options += ",noexec"
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	helper := exec.CommandContext(ctx, "fusermount3", "-o", options, "--", dir)
	helper.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	helper.ExtraFiles = []*os.File{theirs}
	err = run(helper)
	theirs.Close()
	if err != nil {
		return -1, err
	}
	return receive(pair[0])
}

// run runs the helper. What it says on stderr is the error.
func run(helper *exec.Cmd) error {
	var stderr bytes.Buffer
	helper.Stderr = &stderr
	err := helper.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return ErrNoHelper
	}
	if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
		return errors.New(said)
	}
	if err != nil {
		return fmt.Errorf("fusermount3: %w", err)
	}
	return nil
}

// receive takes the descriptor that a helper has sent before it ended.
func receive(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return -1, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("fusermount3 sent no descriptor: %w", errors.Join(err, syscall.EBADMSG))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("fusermount3 sent no descriptor: %w", errors.Join(err, syscall.EBADMSG))
	}
	return fds[0], nil
}

// hungUp tells whether the kernel has let go of the connection fd.
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}
