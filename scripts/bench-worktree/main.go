// Command bench-worktree measures fs/worktree against what else goes through a
// directory on the same machine in the same run, and prints the ratios.
//
//	bench-worktree [-dirs /dev/shm,/var/tmp] [-rounds 5] [-big 2048] [-small 50000]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
	"github.com/fstree/fstree/scripts/internal/bench"
)

var (
	dirs    = flag.String("dirs", "/dev/shm", "where to work, separated by commas")
	rounds  = flag.Int("rounds", 5, "how often each is measured; the best counts")
	big     = flag.Int("big", 2048, "size of the big file in MiB")
	small   = flag.Int("small", 50_000, "number of small files")
	threads = flag.Int("threads", runtime.GOMAXPROCS(0), "threads of everything that has threads")
	step    = flag.String("step", "", "run one step in this process: write DIR CACHE, checkout ROOT DIR CACHE")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if *step != "" {
		check(runStep(*step, flag.Args()))
		return
	}
	fmt.Printf("%d threads, best of %d rounds\n", *threads, *rounds)
	for dir := range strings.SplitSeq(*dirs, ",") {
		base, err := os.MkdirTemp(dir, "bench-worktree-")
		check(err)
		defer os.RemoveAll(base)
		fmt.Printf("\n%s\n", dir)
		for _, make := range []func(string) (string, error){
			bench.GoSource,
			func(dir string) (string, error) { return bench.SmallFiles(dir, *small) },
			func(dir string) (string, error) { return bench.BigFile(dir, *big) },
		} {
			b := &subject{base: base, dir: filepath.Join(base, "tree")}
			name, err := make(b.dir)
			check(err)
			fmt.Printf("\n  %s\n", name)
			b.run()
			check(os.RemoveAll(base))
			check(os.Mkdir(base, 0o755))
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("bench-worktree: ", err)
	}
}

// subject is one tree, about which everything is measured.
type subject struct {
	base, dir string
	root      cas.Digest
}

func (b *subject) path(name string) string { return filepath.Join(b.base, name) }

func (b *subject) run() {
	hashing := b.best(nothing, func() error { return hashAll(b.dir, *threads) })
	bench.Report("write, first time", b.best(b.forget, b.write), "read and hash", hashing, 1.5)

	check(bench.Run(b.dir, "git", "init", "-q"))
	check(bench.Run(b.dir, "git", "add", "-A"))
	git := b.best(nothing, func() error { return bench.Run(b.dir, "git", "add", "-A") })
	b.moveGit()
	walk := b.best(nothing, func() error { return walkAll(b.dir, *threads) })
	time.Sleep(50 * time.Millisecond)
	check(b.write())
	unchanged := b.best(nothing, b.write)
	bench.Report("write, unchanged", unchanged, "git add -A", git, 1)
	bench.Report("write, unchanged", unchanged, "bare walk", walk, 1.5)
	bench.Report("write, 1 % changed", b.best(func() error { return bench.Touch(b.dir) }, b.write), "write, unchanged", unchanged, 0)

	out := b.path("out")
	copying := b.best(func() error { return os.RemoveAll(out) }, func() error { return bench.Run("", "cp", "-a", b.dir, out) })
	checkout := b.best(func() error { return os.RemoveAll(out) }, b.checkout)
	bench.Report("checkout, into nothing", checkout, "cp -a", copying, 0.7)
	time.Sleep(50 * time.Millisecond)
	check(b.checkout())
	bench.Report("checkout, unchanged", b.best(nothing, b.checkout), "bare walk", walk, 1.5)
	check(os.RemoveAll(out))

	check(b.forget())
	fmt.Printf("    peak memory: write %d MB, checkout %d MB\n",
		b.peak("write", b.dir, b.path("cache"), b.path("index")),
		b.peak("checkout", b.root.String(), out, b.path("cache"), b.path("out.index")))
}

func nothing() error { return nil }

func (b *subject) best(prepare, work func() error) time.Duration {
	took, err := bench.Best(*rounds, prepare, work)
	check(err)
	return took
}

// moveGit takes git's own files out of the tree.
func (b *subject) moveGit() { check(os.RemoveAll(filepath.Join(b.dir, ".git"))) }

// forget makes the next write a first one.
func (b *subject) forget() error {
	os.RemoveAll(b.path("cache"))
	os.Remove(b.path("index"))
	os.Remove(b.path("out.index"))
	return os.RemoveAll(b.path("out"))
}

func (b *subject) write() (err error) {
	b.root, err = write(b.dir, b.path("cache"), b.path("index"))
	return err
}

func (b *subject) checkout() error {
	return checkout(b.root, b.path("out"), b.path("cache"), b.path("out.index"))
}

// peak returns the largest resident memory of a step in a process of its own,
// in MB.
func (b *subject) peak(step string, args ...string) int64 {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, append([]string{"-step", step, "-threads", fmt.Sprint(*threads)}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(err)
	var kilobytes int64
	_, err = fmt.Sscan(string(out), &kilobytes)
	check(err)
	return kilobytes >> 10
}

// runStep does one step, and prints the largest resident memory in kB. What
// wait says of a child includes its parent's, so it has to look for itself.
func runStep(step string, args []string) error {
	if step == "write" {
		if _, err := write(args[0], args[1], args[2]); err != nil {
			return err
		}
	} else {
		root, err := cas.ParseDigest(args[0])
		if err != nil {
			return err
		}
		if err := checkout(root, args[1], args[2], args[3]); err != nil {
			return err
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(strings.Fields(peak)[0])
	return nil
}

func write(dir, cache, index string) (cas.Digest, error) {
	store, err := disk.Open(cache, disk.Options{})
	if err != nil {
		return cas.Digest{}, err
	}
	defer store.Close()
	result, err := worktree.Write(context.Background(), dir, store, worktree.Options{Index: index, Threads: *threads})
	return result.Root, err
}

func checkout(root cas.Digest, dir, cache, index string) error {
	store, err := disk.Open(cache, disk.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	opt := worktree.CheckoutOptions{Options: worktree.Options{Index: index, Threads: *threads}}
	_, err = worktree.Checkout(context.Background(), dir, root, store, opt)
	return err
}
