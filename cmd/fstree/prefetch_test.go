package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestPrefetchListIsBounded(t *testing.T) {
	short := "# first\n\nusr/bin\r\nodd \xff\n"
	for name, make := range map[string]func(path, content string) error{
		"file": func(path, content string) error { return os.WriteFile(path, []byte(content), 0o644) },
		"pipe": func(path, content string) error { // which has no size
			if err := syscall.Mkfifo(path, 0o644); err != nil {
				return err
			}
			go os.WriteFile(path, []byte(content), 0o644)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := prefetchFlag{list: filepath.Join(t.TempDir(), "list")}
			if err := make(list.list, short); err != nil {
				t.Fatal(err)
			}
			if paths, err := list.paths(); err != nil || !slices.Equal(paths, []string{"usr/bin", "odd \xff"}) {
				t.Errorf("%q, %v", paths, err)
			}
			list.list += "2"
			if err := make(list.list, strings.Repeat(strings.Repeat("p", 1023)+"\n", maxPrefetchList>>10+1)); err != nil {
				t.Fatal(err)
			}
			if paths, err := list.paths(); err == nil || !strings.Contains(err.Error(), "is longer than 16 MiB") {
				t.Errorf("%d paths, %v", len(paths), err)
			}
		})
	}
}
