// Package bench is what the benchmarks share: the inputs, and the report.
package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// GoSource copies the source of the Go tool that runs this. It returns, as all
// inputs do, what to call it.
func GoSource(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(string(bytes.TrimSpace(out)), "src")
	return "source of Go", Run("", "cp", "-a", source+"/.", dir)
}

// SmallFiles makes so many files of 0 to 8 KiB.
func SmallFiles(dir string, count int) (string, error) {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 8<<10)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	const perDir = 20
	for i := range count {
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
	return fmt.Sprintf("%d files of 0 to 8 KiB", count), nil
}

// BigFile makes one file of so many MiB, which do not compress.
func BigFile(dir string, size int) (string, error) {
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
	for range size {
		r.Read(block)
		if _, err := f.Write(block); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("one file of %d MiB", size), nil
}

// Touch changes one file of a hundred.
func Touch(dir string) error {
	i := 0
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
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

// Run runs a program in dir.
func Run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
