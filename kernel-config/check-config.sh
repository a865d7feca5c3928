#!/bin/bash
# check-config.sh SOURCE_DIR FRAGMENT... - compares SOURCE_DIR/.config with what was asked.
#
# Kconfig drops an option without a word when one of its dependencies is off, and turns
# one on that something else selects. This names every option that ended up with another
# value than its fragment gives, every name the source does not know, and every option
# that two fragments set. Exit 1 when there is one.
set -euo pipefail
export LC_ALL=C

[ $# -ge 2 ] || { echo "usage: ${0##*/} SOURCE_DIR FRAGMENT..." >&2; exit 2; }
source_dir=$1
shift

known=$(mktemp)
trap 'rm -f "$known"' EXIT
grep -rhoE --include='Kconfig*' '^[[:space:]]*(menu)?config[[:space:]]+[A-Za-z0-9_]+' "$source_dir" |
	awk '{ print "CONFIG_" $2 }' >"$known"

awk '
	FNR == 1 { input++ }
	input == 1 { known[$1] = 1; next }
	input == 2 && match($0, /^CONFIG_[A-Za-z0-9_]+=/) {
		final[substr($0, 1, RLENGTH - 1)] = substr($0, RLENGTH + 1)
	}
	input == 2 { next }
	/^[[:space:]]*(#|$)/ { next }
	!match($0, /^CONFIG_[A-Za-z0-9_]+=/) {
		print FILENAME ":" FNR ": not an option: " $0; bad = 1; next
	}
	{
		name = substr($0, 1, RLENGTH - 1)
		asked = substr($0, RLENGTH + 1)
		have = name in final ? final[name] : "n"
		where = FILENAME ":" FNR ": " name
		if (!(name in known)) { print where ": no such option in this source"; bad = 1 }
		else if (name in seen) { print where ": already set at " seen[name]; bad = 1 }
		else if (have != asked) { print where ": asked " asked ", is " have; bad = 1 }
		seen[name] = FILENAME ":" FNR
	}
	END { exit bad }
' "$known" "$source_dir/.config" "$@" >&2
