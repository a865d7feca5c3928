#!/usr/bin/env bash
# pack.sh - a root filesystem as tar on stdin, out comes an image and its JSON.
#
#   pack.sh TREE FILES FORMAT SIZE UUID OUT NAME SUITE PROFILES
#
# Run by build.sh, as root or as the root of a user namespace, so that owners
# and capabilities of files survive. Unpacks into TREE (removed at the end),
# takes out what depends on when and where it was made, copies the files of the
# profiles (FILES: lines "mode source path"), writes OUT/NAME.FORMAT.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$1 files=$2 format=$3 size=$4 uuid=$5 out=$6 name=$7 suite=$8 profiles=$9
label=kiln-root
image=$out/$name.$format

say() { printf 'image: %s\n' "$*" >&2; }
trap 'rm -rf "$tree"' EXIT

# /dev is the guest's own; caches, logs and package lists are made anew where they are missed
mkdir "$tree"
tar -x -C "$tree" -p --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' \
	--exclude='./var/cache/*/*' --exclude='./var/log/*.log' --exclude='./var/log/*/*' \
	--exclude='./var/lib/apt/lists/*' --exclude='./var/lib/dpkg/*-old' --exclude='./var/cache/ldconfig/*'

say "cleaning"
rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap"
rm -f "$tree"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
rm -rf "$tree"/usr/share/{man,info,locale,doc-base,lintian}/*
find "$tree/usr/share/doc" -mindepth 1 ! -type d ! -name copyright -delete
find "$tree/usr/share/doc" -mindepth 1 -type d -empty -delete
# what a mirror's address may carry is for this machine alone
find "$tree/etc/apt" -name '*.list' -exec sed -i 's|://[^/@ ]*@|://|' {} +
mkdir -p "$tree"/{workspace,proc,sys,dev,run,tmp} "$tree/var/lib/apt/lists/partial"
chmod 1777 "$tree/tmp" "$tree/var/tmp"
chmod 755 "$tree" "$tree"/{workspace,dev,run}
: >"$tree/etc/machine-id"
echo kiln >"$tree/etc/hostname"
printf '127.0.0.1 localhost kiln\n::1 localhost\n' >"$tree/etc/hosts"
rm -f "$tree/etc/resolv.conf" # may be a link to somewhere else
: >"$tree/etc/resolv.conf"
while read -r mode source path; do
	[[ -n $mode ]] || continue
	install -D -o 0 -g 0 -m "$mode" "$source" "$tree/$path"
done <"$files"
# no file is younger than the archive it came from
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

say "writing $name.$format"
case $format in
erofs)
	# uncompressed: an emulated guest reads lz4 at two thirds of the speed
	mkfs.erofs --quiet --preserve-mtime -U "$uuid" "$image" "$tree" >&2
	python3 "$here/image.py" label "$image" $label
	;;
ext4)
	truncate -s "${size:-$(($(du -sm "$tree" | cut -f1) * 5 / 4 + 64))M}" "$image"
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -m 0 -L $label -U "$uuid" \
		-E "hash_seed=$uuid,root_owner=0:0,lazy_itable_init=0" -d "$tree" "$image" >&2
	;;
squashfs)
	mksquashfs "$tree" "$image" -noappend -no-progress -quiet -comp lz4 >&2
	;;
esac
python3 "$here/image.py" describe "$image" "$tree" "$name" "$format" "$suite" "$profiles" >"$out/$name.json"
