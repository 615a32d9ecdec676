# make quickstart   see the main job on this machine
# make test         everything that decides whether a change lands
# make install      the program, and what mount(8) and fstab need
# The other targets are parts of these.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
PREFIX  ?= /usr/local
SBINDIR ?= /sbin
LDFLAGS  = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 20s

# The tests create very many files: in memory, where there is room for them.
SCRATCH := $(if $(wildcard /dev/shm/.),/dev/shm,$(or $(TMPDIR),/tmp))

.PHONY: all build install quickstart test setup lint generate unit stories fuzz bench-worktree bench-transfer bench-mount bench-store clean

all: build

# build makes one static binary, which runs wherever the kernel does.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/fstree ./cmd/fstree

# install links the program to where mount(8) looks for helpers.
install: build
	install -D -m 0755 bin/fstree $(DESTDIR)$(PREFIX)/bin/fstree
	install -d $(DESTDIR)$(SBINDIR)
	ln -sf $(PREFIX)/bin/fstree $(DESTDIR)$(SBINDIR)/mount.fstree
	ln -sf $(PREFIX)/bin/fstree $(DESTDIR)$(SBINDIR)/mount.fuse.fstree

quickstart:
	scripts/setup.sh run
	$(MAKE) --no-print-directory build
	scripts/quickstart.sh

test: setup lint unit stories fuzz

setup:
	scripts/setup.sh test

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) run ./scripts/genproto -check

# generate writes the protobuf code anew; lint proves that it is fresh.
generate:
	$(GO) run ./scripts/genproto

unit:
	TMPDIR=$(SCRATCH) $(GO) test -race $$($(GO) list ./... | grep -v /e2e)

# stories drive the binary as a user does: as root and as an ordinary user.
stories: build
	$(GO) test -count=1 ./e2e

# fuzz runs every fuzz target for FUZZTIME.
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# bench-worktree measures write-tree and checkout against git, cp and bare walks.
bench-worktree: build
	$(GO) run ./scripts/bench-worktree $(BENCHFLAGS)

# bench-transfer measures push and pull against rsync, near and far.
bench-transfer: build
	scripts/setup.sh bench
	$(GO) run ./scripts/bench-transfer $(BENCHFLAGS)

# bench-mount measures mounts against a native directory, cold and warm. It
# needs root and /dev/fuse.
bench-mount: build
	$(GO) run ./scripts/bench-mount $(BENCHFLAGS)

# bench-store measures the local store against a file for each object.
bench-store:
	$(GO) run ./scripts/bench-store $(BENCHFLAGS)

clean:
	rm -rf bin dist
