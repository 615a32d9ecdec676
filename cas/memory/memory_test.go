package memory_test

import (
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
)

func TestSlices(t *testing.T) {
	castest.RunSlicer(t, func(*testing.T) castest.SlicingStore { return &memory.Store{} })
}

func TestPartials(t *testing.T) {
	castest.RunPartials(t, func(*testing.T) castest.PartialStore { return &memory.Store{} })
}

func TestStore(t *testing.T) {
	castest.Run(t, func(*testing.T) cas.Store { return &memory.Store{} })
}
