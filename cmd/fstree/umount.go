package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/fs/mount"
	"github.com/fstree/fstree/fs/mount/control"
)

type umountCommand struct {
	Dir  string `arg:"" type:"path" help:"Mountpoint."`
	Lazy bool   `short:"l" help:"Take the directory away at once, end the mount when its last user is gone."`
}

// Run ends the mount and, unless that is lazy, sees its process end: who then
// removes the cache or copies it is alone with it.
func (c *umountCommand) Run(ctx context.Context, a *app) error {
	mounted, err := mount.On(c.Dir)
	if err != nil {
		return err
	}
	process := a.processOf(ctx, mounted)
	defer process.Close()
	err = mount.Unmount(ctx, c.Dir, c.Lazy)
	if errors.Is(err, mount.ErrBusy) {
		return hint(err, "end what uses it, or take it away with \"fstree umount --lazy\"")
	}
	if err != nil || c.Lazy {
		return err
	}
	if process.ends(ctx, promptly) {
		return nil
	}
	switch {
	case mounted.Held():
		a.warn(fmt.Sprintf("process %d goes on serving what was mounted on %s: another mount uses it, such as overlayfs", process.pid, c.Dir))
	case !process.ends(ctx, endTime):
		a.warn(fmt.Sprintf("process %d, which served %s, has not ended yet", process.pid, c.Dir))
	}
	return nil
}

const (
	promptly = time.Second      // in which a process mostly ends after its mount
	endTime  = 30 * time.Second // in which it has to, on a busy machine
)

// processOf returns the process behind a mount, or nil if nobody says that this
// cache is its own.
func (a *app) processOf(ctx context.Context, m mount.Mounted) *process {
	status, err := control.StatusOf(ctx, a.mountsDir(), m.Device)
	if err != nil {
		return nil
	}
	fd, err := unix.PidfdOpen(status.PID, 0)
	if err != nil {
		return nil
	}
	return &process{pid: status.PID, fd: fd}
}

// process is another process, which can be waited for.
type process struct{ pid, fd int }

// Close lets go of it. A nil process has ended.
func (p *process) Close() {
	if p != nil {
		unix.Close(p.fd)
	}
}

// ends tells whether the process ends within so long, or before ctx does.
func (p *process) ends(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for p != nil && ctx.Err() == nil {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 50) // ms
		if n > 0 {
			return true
		}
	}
	return p == nil
}

// unmountTime is how long the users of a mount have to leave it when a signal
// ends its process.
const unmountTime = 3 * time.Second

// unmount ends a mount whose process was told to stop. A busy one is taken out
// of the way: its users get errors, rather than a directory that hangs.
func unmount(server *mount.Server, dir string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), unmountTime)
	defer cancel()
	err := server.Unmount(ctx)
	if err != nil {
		log.Warn("the mount is in use and goes away all the same", "dir", dir, "cause", err)
		err = mount.Unmount(ctx, dir, true)
	}
	if err != nil {
		log.Error("unmount", "dir", dir, "error", err)
	}
}
