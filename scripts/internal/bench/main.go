package bench

import (
	"flag"
	"log"
)

// Main is the main function of a benchmark: it reads the flags, runs it, and
// ends the process with its error, if there is one.
func Main(name string, run func() error) {
	log.SetFlags(0)
	log.SetPrefix(name + ": ")
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
