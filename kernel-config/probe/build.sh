#!/bin/bash
# build.sh OUT_DIR - builds the probe guest: OUT_DIR/probe and OUT_DIR/probe.cpio.
# Takes milliseconds, so nothing is cached. The last line on stdout is OUT_DIR.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: ${0##*/} OUT_DIR" >&2; exit 2; }
out=$1
mkdir -p "$out"

"${CC:-gcc}" -std=gnu11 -Wall -Wextra -Werror -Os -ffreestanding -fno-stack-protector \
	-fno-asynchronous-unwind-tables -static -nostdlib -no-pie -s \
	-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack \
	-o "$out/probe" "$here/probe.c"
python3 "$here/../mkcpio.py" "$out/probe.cpio" \
	--dir /dev --node /dev/console:c:5:1:0600 --file "/init=$out/probe:0755"
echo "$out"
