// Command bench-store runs the benchmarks of cas/disk, and prints the store side
// by side with plain files on the same file system; then how much memory it takes
// to fill it, and how long it takes to open it when it is full.
//
//	bench-store [-dir /dev/shm] [-time 1s] [-objects 1000000] [-big 8192]
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

var (
	dir  = flag.String("dir", "/dev/shm", "where to work; 64 MiB at a time fill it fast")
	long = flag.String("time", "1s", "how long each is measured, as go test -benchtime has it")

	objects = flag.Int("objects", 1_000_000, "number of objects to fill it with")
	big     = flag.Int("big", 8192, "size of the biggest object in MiB")

	filled = flag.String("fill", "", "fill this cache, with so many objects of so many bytes, in this process")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal("bench-store: ", err)
	}
}

func run() error {
	if *filled != "" {
		return runFill(*filled, flag.Args())
	}
	results, err := measure()
	if err != nil {
		return err
	}
	if err := results.print(); err != nil {
		return err
	}
	return footprint()
}

// results are the metrics of each benchmark, by its name and their unit.
type results map[string]map[string]float64

func measure() (results, error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", ".", "-benchtime", *long, "./cas/disk")
	cmd.Env = append(os.Environ(), "TMPDIR="+*dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return parse(out)
}

// parse reads lines such as
//
//	BenchmarkPut/1KiB/owner-2   100000   9000 ns/op   110000 objects/s
func parse(out []byte) (results, error) {
	rs := results{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i >= 0 {
			name = name[:i] // the number of threads
		}
		rs[name] = map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			rs[name][fields[i+1]] = value
		}
	}
	if len(rs) == 0 {
		return nil, errors.New("no benchmark has run")
	}
	return rs, nil
}

// How fast the store should write: small objects, against a file for each; and
// large ones, against the slower of hashing and writing.
const (
	smallGoal = 3
	largeGoal = 0.9
)

func (rs results) print() error {
	fmt.Println("bytes: hashing the objects and writing them in large pieces, with no names and no index")
	fmt.Printf("%-16s %9s %9s %9s %9s              speed     CPU, owner to files\n", *dir, "owner", "client", "files", "bytes")
	for _, verb := range []string{"PutMany", "Put", "Get", "Has"} {
		for _, size := range []struct{ name, unit string }{
			{"1KiB", "objects/s"}, {"4KiB", "objects/s"}, {"16KiB", "objects/s"}, {"1024KiB", "MB/s"}, {"65536KiB", "MB/s"},
		} {
			unit := size.unit
			if verb == "Has" {
				unit = "objects/s"
			}
			goal := 0.0
			if strings.HasPrefix(verb, "Put") && unit == "objects/s" {
				goal = smallGoal
			}
			if err := rs.row(verb+"/"+size.name, unit, goal); err != nil {
				return err
			}
		}
	}
	return rs.limit()
}

// row prints how fast everybody is in one discipline. The store should be faster
// by a factor of goal; 0 is no goal.
func (rs results) row(name, unit string, goal float64) error {
	owner, client, files := rs[name+"/owner"][unit], rs[name+"/client"][unit], rs[name+"/files"][unit]
	if owner == 0 || client == 0 || files == 0 {
		return fmt.Errorf("%s was not measured in %s", name, unit)
	}
	floor, text := "", ""
	if bare := rs[name+"/bytes"][unit]; bare > 0 {
		floor = fmt.Sprintf("%.0f", bare)
	}
	if goal > 0 {
		text = verdict(owner >= goal*files, goal)
	}
	cpu := rs[name+"/owner"]["cpu-ns/op"] / rs[name+"/files"]["cpu-ns/op"]
	fmt.Printf("%-16s %9.0f %9.0f %9.0f %9s  %-10s %6.2f  %6.2f   %s\n",
		strings.ToLower(strings.ReplaceAll(name, "/", " ")), owner, client, files, floor, unit, owner/files, cpu, text)
	return nil
}

// limit prints what storing one large object is made of.
func (rs results) limit() error {
	speed := func(what string) float64 { return rs["OneLarge/"+what]["MB/s"] }
	put, hash, outboard, write := speed("put"), speed("hash"), speed("outboard"), speed("write")
	if put == 0 || hash == 0 || outboard == 0 || write == 0 {
		return errors.New("large objects one at a time were not measured")
	}
	fmt.Printf("\n64 MiB, one at a time: put %.0f MB/s; with one thread and alone:\n", put)
	for _, part := range []struct {
		what  string
		speed float64
	}{
		{"the digest", hash}, {"the digest and its outboard", outboard}, {"writing", write},
		{"the slower of digest and writing", min(hash, write)},
		{"the slower of outboard and writing", min(outboard, write)},
	} {
		fmt.Printf("%-36s %6.0f MB/s, put is %.2f of it   %s\n", part.what, part.speed, put/part.speed, verdict(put >= largeGoal*part.speed, largeGoal))
	}
	return nil
}
