package mount

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Server is a mount.
type Server struct {
	dir     string
	device  string
	shared  *shared
	content content
	end     context.CancelFunc
	wishes  chan struct{} // one for each Prefetch under way
	served  chan struct{} // closed when the mount has ended
	err     error         // set before
}

// serve answers the kernel until the mount ends. watched is a second
// descriptor of the connection.
func (s *Server) serve(watched int) {
	s.shared.kernel.Serve()
	if !hungUp(watched) {
		s.err = fmt.Errorf("%s: the connection to the kernel broke", s.dir)
	}
	s.close()
	unix.Close(watched)
	close(s.served)
}

func (s *Server) close() {
	s.end()
	for range maxWishes { // those under way have to end, and there will be no more
		s.wishes <- struct{}{}
	}
	s.shared.running.Wait()
	s.content.close()
	s.shared.close()
}

// Dir returns the mountpoint, absolute and without links.
func (s *Server) Dir() string { return s.dir }

// Device returns the device number of the mount, as MAJOR:MINOR: its name on
// this machine, in all mount namespaces, as long as it lasts.
func (s *Server) Device() string { return s.device }

// Done is closed when the mount has ended and nothing of it is running.
func (s *Server) Done() <-chan struct{} { return s.served }

// Wait returns when the mount has ended. It is an error if nobody unmounted.
func (s *Server) Wait() error {
	<-s.served
	return s.err
}

// Mode returns who reads local files: ModePassthrough, or ModeCached if that is
// not possible or not wanted.
func (s *Server) Mode() Mode {
	if s.shared.opens.unneeded() {
		return ModeCached
	}
	return ModePassthrough
}

// Unmount ends the mount and waits for that, as long as ctx lasts. A mount in
// use is ErrBusy.
func (s *Server) Unmount(ctx context.Context) error {
	if err := Unmount(ctx, s.dir, false); err != nil {
		return err
	}
	select {
	case <-s.served:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: %w", s.dir, context.Cause(ctx))
	}
}

// Stats counts what a mount did so far.
type Stats struct {
	Entries     int   // names in the directories that were looked into
	Directories int   // directories that were looked into
	Requests    int64 // questions of the kernel, the rest came from its caches
	Reads       int64 // questions for file content
	ReadBytes   int64 // content handed to the kernel
	Trees       int64 // trees read from the source
	Objects     int64 // files opened in the source
	Errors      int64 // questions answered with an error
	Passed      int64 // openings of files that the kernel then read without us
	Waiting     int64 // questions that wait for a load
	Prefetching bool  // reading ahead is not over
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	nodes, dirs := s.content.totals()
	stats := &s.shared.stats
	return Stats{
		Entries: nodes - 1, Directories: dirs,
		Requests: stats.requests.Load(), Reads: stats.reads.Load(), ReadBytes: stats.bytes.Load(),
		Trees: stats.trees.Load(), Objects: stats.objects.Load(), Errors: stats.errors.Load(),
		Passed: stats.passed.Load(), Waiting: stats.waiting.Load(),
		Prefetching: stats.prefetching.Load() > 0,
	}
}
