package worktree

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// isTemp recognises what a killed checkout has left behind.
func isTemp(it *item) bool {
	rest, ok := strings.CutPrefix(string(it.name), ".fstree-")
	if !ok || len(rest) < 12 || rest[10] != '-' || it.stat.isDir() {
		return false
	}
	return strings.Trim(rest[:10], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" && strings.Trim(rest[11:], "0123456789") == ""
}

// drop removes an entry of p that the tree does not have, unless it shall stay.
func (c *checkout) drop(p *place, it *item) error {
	if c.opt.NoDelete && !isTemp(it) {
		return nil
	}
	r := remover{c: c, rules: true}
	path := join(p.path, it.name)
	if !isTemp(it) {
		rules, err := c.ignore()
		if err != nil {
			return err
		}
		if rules.Ignored(path, it.stat.isDir()) {
			return nil
		}
	}
	if !c.opt.DryRun {
		if err := c.allow(p); err != nil {
			return err
		}
	}
	_, err := r.remove(p.fd, it, path, p.known)
	return err
}

// clearWay removes a directory that stands where the tree has something else,
// whatever it holds.
func (c *checkout) clearWay(p *place, it *item) error {
	path := join(p.path, it.name)
	if c.opt.NoDelete {
		if c.opt.DryRun {
			return nil
		}
		if err := unix.Unlinkat(p.fd, string(it.name), unix.AT_REMOVEDIR); err != nil {
			return fmt.Errorf("a directory is in the way and nothing shall be deleted: %w", err)
		}
		return nil
	}
	r := remover{c: c}
	kept, err := r.empty(p.fd, it, path, r.below(it, p.known))
	if err == nil && kept {
		return fmt.Errorf("a directory is in the way that holds %s or the index", private)
	}
	if err != nil || c.opt.DryRun {
		return err
	}
	return unix.Unlinkat(p.fd, string(it.name), unix.AT_REMOVEDIR)
}

// remover removes entries and all below.
type remover struct {
	c     *checkout
	rules bool // what the ignore file matches stays
}

// remove removes the entry it of the open directory dir, and tells whether
// something of it had to stay. known is what the index knows of dir.
func (r *remover) remove(dir int, it *item, path string, known block) (kept bool, err error) {
	if err := r.c.ctx.Err(); err != nil {
		return false, err
	}
	flags := 0
	if it.stat.isDir() {
		if kept, err = r.empty(dir, it, path, r.below(it, known)); kept || err != nil {
			return kept, err
		}
		flags = unix.AT_REMOVEDIR
	}
	if r.c.opt.DryRun {
		r.c.would(path, Remove, !it.changed)
		return false, nil
	}
	if err := unix.Unlinkat(dir, string(it.name), flags); err != nil && err != unix.ENOENT {
		return false, &EntryError{path, err}
	}
	r.c.did(path, Remove, 0)
	return false, nil
}

// below returns what the index knows of the directory it.
func (r *remover) below(it *item, known block) block {
	if it.place < 0 || it.changed {
		return nil
	}
	return r.c.index.child(known.at(it.place))
}

// empty removes what is in the directory it.
func (r *remover) empty(dir int, it *item, path string, known block) (kept bool, err error) {
	fd, mode, err := r.open(dir, string(it.name))
	if err != nil {
		return false, &EntryError{path, err}
	}
	defer unix.Close(fd)
	found, kept, err := r.c.survey(&place{fd: fd, path: path, known: known})
	if err != nil {
		return false, err
	}
	for i := range found {
		child := join(path, found[i].name)
		if r.rules && r.stays(child, &found[i]) {
			kept = true
			continue
		}
		stayed, err := r.remove(fd, &found[i], child, known)
		if err != nil {
			return false, err
		}
		kept = kept || stayed
	}
	if kept && !r.c.opt.DryRun && mode&0o700 != 0o700 {
		return true, unix.Fchmod(fd, uint32(mode)&0o7777)
	}
	return kept, nil
}

func (r *remover) stays(path string, it *item) bool {
	rules, err := r.c.ignore()
	return err == nil && rules.Match(path, it.stat.isDir())
}

// open opens a directory so that its entries can be removed, and returns the
// mode that it had.
func (r *remover) open(dir int, name string) (fd int, mode uint16, err error) {
	st, err := statAt(dir, append([]byte(name), 0))
	if err != nil {
		return -1, 0, err
	}
	if st.kind() != tree.Dir {
		return -1, 0, errNoLongerFile
	}
	if st.mode&0o700 != 0o700 && !r.c.opt.DryRun {
		if err := chmodAt(dir, name, uint32(st.mode)&0o7777|0o700); err != nil {
			return -1, 0, err
		}
	}
	fd, err = openDir(dir, name)
	return fd, st.mode, err
}
