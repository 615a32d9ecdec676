package bao

import (
	"slices"
	"sort"
)

// A run is a sequence of groups: those from first up to end.
type run struct{ first, end int64 }

// runs is a set of groups: runs in order, with gaps between them. It takes
// memory for what is in it, and none for what could be.
type runs []run

// cut returns which elements of rs overlap r, or touch it if touch is 1.
func (rs runs) cut(r run, touch int64) (i, j int) {
	i = sort.Search(len(rs), func(i int) bool { return rs[i].end+touch > r.first })
	j = sort.Search(len(rs), func(j int) bool { return rs[j].first >= r.end+touch })
	return i, max(i, j)
}

func (rs runs) add(r run) runs {
	i, j := rs.cut(r, 1)
	if i < j {
		r = run{min(r.first, rs[i].first), max(r.end, rs[j-1].end)}
	}
	return slices.Replace(rs, i, j, r)
}

func (rs runs) remove(r run) runs {
	i, j := rs.cut(r, 0)
	var rest []run
	for _, old := range rs[i:j] {
		if old.first < r.first {
			rest = append(rest, run{old.first, r.first})
		}
		if old.end > r.end {
			rest = append(rest, run{r.end, old.end})
		}
	}
	return slices.Replace(rs, i, j, rest...)
}

// missing returns the parts of r that are not in rs.
func (rs runs) missing(r run) runs {
	var gaps runs
	i, j := rs.cut(r, 0)
	for _, old := range rs[i:j] {
		if r.first < old.first {
			gaps = append(gaps, run{r.first, old.first})
		}
		r.first = old.end
	}
	if r.first < r.end {
		gaps = append(gaps, r)
	}
	return gaps
}
