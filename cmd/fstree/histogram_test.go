package main

import (
	"strings"
	"testing"
	"time"
)

func TestHistogramCountsAllThatIsNoLonger(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, time.Second, time.Hour} {
		h.observe(d)
	}
	var out strings.Builder
	h.write(&out, "x_seconds", "Help.")
	want := `# HELP x_seconds Help.
# TYPE x_seconds histogram
x_seconds_bucket{le="0.001"} 2
x_seconds_bucket{le="0.005"} 3
x_seconds_bucket{le="0.025"} 3
x_seconds_bucket{le="0.1"} 3
x_seconds_bucket{le="0.5"} 3
x_seconds_bucket{le="2.5"} 4
x_seconds_bucket{le="10"} 4
x_seconds_bucket{le="30"} 4
x_seconds_bucket{le="+Inf"} 5
x_seconds_sum 3601.003
x_seconds_count 5
`
	if out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}
