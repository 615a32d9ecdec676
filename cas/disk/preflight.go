package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// preflight looks at the tables of the index before Badger does. Badger opens
// and compacts them in goroutines where a damaged one ends the process, and
// takes objects in a damaged block for absent. A thorough look reads all of
// them, some 80 bytes for an object.
func preflight(opt badger.Options, thorough bool) error {
	f, err := os.Open(filepath.Join(opt.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	if err != nil {
		return err
	}
	mode := options.NoVerification
	if thorough {
		mode = options.OnTableRead
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, opt.Dir), mode); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(path string, mode options.ChecksumVerificationMode) error {
	return guard(func() error {
		f, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		_, err = table.OpenTable(f, table.Options{ChkMode: mode})
		return errors.Join(err, z.Munmap(f.Data), f.Fd.Close())
	})
}

// checkEvery is how often the index is looked at thoroughly, besides once after
// each start of the machine.
const checkEvery = 24 * time.Hour

func (s *Store) checkedPath() string { return s.path(runDir, "checked") }

// checkDue tells whether it is time for a thorough look.
func (s *Store) checkDue() bool {
	boot, err := os.ReadFile(s.checkedPath())
	if err != nil || string(boot) != bootID() {
		return true
	}
	info, err := os.Stat(s.checkedPath())
	return err != nil || time.Since(info.ModTime()) > checkEvery
}

func (s *Store) checked() { os.WriteFile(s.checkedPath(), []byte(bootID()), 0o600) }

// bootID names this run of the machine.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return string(id)
}
