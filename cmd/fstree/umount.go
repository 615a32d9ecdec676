package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/fstree/fstree/fs/mount"
)

type umountCommand struct {
	Dir  string `arg:"" type:"path" help:"Mountpoint."`
	Lazy bool   `short:"l" help:"Take the directory away at once, end the mount when its last user is gone."`
}

// Run ends the mount.
func (c *umountCommand) Run(ctx context.Context) error {
	err := mount.Unmount(ctx, c.Dir, c.Lazy)
	if errors.Is(err, mount.ErrBusy) {
		return hint(err, "end what uses it, or take it away with \"fstree umount --lazy\"")
	}
	return err
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
