# shellcheck shell=bash
# cache.sh - where costly outputs (kernel, static libraries, images) are kept.
#
# Sourced by the build scripts. An output is a directory named by the digest of
# everything that went into it, below $KILN_CACHE, outside the source tree, so
# that every clone on a machine shares it and nothing is rebuilt that has not
# changed. An output is made in a temporary directory and renamed when whole:
# a killed build leaves no half output that a later one would trust.

KILN_CACHE=${KILN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln}

# cache_digest FILE-OR-@STRING... -> 16 hex digits over names and contents
cache_digest() {
	local a
	for a in "$@"; do
		case $a in
		@*) printf 'string %s\n' "$a" ;;
		*) printf 'file %s ' "${a##*/}"; sha256sum <"$a" ;;
		esac
	done | sha256sum | cut -c1-16
}

# cache_dir KIND DIGEST -> the directory of a finished output (may not exist)
cache_dir() { printf '%s/%s/%s\n' "$KILN_CACHE" "$1" "$2"; }

# cache_lock KIND: one builder of a kind at a time; held until the shell exits.
cache_lock() {
	mkdir -p "$KILN_CACHE"
	exec 9>"$KILN_CACHE/$1.lock"
	if ! flock -n 9; then
		echo "waiting for another build of $1 to finish" >&2
		flock 9
	fi
}

# cache_begin KIND DIGEST -> an empty work directory on the same filesystem;
# what an interrupted build left under that name is removed first.
cache_begin() {
	local d
	d=$(cache_dir "$1" "$2").tmp
	rm -rf "$d"
	mkdir -p "$d"
	printf '%s\n' "$d"
}

# cache_commit KIND DIGEST: publish what was made in the work directory.
cache_commit() {
	local d
	d=$(cache_dir "$1" "$2")
	rm -rf "$d"
	mv "$d.tmp" "$d"
}
