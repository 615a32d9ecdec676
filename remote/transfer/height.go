package transfer

import "github.com/fstree/fstree/cas"

// byHeight sorts trees into layers such that a tree stands behind all trees
// that it names. Names that are no key of trees do not count. Content
// addressing rules cycles out.
func byHeight(trees map[cas.Digest][]cas.Digest) [][]cas.Digest {
	heights := make(map[cas.Digest]int, len(trees))
	var layers [][]cas.Digest
	// An explicit stack: a hostile tree may be deeper than a goroutine's stack.
	type frame struct {
		tree cas.Digest
		next int
	}
	for start := range trees {
		if _, done := heights[start]; done {
			continue
		}
		stack := []frame{{tree: start}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			children := trees[top.tree]
			if top.next < len(children) {
				child := children[top.next]
				top.next++
				_, done := heights[child]
				if _, counts := trees[child]; counts && !done {
					stack = append(stack, frame{tree: child})
				}
				continue
			}
			height := 0
			for _, child := range children {
				if h, counts := heights[child]; counts {
					height = max(height, h+1)
				}
			}
			heights[top.tree] = height
			for len(layers) <= height {
				layers = append(layers, nil)
			}
			layers[height] = append(layers[height], top.tree)
			stack = stack[:len(stack)-1]
		}
	}
	return layers
}
