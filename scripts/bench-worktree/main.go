// Command bench-worktree measures fs/worktree against what else goes through a
// directory on the same machine in the same run, and prints the ratios.
//
//	bench-worktree [-dirs /dev/shm,/var/tmp] [-rounds 5] [-big 2048] [-small 50000]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
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
		for _, make := range []func(string) (string, error){goSource, smallFiles, bigFile} {
			b := &bench{base: base, dir: filepath.Join(base, "tree")}
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

// goSource copies the source of the Go tool that runs this.
func goSource(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(string(bytes.TrimSpace(out)), "src")
	return "source of Go", run("", "cp", "-a", source+"/.", dir)
}

func smallFiles(dir string) (string, error) {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 8<<10)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	const perDir = 20
	for i := range *small {
		below := filepath.Join(dir, fmt.Sprint("group", i/perDir/50), fmt.Sprint("dir", i/perDir))
		if i%perDir == 0 {
			if err := os.MkdirAll(below, 0o755); err != nil {
				return "", err
			}
		}
		content := append(fmt.Append(nil, i), data[:r.IntN(len(data))]...)
		if err := os.WriteFile(filepath.Join(below, fmt.Sprint("file", i)), content, 0o644); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d files of 0 to 8 KiB", *small), nil
}

func bigFile(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	for range *big {
		r.Read(block)
		if _, err := f.Write(block); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("one file of %d MiB", *big), nil
}

// bench measures everything about one tree.
type bench struct {
	base, dir string
	root      cas.Digest
}

func (b *bench) path(name string) string { return filepath.Join(b.base, name) }

func (b *bench) run() {
	hashing := b.best(nothing, func() error { return hashAll(b.dir, *threads) })
	b.report("write, first time", b.best(b.forget, b.write), "read and hash", hashing, 1.5)

	check(run(b.dir, "git", "init", "-q"))
	check(run(b.dir, "git", "add", "-A"))
	git := b.best(nothing, func() error { return run(b.dir, "git", "add", "-A") })
	b.moveGit()
	walk := b.best(nothing, func() error { return walkAll(b.dir, *threads) })
	time.Sleep(50 * time.Millisecond)
	check(b.write())
	unchanged := b.best(nothing, b.write)
	b.report("write, unchanged", unchanged, "git add -A", git, 1)
	b.report("write, unchanged", unchanged, "bare walk", walk, 1.5)
	b.report("write, 1 % changed", b.best(b.touch, b.write), "write, unchanged", unchanged, 0)

	out := b.path("out")
	copying := b.best(func() error { return os.RemoveAll(out) }, func() error { return run("", "cp", "-a", b.dir, out) })
	checkout := b.best(func() error { return os.RemoveAll(out) }, b.checkout)
	b.report("checkout, into nothing", checkout, "cp -a", copying, 0.7)
	time.Sleep(50 * time.Millisecond)
	check(b.checkout())
	b.report("checkout, unchanged", b.best(nothing, b.checkout), "bare walk", walk, 1.5)
	check(os.RemoveAll(out))

	check(b.forget())
	fmt.Printf("    peak memory: write %d MB, checkout %d MB\n",
		b.peak("write", b.dir, b.path("cache"), b.path("index")),
		b.peak("checkout", b.root.String(), out, b.path("cache"), b.path("out.index")))
}

func nothing() error { return nil }

// best returns the shortest time of work, each time after prepare.
func (b *bench) best(prepare, work func() error) time.Duration {
	var times []time.Duration
	for range *rounds {
		check(prepare())
		runtime.GC()
		start := time.Now()
		check(work())
		times = append(times, time.Since(start))
	}
	return slices.Min(times)
}

// report prints a line; a goal of 0 is none.
func (b *bench) report(what string, took time.Duration, peer string, peerTook time.Duration, goal float64) {
	ratio := float64(took) / float64(peerTook)
	verdict := ""
	switch {
	case goal > 0 && ratio <= goal:
		verdict = fmt.Sprintf("goal %.1f met", goal)
	case goal > 0:
		verdict = fmt.Sprintf("goal %.1f MISSED", goal)
	}
	fmt.Printf("    %-24s %8.1f ms   %-18s %8.1f ms   %5.2f   %s\n", what, ms(took), peer, ms(peerTook), ratio, verdict)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// moveGit takes git's own files out of the tree.
func (b *bench) moveGit() { check(os.RemoveAll(filepath.Join(b.dir, ".git"))) }

// forget makes the next write a first one.
func (b *bench) forget() error {
	os.RemoveAll(b.path("cache"))
	os.Remove(b.path("index"))
	os.Remove(b.path("out.index"))
	return os.RemoveAll(b.path("out"))
}

func (b *bench) write() (err error) {
	b.root, err = write(b.dir, b.path("cache"), b.path("index"))
	return err
}

func (b *bench) checkout() error {
	return checkout(b.root, b.path("out"), b.path("cache"), b.path("out.index"))
}

// touch changes one file of a hundred.
func (b *bench) touch() error {
	i := 0
	return filepath.WalkDir(b.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if i++; i%100 != 0 {
			return nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString("x")
		return err
	})
}

// peak returns the largest resident memory of a step in a process of its own,
// in MB.
func (b *bench) peak(step string, args ...string) int64 {
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

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
