package mount

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/cas/memory"
)

// A process must not look into its own mount, so every mount of the tests is
// served by a child: the test binary again, told by this variable what to be.
const roleVariable = "FSTREE_MOUNT_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "serve":
		err = serveChild()
	case "compare":
		err = compareTrees(os.Getenv("ORIGINAL"), os.Getenv("MOUNTPOINT"))
	case "unprivileged":
		err = unprivilegedChild()
	case "pattern":
		err = readPattern(os.Getenv("FILE"), os.Getenv("SEED"))
	case "read":
		err = readChild(os.Getenv("FILE"))
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childOptions tells a serving child what to do, in an environment variable.
type childOptions struct {
	Mountpoint string
	Source     string  // directory whose tree is mounted
	Synthetic  [2]int  // instead: so many made-up directories, and files in each
	Doubled    int     // instead: so many trees that name the next one twice
	Cached     bool    // put cas/cached over a memory store in between
	Near       string  // with Cached: keep files in this directory instead
	Disk       string  // with Cached: keep everything in a cache in this directory
	Pattern    int64   // instead: one made-up file of so many bytes
	Namespace  *bounds // show all trees, within these bounds
	Timeout    time.Duration
	Faults     string // the first fault command
	Options    Options
}

// report is what a child tells about itself.
type report struct {
	Stats      Stats
	Gets       map[string]int // how often each object was asked from far
	SizesAsked int            // how often sizes were asked from far
	Slices     int            // how often ranges were asked from far
	Fetched    int64          // bytes, with Cached
	HeapBytes  uint64
}

// serveChild mounts, says so, and obeys commands until its input ends.
func serveChild() error {
	var o childOptions
	if err := json.Unmarshal([]byte(os.Getenv("OPTIONS")), &o); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE)
	far := newFaulty()
	root, source, err := o.source(far)
	if err != nil {
		return err
	}
	if err := far.command(o.Faults); err != nil {
		return err
	}
	if o.Cached {
		near, closeNear, err := o.near()
		if err != nil {
			return err
		}
		defer closeNear()
		behind := cached.Far(far)
		if p, ok := source.(*patternStore); ok {
			behind = p
		}
		store := cached.New(near, behind)
		store.Silence = 2 * o.Timeout // so that it is always the mount which gives up first
		defer store.Close()
		source = store
		far.cached = store
	}
	opt := o.Options
	opt.Timeout = o.Timeout
	opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := o.mount(ctx, root, source, opt)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go obey(far, server)
	return server.Wait()
}

func (o childOptions) mount(ctx context.Context, root cas.Digest, source cas.Getter, opt Options) (*Server, error) {
	if o.Namespace != nil {
		return mountAll(ctx, o.Mountpoint, source, opt, *o.Namespace)
	}
	return Mount(ctx, o.Mountpoint, root, source, opt)
}

func (o childOptions) near() (near cas.Store, end func() error, err error) {
	nothing := func() error { return nil }
	switch {
	case o.Disk != "":
		store, err := disk.Open(o.Disk, disk.Options{Log: slog.New(slog.DiscardHandler), Hold: true})
		if err != nil {
			return nil, nil, err
		}
		return store, store.Close, nil
	case o.Near != "":
		return fileStore(o.Near), nothing, nil
	}
	return &memory.Store{}, nothing, nil
}

func (o childOptions) source(far *faulty) (cas.Digest, cas.Getter, error) {
	if o.Synthetic[0] > 0 {
		s, root, err := newSynthetic(o.Synthetic[0], o.Synthetic[1])
		return root, s, err
	}
	if o.Doubled > 0 {
		root, err := far.storeDoubled(o.Doubled)
		return root, far, err
	}
	if o.Pattern > 0 {
		s, root, err := newPatternStore(o.Pattern)
		return root, s, err
	}
	root, err := far.store(o.Source)
	return root, far, err
}

func obey(far *faulty, server *Server) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer := "ok"
		if lines.Text() == "report" {
			b, _ := json.Marshal(far.report(server))
			answer = string(b)
		} else if lines.Text() == "mode" {
			answer = server.Mode().String()
		} else if path, ok := strings.CutPrefix(lines.Text(), "prefetch "); ok {
			answer = prefetchChild(server, path)
		} else if err := far.command(lines.Text()); err != nil {
			answer = err.Error()
		}
		fmt.Println(strings.ReplaceAll(answer, "\n", " "))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Unmount(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		Unmount(ctx, server.Dir(), true)
	}
}

// prefetchChild reads path ahead, and tells the last progress or the error.
func prefetchChild(server *Server, path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var last Progress
	if err := server.Prefetch(ctx, path, func(p Progress) { last = p }); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", last)
}

// readChild reads a file without dying of EINTR, and fails if it sees any.
func readChild(path string) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(fd, buf)
		if n == 0 || err != nil {
			return err
		}
	}
}
