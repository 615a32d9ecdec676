package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/remote"
)

type verifyCommand struct {
	Tree   string `arg:"" optional:"" help:"Check this tree and all below it; default is everything in the cache."`
	Repair bool   `help:"Set damaged objects aside and fetch them again, of a tree also what is missing."`
}

// Run reads and checks objects, and names the damaged ones.
func (c *verifyCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		v := verifier{app: a, cache: cache}
		if c.Tree == "" {
			return v.everything(ctx, c.Repair)
		}
		return v.tree(ctx, treeArg{c.Tree}, c.Repair)
	})
}

type verifier struct {
	*app
	cache   *disk.Store
	damaged []cas.Digest
}

// note is told of a damaged object.
func (v *verifier) note(d cas.Digest, err error) {
	v.damaged = append(v.damaged, d)
	v.emit(event{Type: "verify::damaged", Path: d.String(), Message: err.Error()})
	if v.JSON {
		return
	}
	message := oneLine(err.Error())
	if !strings.Contains(message, d.String()) {
		message = fmt.Sprintf("object %s: %s", d, message)
	}
	fmt.Fprintln(v.stdout, message)
}

func (v *verifier) everything(ctx context.Context, repair bool) error {
	verified, err := v.cache.Verify(ctx, v.note)
	if err != nil {
		return err
	}
	if verified.Dropped > 0 {
		v.warn(fmt.Sprintf("dropped %d damaged parts of partial objects; who reads them fetches them again", verified.Dropped))
	}
	if !repair {
		return v.verdict(verified, "add --repair to set them aside and fetch them again")
	}
	if err := v.setAside(ctx); err != nil {
		return err
	}
	fetched, err := v.fetch(ctx)
	if err != nil {
		v.warn("what was damaged could not be fetched again: " + err.Error())
	}
	_, err = fmt.Fprintf(v.stdout, "verified %d objects, %s; fetched %d again, dropped %d\n",
		verified.Objects, humanize.IBytes(uint64(verified.Bytes)), fetched, len(v.damaged)-fetched)
	return err
}

// setAside drops what is damaged.
func (v *verifier) setAside(ctx context.Context) error {
	for _, d := range v.damaged {
		if err := v.cache.SetAside(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets what was set aside from the remote, as far as it is there.
func (v *verifier) fetch(ctx context.Context) (fetched int, err error) {
	if len(v.damaged) == 0 {
		return 0, nil
	}
	err = v.withRemote(func(far remote.Store) error {
		return cas.GetMany(ctx, far, v.damaged, parallelTransfers, func(d cas.Digest, o cas.Object, err error) error {
			if err == nil {
				err = v.cache.Put(ctx, d, o)
			}
			if err == nil {
				fetched++
			}
			if errors.Is(err, cas.ErrNotFound) {
				return nil
			}
			return err
		})
	})
	return fetched, err
}

func (v *verifier) tree(ctx context.Context, t treeArg, repair bool) error {
	if repair {
		return v.repairTree(ctx, t)
	}
	root, err := t.resolve(ctx, v.cache)
	if err != nil {
		return incomplete(err, t.Tree)
	}
	verified, err := v.closure(ctx, root)
	if err != nil {
		return err
	}
	return v.verdict(verified, "add --repair to fetch them again")
}

// repairTree pulls twice: what is missing, so that everything can be checked,
// and then what the check has set aside.
func (v *verifier) repairTree(ctx context.Context, t treeArg) error {
	root, err := v.pull(ctx, v.cache, &t, cas.Digest{})
	if err != nil {
		return err
	}
	verified, err := v.closure(ctx, root)
	if err != nil {
		return err
	}
	if err := v.setAside(ctx); err != nil {
		return err
	}
	if len(v.damaged) > 0 {
		if _, err := v.pull(ctx, v.cache, &t, cas.Digest{}); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(v.stdout, "verified %d objects, %s; fetched %d again\n",
		verified.Objects, humanize.IBytes(uint64(verified.Bytes)), len(v.damaged))
	return err
}

// closure checks a tree and all below it. What is below a tree that can't be
// read is not known, and not checked.
func (v *verifier) closure(ctx context.Context, root cas.Digest) (disk.Verified, error) {
	wanted := map[cas.Digest]struct{}{}
	err := tree.Walk(ctx, v.cache, []cas.Digest{root}, parallelTransfers, func(d cas.Digest, t *tree.Tree, err error) error {
		wanted[d] = struct{}{}
		if err != nil {
			return nil // VerifyObjects tells
		}
		for e := range t.All() {
			if e.Type == tree.File {
				wanted[e.Digest] = struct{}{}
			}
		}
		return nil
	})
	if err != nil {
		return disk.Verified{}, err
	}
	return v.cache.VerifyObjects(ctx, slices.Collect(maps.Keys(wanted)), v.note)
}

// verdict is an error if anything is damaged.
func (v *verifier) verdict(verified disk.Verified, advice string) error {
	if n := len(v.damaged); n > 0 {
		return hint(fmt.Errorf("damaged or missing objects: %d of %d", n, verified.Objects), "%s", advice)
	}
	_, err := fmt.Fprintf(v.stdout, "verified %d objects, %s\n", verified.Objects, humanize.IBytes(uint64(verified.Bytes)))
	return err
}
