package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
)

func TestDamageInARunHarmsNoOther(t *testing.T) {
	owner := openOwner(t, t.TempDir())
	for _, s := range []*Store{owner, openClient(t, owner.dir)} {
		addMany(t, s, 300, 1)
		ds := make([]cas.Digest, 300)
		for i := range ds {
			ds[i] = cas.Sum(nth(i, 1))
		}
		damaged := ds[77]
		e, err := s.lookupOne(t.Context(), damaged)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(fileOf(t, s, damaged), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("x"), int64(e.place.offset)+packHeader); err != nil {
			t.Fatal(err)
		}
		f.Close()
		seen := 0
		err = s.GetMany(t.Context(), ds, func(d cas.Digest, o cas.Object, err error) error {
			if d == damaged {
				if !errors.Is(err, cas.ErrNotFound) {
					t.Errorf("the damaged one: %v", err)
				}
				return nil
			}
			if err != nil {
				return err
			}
			seen++
			data, err := io.ReadAll(o)
			if !d.Names(data) {
				t.Errorf("wrong bytes for %s", d)
			}
			return err
		})
		if err != nil || seen != 299 {
			t.Errorf("%d others, %v", seen, err)
		}
	}
}

func TestObjectThatMovesBetweenAnswerAndUseIsFound(t *testing.T) {
	s := openOwner(t, t.TempDir())
	addMany(t, s, 300, 1)
	ds := []cas.Digest{cas.Sum(nth(0, 1)), cas.Sum(nth(299, 1))}
	pack := fileOf(t, s, ds[0])
	moved := false
	err := s.GetMany(t.Context(), ds, func(d cas.Digest, _ cas.Object, err error) error {
		if moved || err != nil {
			return err
		}
		moved = true
		if err := os.Remove(pack); err != nil {
			return err
		}
		return s.Put(context.Background(), ds[1], bytes.NewReader(nth(299, 1)))
	})
	if err != nil || !moved {
		t.Errorf("got %v", err)
	}
}

func TestGetManyEndsWithItsContext(t *testing.T) {
	s := openOwner(t, t.TempDir())
	addMany(t, s, 300, 1)
	addMany(t, s, 300, 2)
	ctx, cancel := context.WithCancel(t.Context())
	visits := 0
	err := s.GetMany(ctx, []cas.Digest{cas.Sum(nth(0, 1)), cas.Sum(nth(0, 2))}, func(cas.Digest, cas.Object, error) error {
		visits++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || visits != 1 {
		t.Errorf("%v after %d visits", err, visits)
	}
}
