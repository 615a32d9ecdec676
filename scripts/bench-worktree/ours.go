package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"

	"github.com/fstree/fstree/scripts/internal/bench"
)

func (b *subject) write() (err error) {
	b.root, err = b.ours("write-tree", b.dir, "--index", b.Path("index"))
	return err
}

func (b *subject) checkout() error {
	_, err := b.ours("checkout", b.root, b.Path("out"), "--index", b.Path("out.index"))
	return err
}

// ours runs fstree and returns what it prints.
func (b *subject) ours(args ...string) (string, error) {
	c := exec.Command(b.Binary, append(args, "--cache", b.Path("cache"), "--cache-size", "0", "--threads", fmt.Sprint(*threads))...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		return "", err
	}
	wait := c.Wait
	if b.watched {
		wait = func() (err error) {
			b.peak, err = bench.Watch(c).Wait()
			return err
		}
	}
	if err := wait(); err != nil {
		return "", fmt.Errorf("fstree %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// memory reports the peak memory of our own first runs. It is measured apart,
// because watching takes time.
func (b *subject) memory() error {
	b.watched = true
	if err := b.forget(); err != nil {
		return err
	}
	if err := b.write(); err != nil {
		return err
	}
	writing := b.peak
	if err := b.checkout(); err != nil {
		return err
	}
	fmt.Printf("    peak memory: write %d MB, checkout %d MB\n", writing>>10, b.peak>>10)
	return nil
}
