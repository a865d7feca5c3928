#!/usr/bin/env bash
# analysers.sh: static analysers over the product's sources; one "ok"/"not ok" line each.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
inc=(-Iprotocol -Ihost/base -Ihost/config -Ihost/job -Ihost/supervisor -Ihost/daemon -Ihost/cli -Iguest-agent)
rc=0

verdict() { # NAME STATUS LOG
	if [ "$2" -eq 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		tail -n 60 "$3"
		rc=1
	fi
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability -D_GNU_SOURCE \
	--library=scripts/cppcheck-jansson.cfg --inline-suppr --suppressions-list=scripts/cppcheck.suppress "${inc[@]}" protocol host guest-agent >"$log" 2>&1
verdict cppcheck $? "$log"

status=0
: >"$log"
while read -r f; do
	extra=()
	# The analyzer loses conn->tcp, which owns the piece, in this one file: tcp_free frees it.
	[ "$f" != host/supervisor/conduit_tcp.c ] || extra=(-Wno-analyzer-malloc-leak)
	gcc -std=gnu11 -D_GNU_SOURCE -O1 -fanalyzer -Werror -Wno-analyzer-use-of-uninitialized-value "${extra[@]}" \
		-DKILN_VERSION='"0"' "${inc[@]}" -c "$f" -o /dev/null >>"$log" 2>&1 || status=1
done < <(git ls-files 'protocol/*.c' 'host/base/*.c' 'host/job/*.c' 'host/supervisor/*.c')
verdict "gcc -fanalyzer" $status "$log"
exit $rc
