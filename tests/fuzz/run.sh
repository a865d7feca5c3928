#!/bin/bash
# run.sh SECONDS|feed TARGET… - run each fuzz target on its seeds; "ok NAME" or "not ok NAME" for each.
# What breaks it is left in $B/fuzz/found/.
set -euo pipefail

how=$1
shift
B=${B:-build}
rc=0
mkdir -p "$B/fuzz/found"
for target in "$@"; do
	seeds="$B/fuzz/seeds/$target"
	log="$B/fuzz/$target.log"
	mkdir -p "$seeds"
	if [ "$how" = feed ]; then
		if find "$seeds" -type f -print0 | xargs -0 "$B/fuzz/$target" >"$log" 2>&1; then
			echo "ok $target (seeds only: there is no clang)"
			continue
		fi
	else
		new=$(mktemp -d)
		if "$B/fuzz/$target" -max_total_time="$how" -max_len=8192 -timeout=5 -rss_limit_mb=1024 \
			-print_final_stats=1 -artifact_prefix="$B/fuzz/found/$target-" "$new" "$seeds" >"$log" 2>&1; then
			runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
			rm -rf "$new"
			echo "ok $target ($runs runs)"
			continue
		fi
		rm -rf "$new"
	fi
	tail -n 40 "$log"
	echo "not ok $target"
	rc=1
done
exit "$rc"
