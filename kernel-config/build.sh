#!/bin/bash
# build.sh [--lock FILE [--locked]] - builds the guest kernel, or finds it in the cache.
#
# Source: the Debian package named in the file "version", fetched with apt (which checks
# the archive's signature) and unpacked in a work directory; nothing is installed and no
# root is needed. Configuration: allnoconfig plus fragments/*.config.
#
# The output directory holds vmlinux (stripped), config and lock (versions and digests).
# Its path is the last line on stdout. --lock takes the version that FILE (an older lock)
# names; when the archive no longer has it, the newest is taken with a warning, or with
# --locked the build stops.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/cache.sh
. "$here/../scripts/cache.sh"

say() { echo "kernel: $*" >&2; }
die() { say "$*"; exit 1; }
usage() { echo "usage: ${0##*/} [--lock FILE [--locked]]" >&2; exit 2; }

# field FILE NAME -> the rest of the line that starts with NAME
field() { sed -n "s/^$2 //p" "$1"; }

sha256_of() { sha256sum <"$1" | cut -d' ' -f1; }

lock_file='' locked=no
while [ $# -gt 0 ]; do
	case $1 in
	--lock) [ $# -ge 2 ] || usage; lock_file=$(realpath "$2"); shift ;;
	--locked) locked=yes ;;
	*) usage ;;
	esac
	shift
done
[ "$locked" = no ] || [ -n "$lock_file" ] || usage
[ -z "$lock_file" ] || [ -r "$lock_file" ] || die "cannot read $lock_file"

package=$(field "$here/version" package)
suite=$(field "$here/version" suite)
minimum=$(field "$here/version" minimum)

check_tools() {
	local tool missing=''
	for tool in "gcc gcc" "make make" "flex flex" "bison bison" "bc bc" "xz xz-utils" \
		"dpkg-deb dpkg" "objcopy binutils" "perl perl"; do
		command -v "${tool% *}" >/dev/null || missing+=" ${tool#* }"
	done
	[ -e /usr/include/gelf.h ] || missing+=' libelf-dev'
	[ -z "$missing" ] || die "packages are missing: apt-get install$missing"
}

# versions_in_archive -> what the suite and its updates offer, newest first
versions_in_archive() {
	apt-cache madison "$package" |
		awk -F ' *[|] *' -v s="$suite" '$3 ~ " " s "(-security|-updates)?/main " { print $2 }' |
		sort -Vru
}

# choose_version -> the version to build; reasons on stderr
choose_version() {
	local versions wanted newest
	versions=$(versions_in_archive)
	newest=$(head -n1 <<<"$versions")
	if [ -n "$lock_file" ]; then
		wanted=$(field "$lock_file" version)
		if grep -qxF -- "$wanted" <<<"$versions"; then
			echo "$wanted"
			return
		fi
		[ "$locked" = no ] || die "version $wanted of $package is not in the archive"
		say "warning: version $wanted of $package is not in the archive, taking the newest"
	fi
	if [ -z "$newest" ]; then
		newest=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null) ||
			die "apt knows no $package in suite $suite (is apt-get update needed?)"
	fi
	dpkg --compare-versions "$newest" ge "$minimum" ||
		die "$package is at $newest, at least $minimum is needed (is apt-get update needed?)"
	echo "$newest"
}

# fetch_source VERSION -> path of the source tarball, kept in the cache
fetch_source() {
	local version=$1 dir work
	if [ "$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null)" = "$version" ] &&
		[ -r "/usr/src/$package.tar.xz" ]; then
		echo "/usr/src/$package.tar.xz"
		return
	fi
	dir=$(cache_dir "$package" "$version")
	if [ ! -d "$dir" ]; then
		work=$(cache_begin "$package" "$version")
		say "fetching $package $version"
		(cd "$work" && apt-get -o APT::Get::AllowUnauthenticated=false \
			-o APT::Sandbox::User=root -qq download "$package=$version" >&2) ||
			die "apt cannot get $package $version"
		dpkg-deb -x "$work"/*.deb "$work/root"
		mv "$work/root/usr/src/$package.tar.xz" "$work/source.tar.xz"
		rm -r "$work/root"
		rm "$work"/*.deb
		cache_commit "$package" "$version"
	fi
	echo "$dir/source.tar.xz"
}

# run_make ARGS: the kernel's make with nothing of the caller's environment, so that the
# same input gives the same bytes, also below another make.
run_make() {
	env -i PATH="$PATH" HOME="$HOME" LC_ALL=C LOCALVERSION= \
		KBUILD_BUILD_USER=kiln KBUILD_BUILD_HOST=kiln KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_TIMESTAMP="$build_date" \
		make -s -C "$work/src" ARCH=x86_64 "$@" >&2
}

fragments=("$here"/fragments/*.config)
digest=$(cache_digest "${fragments[@]}" "$here/version" "$here/build.sh" \
	"@$(gcc --version 2>/dev/null | head -n1)" ${lock_file:+"$lock_file"} "@$locked")
out=$(cache_dir kernel "$digest")
if [ -d "$out" ]; then
	say "$(field "$out/lock" release), nothing to build"
	echo "$out"
	exit 0
fi
cache_lock kernel
if [ -d "$out" ]; then
	echo "$out"
	exit 0
fi

check_tools
started=$SECONDS
version=$(choose_version)
tarball=$(fetch_source "$version")
tarball_sha256=$(sha256_of "$tarball")
if [ "$locked" = yes ] && [ "$tarball_sha256" != "$(field "$lock_file" source-sha256)" ]; then
	die "the source tarball of $version is not the one $lock_file names"
fi

# The unpacked source is 1.5 GB: none is left behind, by this build or by a killed one.
rm -rf "$KILN_CACHE"/kernel/*.tmp
work=$(cache_begin kernel "$digest")
trap 'rm -rf "$work"' EXIT
say "unpacking $package $version"
mkdir "$work/src"
tar -xf "$tarball" -C "$work/src" --strip-components=1
build_date=$(date -u -d "@$(stat -c %Y "$work/src/Makefile")")

cat "${fragments[@]}" >"$work/asked"
run_make KCONFIG_ALLCONFIG="$work/asked" allnoconfig
"$here/check-config.sh" "$work/src" "${fragments[@]}" ||
	die "the configuration is not what the fragments ask for (see above)"

release=$(run_make kernelrelease 2>&1)
say "compiling $release with $(nproc) jobs (about 7 minutes on 2 idle cores)"
run_make -j"$(nproc)" vmlinux

objcopy --strip-all "$work/src/vmlinux" "$work/vmlinux"
cp "$work/src/.config" "$work/config"
{
	echo "package $package"
	echo "version $version"
	echo "release $release"
	echo "source-sha256 $tarball_sha256"
	echo "config-sha256 $(sha256_of "$work/config")"
	echo "vmlinux-sha256 $(sha256_of "$work/vmlinux")"
	echo "compiler $(gcc --version | head -n1)"
} >"$work/lock"
rm -rf "$work/src" "$work/asked"
cache_commit kernel "$digest"
say "$release built in $((SECONDS - started)) s"
echo "$out"
