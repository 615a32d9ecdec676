package disk

import (
	"syscall"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// BenchmarkAddMany stores what a directory of small files would: 20,000 objects
// in an empty store.
func BenchmarkAddMany(b *testing.B) {
	const count = 20_000
	block := castest.Bytes(1<<20, 1)
	used := cpuTime(b)
	for b.Loop() {
		s := open(b, b.TempDir(), Options{})
		err := s.AddMany(b.Context(), func(a cas.Adder) error {
			for i := range uint64(count) {
				if _, _, err := a.Add(b.Context(), &stream{block, 500, i}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-used).Nanoseconds())/float64(b.N)/count, "cpu-ns/object")
}

// cpuTime is what all processors have done for this process.
func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
