#!/usr/bin/env bash
# Installs what a Debian-like machine lacks for the given job, and says so.
#   scripts/setup.sh run     what fstree needs to mount
#   scripts/setup.sh test    what the tests need as well
#   scripts/setup.sh bench   what the benchmarks measure against
set -euo pipefail

declare -A package=([fusermount3]=fuse3 [git]=git [openssl]=openssl [curl]=curl [nginx]=nginx [unshare]=util-linux [setpriv]=util-linux [gcc]=gcc [rsync]=rsync)
needed=(fusermount3)
[ "${1:-run}" = test ] && needed+=(git curl openssl nginx unshare setpriv gcc)
[ "${1:-run}" = bench ] && needed+=(git rsync)

PATH=$PATH:/usr/sbin:/sbin
missing=()
for tool in "${needed[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done

if ! command -v go >/dev/null; then
  echo "setup: Go is missing: install it (https://go.dev/doc/install) and try again" >&2
  exit 1
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup: please install: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: sudo may ask for your password, to install: ${missing[*]}" >&2
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq >&2
# Nothing that is installed here shall start a service.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
