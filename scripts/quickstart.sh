#!/usr/bin/env bash
# The main job in half a minute: a tree is pushed to a server, and its digest
# mounted as a directory whose files arrive when they are read.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/fstree-quickstart.XXXXXX")
server=

cleanup() {
  fstree umount "$work/mnt" 2>/dev/null || true
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
  rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "${*//$work/\$WORK}" >&2; }
run() { show "$@"; "$@"; }

if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
  echo "quickstart: /dev/fuse is missing or closed to you: load the fuse module, or run this as root" >&2
  exit 1
fi

say "A throw-away server on loopback"
fstree serve --path "$work/server" --listen-grpc 127.0.0.1:0 --listen-http 127.0.0.1:0 2>"$work/server.log" &
server=$!
for _ in $(seq 100); do
  address=$(sed -n 's|.*grpc://\([^ ]*\).*|\1|p' "$work/server.log")
  [ -n "$address" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
  sleep 0.1
done
export FSTREE_REMOTE=jolt://$address
echo "$FSTREE_REMOTE"

say "This repository becomes a tree of objects, and goes to the server"
tree=$(run fstree write-tree-push . --cache "$work/here" --index "$work/index")
echo "$tree"

say "Elsewhere, with an empty cache: the digest is a directory at once"
mkdir "$work/mnt"
run fstree mount "$tree" "$work/mnt" --cache "$work/elsewhere"
run ls "$work/mnt"
run head -n 4 "$work/mnt/README.md"
files=$(find "$work/mnt" -type f | wc -l)
run cmp README.md "$work/mnt/README.md"

say "How little was fetched"
run fstree umount "$work/mnt"
log=$(ls "$work"/elsewhere/log/*.log)
for _ in $(seq 50); do grep -q unmounted "$log" && break; sleep 0.1; done
fetched=$(sed -n 's/.*fetched_objects=\([0-9]*\) fetched_bytes=\([0-9]*\).*/\1 objects, \2 bytes/p' "$log")
echo "the tree has $files files, $(du -sb --exclude=.git --exclude=bin . | cut -f1) bytes; fetched were $fetched (directories, and the one file that was read)"

say "Done. Next: bin/fstree --help, or the README"
