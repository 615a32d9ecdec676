package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/fstree/fstree/cas"
)

var someItems = []item{
	{cas.Sum([]byte("a")), entry{kind: packed, size: 1, used: 7, place: place{3, 4}}},
	{cas.Sum([]byte("b")), entry{kind: filed, size: 1 << 40, used: 8, identity: identity{5, -6, 7}}},
	{cas.MustParseDigest("sha1:a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"), entry{}},
}

// FuzzItems: what is accepted from another process, or from the index, is
// exactly what this program writes.
func FuzzItems(f *testing.F) {
	f.Add(appendItems(nil, someItems))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := parseItems(b)
		if err != nil {
			return
		}
		if again := appendItems(nil, items); !bytes.Equal(again, b) {
			t.Errorf("%x was read as %v, which is %x", b, items, again)
		}
	})
}

// FuzzFrame: no frame makes a reader fail in any other way than by an error,
// or allocate more than a frame may have.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frame{7, opLookup, appendDigests(nil, []cas.Digest{cas.Sum(nil)})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := appendFrame(nil, got); !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x was read as %+v, which is %x", b, got, again)
		}
		parseDigests(got.body)
		cutLimits(got.body)
	})
}

// FuzzPack: whatever a pack holds, scanning it ends, and stays within it.
func FuzzPack(f *testing.F) {
	record := appendRecord(nil, cas.Sum([]byte("data")), []byte("data"))
	f.Add(record)
	f.Add(append(record, record[:50]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := tempFile(t, b)
		err := scanPack(file, 1, func(it item) error {
			if end := int64(it.entry.place.offset) + recordSize(it.entry.size); end > int64(len(b)) {
				t.Errorf("a record ends at %d of %d", end, len(b))
			}
			return nil
		})
		if err != nil {
			t.Errorf("scan: %v", err)
		}
		if end, whole := packEnd(file); whole && end != int64(len(b)) {
			t.Errorf("the pack ends at %d of %d", end, len(b))
		}
	})
}

// FuzzTotals: what is accepted as totals, with names that wait for the order, is
// exactly what this program writes, or what it wrote when it knew no order.
func FuzzTotals(f *testing.F) {
	waiting := orderRecord{orderPlace{bucket: 7}, nameOf(cas.Sum(nil))}
	f.Add(appendTotals(nil, totals{Objects: 1, Bytes: 2, Ordered: true}, waiting))
	f.Add(make([]byte, earlierTotals))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &engine{}
		if err := x.setTotals(b); err != nil {
			return
		}
		if len(b) == earlierTotals && !x.totals.Ordered {
			return
		}
		if again := appendTotals(nil, x.totals, x.waiting); !bytes.Equal(again, b) {
			t.Errorf("%x was read as %+v and %+v, which is %x", b, x.totals, x.waiting, again)
		}
	})
}

// FuzzOrderRecord: a record of the order that is accepted is exactly what this
// program writes.
func FuzzOrderRecord(f *testing.F) {
	r := orderRecord{orderPlace{7, 8}, append(nameOf(cas.Sum(nil)), nameOf(cas.Sum([]byte("a")))...)}
	f.Add(r.place.key(), r.value())
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := decodeOrderRecord(key, value)
		if err != nil {
			return
		}
		if k, v := r.place.key(), r.value(); !bytes.Equal(k[1:], key[1:]) || !bytes.Equal(v, value) {
			t.Errorf("%x and %x were read as %+v, which are %x and %x", key, value, r, k, v)
		}
	})
}

func tempFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
