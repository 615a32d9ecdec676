package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// The test binary, run again with this variable, is another process that uses
// the cache in the directory that it names.
const processVariable = "DISK_TEST_PROCESS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(processVariable); dir != "" {
		if err := work(dir, os.Args[1:]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work does what the other process is there for.
func work(dir string, args []string) error {
	if args[0] == "fill" {
		return fillDisk(dir)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	switch args[0] {
	case "hold": // own the index until stdin ends
		if _, err := s.Stats(context.Background()); err != nil {
			return err
		}
		fmt.Println("holding")
		io.Copy(io.Discard, os.Stdin)
		return nil
	case "write": // store objects, and tell each one that is acknowledged
		seed, _ := strconv.ParseUint(args[1], 10, 64)
		for i := uint64(0); ; i++ {
			if err := workOnce(s, seed, i); err != nil {
				return err
			}
		}
	case "parts": // add to partial objects
		seed, _ := strconv.ParseUint(args[1], 10, 64)
		if err := addParts(s, seed); err != nil {
			return err
		}
		io.Copy(io.Discard, os.Stdin)
		return nil
	case "write many": // the same, many at a time
		seed, _ := strconv.ParseUint(args[1], 10, 64)
		for i := uint64(0); ; i++ {
			if err := workMany(s, seed, i); err != nil {
				return err
			}
		}
	case "churn": // store, read and evict, more than there is room for
		s.opt.Size = 3 << 20
		fmt.Println("churning")
		for i := uint64(0); ; i++ {
			if err := workOnce(s, i%5, rand.Uint64N(200)); err != nil {
				return err
			}
			if i%40 == 39 {
				if _, _, err := s.Evict(context.Background()); err != nil {
					return err
				}
			}
		}
	}
	return fmt.Errorf("no such work: %s", args)
}

// testObject returns one of the objects that processes write, of a size that
// depends on i.
func testObject(seed, i uint64) []byte {
	n := 100 + int(i%50)*200
	if i%10 == 0 {
		n = 100_000 + int(i)
	}
	return castest.Bytes(n, seed<<8|i%256)
}

func workOnce(s *Store, seed, i uint64) error {
	data := testObject(seed, i)
	d := cas.Sum(data)
	if err := s.Put(context.Background(), d, bytes.NewReader(data)); err != nil {
		return err
	}
	fmt.Println(d)
	got, err := cas.ReadAll(context.Background(), s, d, 1<<30)
	if errors.Is(err, cas.ErrNotFound) && s.opt.Size > 0 {
		return nil // evicted in between
	}
	if err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("read back %d of %d bytes: %w", len(got), len(data), err)
	}
	return nil
}

// workMany stores a hundred objects, some of which it has stored before.
func workMany(s *Store, seed, i uint64) error {
	var names strings.Builder
	err := s.AddMany(context.Background(), func(a cas.Adder) error {
		for j := range uint64(100) {
			d, _, err := a.Add(context.Background(), bytes.NewReader(testObject(seed, 70*i+j)))
			if err != nil {
				return err
			}
			fmt.Fprintln(&names, d)
		}
		return nil
	})
	if err == nil {
		fmt.Print(names.String())
	}
	return err
}

// process is another process at work.
type process struct {
	*exec.Cmd
	out   *bufio.Scanner
	stdin io.Closer
}

func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe, args...)}
	p.Env = append(os.Environ(), processVariable+"="+dir)
	p.Stderr = os.Stderr
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if args[0] == "fill" {
		p.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		p.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // makes mounts private
		p.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		p.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.out, p.stdin = bufio.NewScanner(stdout), stdin
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// stop returns when no thread of p runs any more.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("wait: %v, status %v", err, status)
	}
}

// hold starts a process that owns the index of dir.
func hold(t *testing.T, dir string) *process {
	t.Helper()
	p := start(t, dir, "hold")
	if !p.out.Scan() || p.out.Text() != "holding" {
		t.Fatalf("the holder said %q", p.out.Text())
	}
	return p
}

func TestOtherProcessOwnsTheIndex(t *testing.T) {
	dir := t.TempDir()
	p := hold(t, dir)
	s := openClient(t, dir)
	data := castest.Bytes(5000, 1)
	put(t, s, data)
	p.stdin.Close()
	if err := p.Wait(); err != nil {
		t.Fatalf("the holder: %v", err)
	}
	expect(t, s, data)
	if _, ok := s.ways.current.(*owner); !ok {
		t.Errorf("after the end of the owner the index is a %T", s.ways.current)
	}
}

func TestHandOverAfterKillTakesLessThanASecond(t *testing.T) {
	dir := t.TempDir()
	p := hold(t, dir)
	s := openClient(t, dir)
	for i := range uint64(300) {
		put(t, s, testObject(1, i))
	}
	p.kill()
	start := time.Now()
	for i := range uint64(300) {
		expect(t, s, testObject(1, i))
		if i == 0 {
			t.Logf("the hand-over took %s", time.Since(start))
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the hand-over and 300 reads took %s", took)
	}
}

func TestStoppedOwnerIsAnErrorNotAHang(t *testing.T) {
	dir := t.TempDir()
	p := hold(t, dir)
	connected, stranger := open(t, dir, Options{}), open(t, dir, Options{})
	connected.patience, stranger.patience = 2*time.Second, 2*time.Second
	stats(t, connected)
	p.stop(t)
	for _, s := range []*Store{connected, stranger} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := s.Has(t.Context(), []cas.Digest{cas.Sum(nil)})
			want := fmt.Sprintf("process %d owns the index", p.Process.Pid)
			if !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), want) {
				t.Errorf("Has: %v, want %q", err, want)
			}
			if took := time.Since(start); took > 2*s.patience {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestAcknowledgedObjectsSurviveKilledWriters kills the owner of the index, or
// another writer, at random moments while some write and read.
func TestAcknowledgedObjectsSurviveKilledWriters(t *testing.T) {
	dir := t.TempDir()
	writers := make([]*process, 8)
	acknowledged := map[string]bool{}
	gather := make(chan string, 1000)
	reading := 0
	ended := make(chan struct{})
	launch := func(i int, seed uint64) {
		p := start(t, dir, []string{"write", "write many"}[seed%2], strconv.FormatUint(seed, 10))
		writers[i] = p
		reading++
		go func() {
			for p.out.Scan() {
				gather <- p.out.Text()
			}
			ended <- struct{}{}
		}()
	}
	for i := range writers {
		launch(i, uint64(i))
	}
	kill := time.NewTicker(150 * time.Millisecond)
	defer kill.Stop()
	for kills := uint64(0); kills < 20; {
		select {
		case line := <-gather:
			acknowledged[line] = true
		case <-kill.C:
			victim := rand.IntN(len(writers))
			writers[victim].Process.Kill()
			launch(victim, 10+kills)
			kills++
		}
	}
	for _, p := range writers {
		p.Process.Kill()
	}
	for reading > 0 {
		select {
		case line := <-gather:
			acknowledged[line] = true
		case <-ended:
			reading--
		}
	}
	s := open(t, dir, Options{})
	for text := range acknowledged {
		d, err := cas.ParseDigest(text)
		if err != nil {
			if strings.HasPrefix(text, "failed") {
				t.Errorf("a writer %s", text)
			}
			continue // a line cut short by the kill
		}
		data, err := cas.ReadAll(t.Context(), s, d, 1<<30)
		if err != nil || !d.Names(data) {
			t.Errorf("%s was acknowledged: %v", d, err)
		}
	}
	if _, damaged := verify(t, s); len(damaged) > 0 {
		t.Errorf("damaged: %v", damaged)
	}
	if len(acknowledged) < 100 {
		t.Errorf("only %d objects were acknowledged", len(acknowledged))
	}
	t.Logf("%d objects were acknowledged", len(acknowledged))
}

// TestStoreIsCleanAfterEveryCrash kills a process that stores and evicts, at
// random moments, with another one beside it that may have to take over.
func TestStoreIsCleanAfterEveryCrash(t *testing.T) {
	dir := t.TempDir()
	for range 200 {
		a, b := start(t, dir, "churn"), start(t, dir, "churn")
		a.out.Scan()
		time.Sleep(rand.N(40 * time.Millisecond))
		a.Process.Kill()
		time.Sleep(rand.N(20 * time.Millisecond))
		b.Process.Kill()
		expectNoFailure(t, a)
		expectNoFailure(t, b)

		s := open(t, dir, Options{})
		if _, damaged := verify(t, s); len(damaged) > 0 {
			t.Fatalf("damaged: %v", damaged)
		}
		expectExactTotals(t, s)
		expectCompleteOrder(t, s)
		expectNoTemps(t, s)
		put(t, s, castest.Bytes(100, rand.Uint64()))
		s.Close()
	}
}

// expectNoFailure reads to the end what p says.
func expectNoFailure(t *testing.T, p *process) {
	t.Helper()
	for p.out.Scan() {
		if strings.HasPrefix(p.out.Text(), "failed") {
			t.Errorf("a process %s", p.out.Text())
		}
	}
	p.Wait()
}

// expectExactTotals compares what the index has counted with what it lists.
func expectExactTotals(t *testing.T, s *Store) {
	t.Helper()
	var sum totals
	for it := range listed(t, s) {
		sum = sum.add(it.entry, 1)
	}
	got := stats(t, s)
	if got.Objects != sum.Objects || got.Bytes != sum.Bytes || got.Files != sum.Files {
		t.Fatalf("counted %+v, listed %+v", got, sum)
	}
}

// listed yields every object in the index.
func listed(t *testing.T, s *Store) iter.Seq[item] {
	return func(yield func(item) bool) {
		for after := (cas.Digest{}); ; {
			items, err := s.list(t.Context(), after)
			if err != nil {
				t.Fatal(err)
			}
			if len(items) == 0 {
				return
			}
			for _, it := range items {
				if !yield(it) {
					return
				}
			}
			after = items[len(items)-1].digest
		}
	}
}

// TestEpochIsNoLieBesideCrashes asks again and again, while others store, evict
// and are killed, whether what was there in an epoch is still there at its end.
func TestEpochIsNoLieBesideCrashes(t *testing.T) {
	dir := t.TempDir()
	var ds []cas.Digest
	for i := range uint64(1000) {
		ds = append(ds, cas.Sum(testObject(i%5, i/5)))
	}
	kept, changed := 0, 0
	for range 40 {
		a, b := start(t, dir, "churn"), start(t, dir, "churn")
		a.out.Scan()
		s := open(t, dir, Options{Retention: time.Hour})
		killer := time.AfterFunc(rand.N(40*time.Millisecond), func() { a.Process.Kill() })
		for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
			before := epoch(t, s)
			first := hasAll(t, s, ds)
			time.Sleep(rand.N(3 * time.Millisecond))
			second := hasAll(t, s, ds)
			if before == "" || before != epoch(t, s) {
				changed++
				continue
			}
			kept++
			for i := range ds {
				if first[i] && !second[i] {
					t.Fatalf("%s was lost in the epoch %s", ds[i], before)
				}
			}
		}
		killer.Stop()
		a.Process.Kill()
		b.Process.Kill()
		expectNoFailure(t, a)
		expectNoFailure(t, b)
		s.Close()
	}
	if kept == 0 || changed == 0 {
		t.Errorf("%d times the epoch lasted, %d times it ended", kept, changed)
	}
	t.Logf("%d times the epoch lasted, %d times it ended", kept, changed)
}

func hasAll(t *testing.T, s *Store, ds []cas.Digest) []bool {
	t.Helper()
	present, err := s.Has(t.Context(), ds)
	if err != nil {
		t.Fatalf("Has: %v", err)
	}
	return present
}
