#!/bin/bash
# boot-test.sh VMLINUX [OPTION...] - boots the kernel under QEMU's microvm machine (TCG).
#
# Makes the guests and disks of the test in a temporary folder, then hands over to
# boot_test.py, which says what is tried; OPTIONs go to it (--runs N, --append WORDS…).
# Exit 0 when every case passed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "usage: ${0##*/} VMLINUX [OPTION...]" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$here/probe/build.sh" "$folder" >/dev/null
"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Werror -static -s \
	-o "$folder/features" "$here/probe/features.c"
python3 "$here/mkcpio.py" "$folder/features.cpio" \
	--dir /dev --node /dev/console:c:5:1:0600 --file "/init=$folder/features:0755"

mkdir "$folder/image"
echo "hello from erofs" >"$folder/image/greeting"
mkfs.erofs -zlz4hc --quiet "$folder/image.erofs" "$folder/image" >/dev/null
truncate -s 64M "$folder/scratch.ext4"
mke2fs -q -t ext4 "$folder/scratch.ext4"

# An emulated guest must be told the frequency of this machine's counter (tsc_khz.c).
"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Werror -o "$folder/tsc_khz" "$here/probe/tsc_khz.c"
tsc_khz=$("$folder/tsc_khz")

vsock=$("$here/../scripts/vhost-device-vsock.sh")
python3 "$here/boot_test.py" "$@" --tsc-khz "$tsc_khz" --vsock "$vsock/vhost-device-vsock" \
	--probe "$folder/probe.cpio" --features "$folder/features.cpio" \
	--disk "$folder/image.erofs" --disk "$folder/scratch.ext4"
