#!/usr/bin/env bash
# Runs every fuzz target of the module, each for so long (a minute if not said).
# A module without targets is a failure: then nothing was fuzzed.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
targets=0
while IFS=: read -r file _ line; do
  name=$(sed 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/' <<<"$line")
  package=./$(dirname "$file")
  echo "fuzz: $name in $package for $time"
  # The engine's progress is of no use to a reader; its findings are. It also
  # fails now and then because its own time is up (https://go.dev/issue/75804); a
  # finding names its input.
  if ! out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" 2>&1); then
    if grep -q 'Failing input' <<<"$out" || ! grep -q '^ *context deadline exceeded$' <<<"$out"; then
      echo "$out"
      exit 1
    fi
    out=$(grep 'execs:' <<<"$out")
  fi
  tail -n 1 <<<"$out"
  targets=$((targets + 1))
done < <(git grep -n '^func Fuzz' -- '*_test.go')
[ "$targets" -gt 0 ] || { echo "fuzz: no target found" >&2; exit 1; }
