#!/bin/bash
# vhost-device-vsock.sh - a vhost-device-vsock that this machine can run.
#
# QEMU needs this program for a VM's vsock where /dev/vhost-vsock is not usable.
# Debian 12 has no package of it; Debian sid has. The one in PATH is taken when it
# is new enough; else this one package comes out of sid through an apt of its own:
# own source list, own state, own cache, the system's archive keys. Nothing is
# installed, sid is not added to the system, root is not needed.
#
# The last line on stdout is the directory that holds the program.
set -euo pipefail

# Older ones corrupt data when their ring buffer wraps.
min_version=0.3.0
suite=sid
name=vhost-device-vsock
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/cache.sh
. "$here/cache.sh"

die() {
	echo "$name: $*" >&2
	echo "$name: without it a VM under QEMU needs the kernel's own vsock: modprobe vhost_vsock" >&2
	exit 1
}

say() { echo "$name: $*" >&2; }

# at_least WANTED HAVE
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# version_of PROGRAM -> 0.3.0 (nothing when it does not run)
version_of() { "$1" --version 2>/dev/null | sed -n 's/^[^ ]* \([0-9][0-9.]*\).*/\1/p'; }

# The archive this machine takes Debian itself from, by its own apt configuration.
# What apt has seen a signed Release file of ("Origin: Debian") comes first.
debian_uri() {
	local codename filter uri targets
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt expands it
	targets='$(LABEL) $(REPO_URI)'
	for filter in 'Origin: Debian' "Release: $codename"; do
		uri=$(apt-get indextargets --no-release-info --format "$targets" \
			'Created-By: Packages' 'Component: main' "$filter" |
			grep -v '^Debian-Security' | sed -n '1s/.* //p')
		[ -z "$uri" ] || { echo "$uri"; return; }
	done
	die "apt on this machine names no Debian archive (a source with component main)"
}

# An apt that knows nothing but the suite: apt.conf in DIR for `apt-get -c`.
write_apt_conf() {
	local dir=$1 uri
	uri=$(debian_uri)
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/empty"
	echo "deb [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<EOF
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/empty";
Dir::Etc::preferences "$dir/empty/none";
Dir::Etc::preferencesparts "$dir/empty";
Dir::State "$dir/state";
Dir::State::status "/dev/null";
Dir::Cache "$dir/cache";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
EOF
	say "suite $suite of $uri"
}

# Stops with the reason when this machine cannot run PROGRAM.
check_runs() {
	local program=$1 need have missing version
	need=$(readelf -V "$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n1)
	have=$(getconf GNU_LIBC_VERSION)
	at_least "${need#GLIBC_}" "${have#glibc }" ||
		die "the package of Debian $suite needs glibc ${need#GLIBC_}, this machine has ${have#glibc }"
	missing=$(LC_ALL=C ldd "$program" | sed -n 's/^[[:space:]]*\(.*\) => not found.*/\1/p' | paste -sd' ')
	[ -z "$missing" ] || die "shared libraries are missing: $missing"
	version=$(version_of "$program")
	[ -n "$version" ] || die "$program --version does not run: $("$program" --version 2>&1 | head -n1)"
	at_least "$min_version" "$version" ||
		die "Debian $suite has version $version, at least $min_version is needed"
}

# download DIR -> the .deb in DIR/deb, checked by apt against the archive's signature
download() {
	local dir=$1
	[ -r "$keyring" ] || die "$keyring is missing: install debian-archive-keyring"
	write_apt_conf "$dir/apt"
	apt-get -c "$dir/apt/apt.conf" -qq update >&2 || die "apt cannot read suite $suite"
	mkdir -p "$dir/deb"
	(cd "$dir/deb" && apt-get -c "$dir/apt/apt.conf" -qq download "$name" >&2) ||
		die "apt cannot get $name from suite $suite"
}

in_path=$(command -v "$name" || true)
if [ -n "$in_path" ]; then
	version=$(version_of "$in_path")
	if [ -n "$version" ] && at_least "$min_version" "$version"; then
		say "version $version of this system"
		dirname "$in_path"
		exit 0
	fi
	say "$in_path is version ${version:-unknown}, at least $min_version is needed"
fi

digest=$(cache_digest "$here/${0##*/}" "@$(uname -m)")
out=$(cache_dir "$name" "$digest")
if [ ! -d "$out" ]; then
	cache_lock "$name"
fi
if [ ! -d "$out" ]; then
	work=$(cache_begin "$name" "$digest")
	download "$work"
	deb=$(echo "$work"/deb/*.deb)
	dpkg-deb -x "$deb" "$work/root"
	check_runs "$work/root/usr/bin/$name"
	mv "$work/root/usr/bin/$name" "$work/$name"
	{
		echo "package $name"
		echo "suite $suite"
		echo "version $(dpkg-deb -f "$deb" Version)"
		echo "deb-sha256 $(sha256sum <"$deb" | cut -d' ' -f1)"
		echo "program-sha256 $(sha256sum <"$work/$name" | cut -d' ' -f1)"
	} >"$work/lock"
	mv "$work/root/usr/share/doc/$name/copyright" "$work/copyright"
	rm -rf "$work/apt" "$work/deb" "$work/root"
	cache_commit "$name" "$digest"
else
	check_runs "$out/$name"
fi
say "version $(sed -n 's/^version //p' "$out/lock") of Debian $suite"
echo "$out"
