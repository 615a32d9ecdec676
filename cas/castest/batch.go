package castest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
)

const parallel = 8

// objects yields data under their digests, in order.
func objects(data map[cas.Digest][]byte, order []cas.Digest) cas.Objects {
	return func(yield func(cas.Digest, cas.Object) bool) {
		for _, d := range order {
			if !yield(d, cas.NewObject(data[d])) {
				return
			}
		}
	}
}

// mixture is many small objects with a large one among them, here and there.
func mixture() (data map[cas.Digest][]byte, order []cas.Digest) {
	data = map[cas.Digest][]byte{}
	for i := range 600 {
		b := fmt.Appendf(nil, "object %d", i)
		if i%50 == 0 {
			b = Bytes(lengths[i/50%len(lengths)], uint64(i))
		}
		d := cas.Sum(b)
		if _, ok := data[d]; !ok {
			data[d] = b
			order = append(order, d)
		}
	}
	return data, order
}

func batches(t *testing.T, s cas.Store) {
	data, order := mixture()
	stored := map[cas.Digest]bool{}
	err := cas.PutMany(t.Context(), s, objects(data, order), parallel, func(d cas.Digest, err error) error {
		if err != nil || stored[d] {
			t.Errorf("report of %d bytes: %v", len(data[d]), err)
		}
		stored[d] = true
		return nil
	})
	if err != nil || len(stored) != len(order) {
		t.Fatalf("PutMany: %d of %d stored, %v", len(stored), len(order), err)
	}
	// Again is no error, nor is an object twice in a question.
	if err := cas.PutMany(t.Context(), s, objects(data, order[:150]), parallel, func(_ cas.Digest, err error) error { return err }); err != nil {
		t.Errorf("PutMany again: %v", err)
	}
	absent := cas.Sum([]byte("never stored"))
	question := append([]cas.Digest{absent, order[7]}, order...)
	visits := map[cas.Digest]int{}
	err = cas.GetMany(t.Context(), s, question, parallel, func(d cas.Digest, o cas.Object, err error) error {
		visits[d]++
		if d == absent {
			if !errors.Is(err, cas.ErrNotFound) || o != nil {
				t.Errorf("absent object: %v, %v", o, err)
			}
			return nil
		}
		if err != nil {
			t.Errorf("object of %d bytes: %v", len(data[d]), err)
			return nil
		}
		if visits[d]%2 == 0 {
			return nil // whoever does not want the bytes need not read them
		}
		got, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(got, data[d]) {
			t.Errorf("object of %d bytes: %d bytes, %v", len(data[d]), len(got), err)
		}
		return nil
	})
	if err != nil || len(visits) != len(order)+1 || visits[order[7]] != 2 {
		t.Errorf("GetMany: %d visited, %v", len(visits), err)
	}
	unverified(t, s, question, data)
}

// unverified copies objects to another store, which verifies them.
func unverified(t *testing.T, s cas.Store, question []cas.Digest, data map[cas.Digest][]byte) {
	copies := &memory.Store{}
	err := cas.GetUnverified(t.Context(), s, question, parallel, func(d cas.Digest, r io.Reader, err error) error {
		if data[d] == nil {
			if !errors.Is(err, cas.ErrNotFound) {
				t.Errorf("absent object: %v", err)
			}
			return nil
		}
		if err == nil {
			err = copies.Put(t.Context(), d, r)
		}
		return err
	})
	if err != nil || copies.Len() != len(data) {
		t.Errorf("GetUnverified: %d of %d copied, %v", copies.Len(), len(data), err)
	}
}

// brokenObject ends in an error after half of its bytes.
type brokenObject struct {
	io.Reader
	size int64
}

func (o *brokenObject) Size() int64  { return o.size }
func (o *brokenObject) Close() error { return nil }

func badObjectsInBatch(t *testing.T, s cas.Store) {
	broken := errors.New("source broke")
	var ds []cas.Digest
	index := map[cas.Digest]int{}
	for i := range 30 {
		ds = append(ds, cas.Sum(Bytes(lengths[i%len(lengths)]+i, 20)))
		index[ds[i]] = i
	}
	source := func(yield func(cas.Digest, cas.Object) bool) {
		for i, d := range ds {
			data := Bytes(lengths[i%len(lengths)]+i, 20)
			var o cas.Object = cas.NewObject(data)
			switch i % 3 {
			case 1:
				o = cas.NewObject(append(data, 'x'))
			case 2:
				half := bytes.NewReader(data[:len(data)/2])
				o = &brokenObject{io.MultiReader(half, iotest.ErrReader(broken)), int64(len(data))}
			}
			if !yield(d, o) {
				return
			}
		}
	}
	reports := 0
	err := cas.PutMany(t.Context(), s, source, parallel, func(d cas.Digest, err error) error {
		reports++
		var mismatch *cas.MismatchError
		switch i := index[d]; {
		case i%3 == 0 && err != nil,
			i%3 == 1 && (!errors.As(err, &mismatch) || mismatch.Want != d),
			i%3 == 2 && !errors.Is(err, broken):
			t.Errorf("object %d: %v", i, err)
		}
		return nil
	})
	if err != nil || reports != len(ds) {
		t.Fatalf("PutMany: %d of %d reported, %v", reports, len(ds), err)
	}
	for i, d := range ds {
		if i%3 == 0 {
			expect(t, s, d, Bytes(lengths[i%len(lengths)]+i, 20))
		} else {
			expectAbsent(t, s, d)
		}
	}
}

func batchEnds(t *testing.T, s cas.Store) {
	data, order := mixture()
	enough := errors.New("enough")
	yielded := 0
	endless := func(yield func(cas.Digest, cas.Object) bool) {
		for yield(order[yielded%len(order)], cas.NewObject(data[order[yielded%len(order)]])) {
			yielded++
		}
	}
	if err := cas.PutMany(t.Context(), s, endless, parallel, func(cas.Digest, error) error { return enough }); err != enough {
		t.Errorf("PutMany: %v", err)
	}
	if err := cas.PutMany(t.Context(), s, objects(data, order), parallel, func(_ cas.Digest, err error) error { return err }); err != nil {
		t.Fatalf("PutMany: %v", err)
	}
	visits := 0
	err := cas.GetMany(t.Context(), s, order, parallel, func(_ cas.Digest, _ cas.Object, err error) error {
		visits++
		if visits == 101 {
			return enough
		}
		return err
	})
	if err != enough || visits != 101 {
		t.Errorf("GetMany: %v after %d visits", err, visits)
	}
}

func addMany(t *testing.T, s cas.Store) {
	adder, ok := s.(cas.Adder)
	if !ok {
		return // a rarer power, which this store does not claim
	}
	data, order := mixture()
	broken := errors.New("source broke")
	err := cas.AddMany(t.Context(), adder, func(a cas.Adder) error {
		var adding errgroup.Group
		adding.SetLimit(parallel)
		for i, d := range append(order, order[:100]...) {
			adding.Go(func() error {
				got, size, err := a.Add(t.Context(), bytes.NewReader(data[d]))
				if err != nil || got != d || size != int64(len(data[d])) {
					return fmt.Errorf("adding %d bytes: %s, %d, %w", len(data[d]), got, size, err)
				}
				if i%20 == 0 {
					r := io.MultiReader(bytes.NewReader(Bytes(i*100, 31)), iotest.ErrReader(broken))
					if _, _, err := a.Add(t.Context(), r); !errors.Is(err, broken) {
						return fmt.Errorf("adding returned %w, want the reader's error", err)
					}
				}
				return nil
			})
		}
		return adding.Wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range order {
		expect(t, s, d, data[d])
	}
	expectAbsent(t, s, cas.Sum(Bytes(2000, 31)))
	if err := cas.AddMany(t.Context(), adder, func(cas.Adder) error { return broken }); err != broken {
		t.Errorf("AddMany: %v, want what the function returned", err)
	}
}
