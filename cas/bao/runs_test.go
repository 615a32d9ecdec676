package bao

import (
	"math/rand/v2"
	"testing"
)

// TestRunsAreASet compares runs with an array of flags.
func TestRunsAreASet(t *testing.T) {
	const n = 24
	random := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		var rs runs
		var flags [n]bool
		for range 60 {
			first := random.Int64N(n)
			r := run{first, first + random.Int64N(min(n-first, 8)+1)}
			present := random.IntN(3) > 0
			if r.first == r.end {
				continue
			}
			if present {
				rs = rs.add(r)
			} else {
				rs = rs.remove(r)
			}
			for i := r.first; i < r.end; i++ {
				flags[i] = present
			}
			compare(t, rs, flags[:])
		}
	}
}

func compare(t *testing.T, rs runs, flags []bool) {
	t.Helper()
	for i, r := range rs {
		if r.first >= r.end || i > 0 && rs[i-1].end >= r.first {
			t.Fatalf("not in order or not joined: %v", rs)
		}
	}
	for from := range flags {
		for to := from; to <= len(flags); to++ {
			lacks := make(map[int64]bool)
			for _, r := range rs.missing(run{int64(from), int64(to)}) {
				for i := r.first; i < r.end; i++ {
					lacks[i] = true
				}
			}
			for i := from; i < to; i++ {
				if lacks[int64(i)] == flags[i] {
					t.Fatalf("group %d of %v: missing is %v", i, rs, lacks[int64(i)])
				}
			}
			for i := range lacks {
				if i < int64(from) || i >= int64(to) {
					t.Fatalf("group %d is not between %d and %d", i, from, to)
				}
			}
		}
	}
}
