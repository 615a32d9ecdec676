package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
)

func expectMarks(t *testing.T, s *Store, epoch string, want bool, ds ...cas.Digest) {
	t.Helper()
	marked := s.Marked(epoch)
	for _, d := range ds {
		if marked(d) != want {
			t.Errorf("%s: marked is %v", d, !want)
		}
	}
}

func TestMarksLastAsLongAsTheirEpoch(t *testing.T) {
	var c clock
	s, small, large := settled(t, &c)
	first := epoch(t, s)
	expectMarks(t, s, first, false, small, large)
	s.Mark(first, []cas.Digest{small})
	s.Mark(first, []cas.Digest{small, large})
	expectMarks(t, s, first, true, small, large)
	other := openClient(t, s.dir)
	expectMarks(t, other, first, true, small, large)
	s.Close()
	s = open(t, s.dir, Options{Retention: time.Hour})
	s.now = c.now
	expectMarks(t, s, first, true, small, large)

	if err := s.SetAside(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	second := epoch(t, s)
	marked := s.Marked(first)
	expectMarks(t, s, second, false, small, large)
	if marked(large) {
		t.Error("a mark of another epoch is still seen")
	}
	s.Mark(second, []cas.Digest{large})
	expectMarks(t, other, second, true, large)
	expectMarks(t, other, second, false, small)
	if files, _ := filepath.Glob(s.path(runDir, marksName+"*")); len(files) != 1 {
		t.Errorf("marks of ended epochs stay: %v", files)
	}
}

func TestNothingIsMarkedWithoutAnEpoch(t *testing.T) {
	s := openOwner(t, t.TempDir())
	s.Mark("", []cas.Digest{cas.Sum(nil)})
	expectMarks(t, s, "", false, cas.Sum(nil))
}

func TestMarksAreBounded(t *testing.T) {
	s := openOwner(t, t.TempDir())
	ds := make([]cas.Digest, maxMarks)
	for i := range ds {
		ds[i] = cas.Sum([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	s.Mark("epoch", ds)
	expectMarks(t, s, "epoch", true, ds[0], ds[maxMarks/2-1])
	expectMarks(t, s, "epoch", false, ds[maxMarks/2])
	s.Mark("epoch", ds[maxMarks/2:])
	expectMarks(t, s, "epoch", true, ds[maxMarks/2])
	s.Mark("epoch", []cas.Digest{cas.Sum(nil)})
	expectMarks(t, s, "epoch", true, cas.Sum(nil))
	st, err := os.Stat(s.marksPath("epoch"))
	if err != nil || st.Size() > maxMarks*int64(markLength) {
		t.Errorf("%v, %v", st, err)
	}
}

func TestTornMarkIsNone(t *testing.T) {
	s := openOwner(t, t.TempDir())
	one, two := cas.Sum([]byte("one")), cas.Sum([]byte("two"))
	for torn := range len(one.String()) {
		text := one.String()[:torn]
		if err := os.WriteFile(s.marksPath("epoch"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		expectMarks(t, s, "epoch", false, one, two)
		s.Mark("epoch", []cas.Digest{two})
		s.Mark("epoch", []cas.Digest{two})
		expectMarks(t, s, "epoch", false, one)
		expectMarks(t, s, "epoch", true, two)
	}
}
