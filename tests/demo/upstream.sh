#!/usr/bin/env bash
# upstream.sh - the small upstream C project that the demo builds: figlet, as Debian ships its source.
#
# Prints the directory of the unpacked source as the last line of stdout. The download is verified
# by apt's own signature check and kept in the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../scripts/cache.sh
. "$here/../../scripts/cache.sh"
# shellcheck source=../../guest-agent/deps/fetch.sh
. "$here/../../guest-agent/deps/fetch.sh"

KIND=demo-source
export LOCKED=
say() { printf '%s: %s\n' "$KIND" "$*" >&2; }
die() { say "error: $*"; exit 1; }

digest=$(cache_digest "${BASH_SOURCE[0]}" "$here/../../guest-agent/deps/fetch.sh")
out=$(cache_dir "$KIND" "$digest")
cache_lock "$KIND"
if [ ! -d "$out" ]; then
	work=$(cache_begin "$KIND" "$digest")
	FETCH_APT=$(mktemp -d)
	trap 'rm -rf "$FETCH_APT"' EXIT
	mkdir -p "$FETCH_SRC"
	fetch_source figlet bookworm 2.2.5 3 '' "$work" "$work/lock"
	# As upstream made it: without Debian's packaging and patches.
	rm -rf "$work/figlet"
	mkdir "$work/figlet"
	tar -xf "$FETCH_SRC"/figlet_2.2.5.orig.tar.* --strip-components=1 -C "$work/figlet"
	cache_commit "$KIND" "$digest"
fi
printf '%s\n' "$out/figlet"
