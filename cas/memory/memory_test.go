package memory_test

import (
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
)

func TestStore(t *testing.T) {
	castest.Run(t, func(*testing.T) cas.Store { return &memory.Store{} })
}
