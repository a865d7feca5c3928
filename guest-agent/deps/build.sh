#!/usr/bin/env bash
# build.sh - the static libraries kiln-agent links, built with musl.
#
#   build.sh [--ssh] [--lock FILE | --update] [--locked]
#
#   --ssh        libgit2 with libssh2 (adds 0.15 MB to the agent)
#   --lock FILE  take the versions FILE names (default: those of the last build)
#   --update     take the newest versions, even where an output exists
#   --locked     a version that is gone is an error, not a warning
#
# Makes a prefix in the cache: include/, lib/, licenses/, lock (what went in,
# with digests) and agent-libs.mk (the flags to compile and link with). Its path
# is the last line of stdout. Sources come from fetch.sh; needs no root.
set -euo pipefail
export LC_ALL=C
unset MAKEFLAGS MFLAGS DESTDIR CPPFLAGS LDFLAGS # what the caller builds with is not for the libraries

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../scripts/cache.sh
. "$here/../../scripts/cache.sh"
# shellcheck source=fetch.sh
. "$here/fetch.sh"

KIND=agent-libs
SSH=
LOCK=
LOCKED=
UPDATE=

say() { printf '%s: %s\n' "$KIND" "$*" >&2; }
die() { say "error: $*"; exit 1; }
usage() { sed -n '4,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# needs COMMAND PACKAGE: stop, naming the package, when the command is missing
needs() { command -v "$1" >/dev/null || die "$1 is missing: install $2"; }

needs_all() {
	local h
	needs musl-gcc musl-tools
	needs cmake cmake
	needs ninja ninja-build
	needs make make
	needs dpkg-source dpkg-dev
	needs xz xz-utils
	needs bzip2 bzip2
	needs patch patch
	[[ -r /usr/include/xxhash.h ]] || die "xxhash.h is missing: install libxxhash-dev"
	for h in landlock vm_sockets openat2; do
		[[ -r /usr/include/linux/$h.h ]] || die "linux/$h.h is missing: install linux-libc-dev of Debian 12 or newer"
	done
}

digest() {
	local -a with=("@ssh=$SSH" "@arch=$(dpkg --print-architecture)")
	with+=("@gcc=$(gcc -dumpfullversion)" "@musl=$(dpkg-query -W -f '${Version}' musl-dev)")
	[[ -z $LOCK ]] || with+=("$LOCK")
	cache_digest "$here/build.sh" "$here/fetch.sh" "$here/sources" "$here/entropy.c" \
		"$here/mbedtls_user_config.h" /usr/include/xxhash.h "${with[@]}"
}

# build NAME: run build_NAME in its source tree, its output in a log that is shown on failure
build() {
	local name=$1 start=$SECONDS pid
	(set -e; cd "$W/src/$name"; "build_${name//-/_}") >"$W/log/$name" 2>&1 &
	pid=$!
	if ! wait "$pid"; then
		tail -n 40 "$W/log/$name" >&2
		die "$name did not build; the end of its log is above"
	fi
	say "built $name in $((SECONDS - start)) s"
}

cmake_build() {
	cmake -G Ninja -B kiln-build -S . -Wno-dev -DCMAKE_TOOLCHAIN_FILE="$W/toolchain.cmake" \
		-DCMAKE_BUILD_TYPE=None -DBUILD_SHARED_LIBS=OFF -DCMAKE_INSTALL_PREFIX="$P" \
		-DCMAKE_INSTALL_LIBDIR=lib "$@"
	ninja -C kiln-build -j "$JOBS"
	ninja -C kiln-build install
}

build_zlib() {
	CC=musl-gcc CFLAGS="${CFLAGS/-Os/-O2}" ./configure --static --prefix="$P"
	make -j "$JOBS" libz.a
	cp libz.a "$P/lib/"
	cp zlib.h zconf.h "$P/include/"
	cp zlib.pc "$P/lib/pkgconfig/"
}

build_jansson() {
	cmake_build -DJANSSON_BUILD_DOCS=OFF -DJANSSON_EXAMPLES=OFF -DJANSSON_WITHOUT_TESTS=ON
}

build_mbedtls() {
	cp "$here/mbedtls_user_config.h" include/
	make -C library -j "$JOBS" static CC=musl-gcc AR=ar \
		CFLAGS="$CFLAGS -DMBEDTLS_USER_CONFIG_FILE='<mbedtls_user_config.h>'"
	cp library/libmbed{tls,x509,crypto}.a "$P/lib/"
	cp -R include/mbedtls include/psa include/mbedtls_user_config.h "$P/include/"
	# who includes the headers must see the configuration the library was built with
	cat >>"$P/include/mbedtls/mbedtls_config.h" <<-'EOF'
		#include <mbedtls_user_config.h>
	EOF
	# shellcheck disable=SC2086
	musl-gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror $CFLAGS -c "$here/entropy.c" -o entropy.o
	ar rcsD "$P/lib/libagent-entropy.a" entropy.o
}

build_http_parser() {
	# shellcheck disable=SC2086
	musl-gcc $CFLAGS -c http_parser.c -o http_parser.o
	ar rcsD "$P/lib/libhttp_parser.a" http_parser.o
	cp http_parser.h "$P/include/"
}

# The agent writes pax tar and reads nothing but tar; the linker drops every other format.
build_libarchive() {
	local o
	local -a off=()
	for o in MBEDTLS NETTLE OPENSSL LIBB2 LZ4 LZO LZMA ZSTD BZip2 LIBXML2 EXPAT PCREPOSIX PCRE2POSIX \
		LIBGCC CNG TAR CPIO CAT UNZIP ACL ICONV TEST; do
		off+=("-DENABLE_$o=OFF")
	done
	cmake_build "${off[@]}" -DENABLE_ZLIB=ON -DENABLE_XATTR=ON -DPOSIX_REGEX_LIB=NONE
}

build_libssh2() {
	cmake_build -DCRYPTO_BACKEND=mbedTLS -DENABLE_ZLIB_COMPRESSION=OFF -DBUILD_EXAMPLES=OFF -DBUILD_TESTING=OFF
}

# CERT_LOCATION must exist when configuring and is read by git_libgit2_init(): /dev/null is neither
# file nor folder, so nothing is. The agent names the job's CA bundle at run time.
build_libgit2() {
	cmake_build -DCMAKE_C_STANDARD=99 -DCMAKE_C_EXTENSIONS=ON -DBUILD_TESTS=OFF -DBUILD_CLI=OFF \
		-DUSE_SSH="${SSH:-OFF}" -DUSE_HTTPS=mbedTLS -DUSE_SHA1=CollisionDetection -DUSE_SHA256=Builtin \
		-DUSE_HTTP_PARSER=http-parser -DREGEX_BACKEND=regcomp -DUSE_GSSAPI=OFF -DUSE_NTLMCLIENT=OFF \
		-DDEPRECATE_HARD=ON -DENABLE_REPRODUCIBLE_BUILDS=ON -DCERT_LOCATION=/dev/null
}

# An object, not an archive: it replaces musl's malloc whatever the order of libraries.
build_mimalloc() {
	# shellcheck disable=SC2086
	musl-gcc ${CFLAGS/-Os/-O2} -DNDEBUG -DMI_MALLOC_OVERRIDE -Iinclude -c src/static.c -o "$P/lib/mimalloc.o"
}

write_toolchain() {
	cat >"$W/toolchain.cmake" <<-EOF
		set(CMAKE_SYSTEM_NAME Linux)
		set(CMAKE_SYSTEM_PROCESSOR $(uname -m))
		set(CMAKE_C_COMPILER musl-gcc)
		set(CMAKE_C_FLAGS_INIT "$CFLAGS")
		set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -no-pie -L$P/lib")
		set(CMAKE_FIND_ROOT_PATH "$P")
		set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
		set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
		set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
		set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
	EOF
}

# musl-gcc looks nowhere for the kernel's headers: link them into the prefix.
link_kernel_headers() {
	local asm
	asm=/usr/include/$(gcc -print-multiarch)/asm
	[[ -d $asm ]] || asm=/usr/include/asm
	ln -s /usr/include/linux "$P/include/linux"
	ln -s /usr/include/asm-generic "$P/include/asm-generic"
	ln -s "$asm" "$P/include/asm"
}

write_mk() {
	cat >"$P/agent-libs.mk" <<-EOF
		# Made by guest-agent/deps/build.sh: how to compile and link kiln-agent.
		AGENT_PREFIX := \$(patsubst %/,%,\$(dir \$(lastword \$(MAKEFILE_LIST))))
		AGENT_CC := musl-gcc
		AGENT_CFLAGS := $AGENT_CFLAGS -isystem \$(AGENT_PREFIX)/include
		AGENT_LDFLAGS := -static -no-pie -L\$(AGENT_PREFIX)/lib -Wl,--gc-sections -Wl,-O1 -Wl,--build-id=none
		AGENT_MALLOC := \$(AGENT_PREFIX)/lib/mimalloc.o
		AGENT_LIBS := \$(AGENT_MALLOC) -Wl,--start-group -lgit2 ${SSH:+-lssh2 }-lmbedtls -lmbedx509 -lmbedcrypto \\
			-lagent-entropy -lhttp_parser -larchive -lz -ljansson -Wl,--end-group -lpthread
	EOF
}

# licence NAME FILE...: the licence texts that must travel with the binary
licence() {
	local name=$1
	shift
	mkdir -p "$P/licenses/$name"
	cp "$@" "$P/licenses/$name/"
}

collect_licences() {
	local name f
	for name in "${names[@]}"; do
		licence "$name" "$W/src/$name/debian/copyright"
		for f in COPYING LICENSE LICENSE-MIT AUTHORS; do
			[[ ! -e $W/src/$name/$f ]] || licence "$name" "$W/src/$name/$f"
		done
	done
	licence musl /usr/share/doc/musl-dev/copyright
	licence xxhash /usr/share/doc/libxxhash-dev/copyright
	licence gcc "$(realpath "/usr/share/doc/$(dpkg-query -S "$(gcc -print-libgcc-file-name)" |
		cut -d: -f1)/copyright")"
}

fetch_all() {
	local name suite minimum below when old=$1
	FETCH_APT=$W/apt
	mkdir -p "$FETCH_APT" "$FETCH_SRC"
	while read -r name suite minimum below when; do
		[[ -n $name && $name != \#* ]] || continue
		[[ $when == always || -n $SSH ]] || continue
		fetch_source "$name" "$suite" "$minimum" "$below" "$old" "$W/src" "$P/lock"
		names+=("$name")
	done <"$here/sources"
}

build_all() {
	local libarchive
	build zlib
	# half of libarchive's time is its configure, which uses one core
	build libarchive &
	libarchive=$!
	build jansson
	build mbedtls
	build http-parser
	[[ -z $SSH ]] || build libssh2
	build libgit2
	build mimalloc
	wait "$libarchive" || exit 1
}

# every library links, statically, and nothing is missing
prove() {
	# shellcheck disable=SC2016
	printf 'include %s/agent-libs.mk\nselftest: %s\n\t$(AGENT_CC) $(AGENT_CFLAGS) -o $@ $< $(AGENT_LDFLAGS) $(AGENT_LIBS)\n' \
		"$P" "$here/selftest.c" >"$W/selftest.mk"
	make -s -C "$W" -f selftest.mk selftest >&2
	"$W/selftest" versions >"$W/versions"
	strip -s "$W/selftest"
	say "a program with all of it: $(stat -c %s "$W/selftest") bytes; $(cat "$W/versions")"
}

while [[ $# -gt 0 ]]; do
	case $1 in
	--ssh) SSH=libssh2 ;;
	--lock) [[ -r ${2-} ]] || die "--lock needs a file that can be read"; LOCK=$(realpath "$2"); shift ;;
	--locked) LOCKED=1 ;;
	--update) UPDATE=1 ;;
	*) usage ;;
	esac
	shift
done
[[ -z $UPDATE || -z $LOCK$LOCKED ]] || die "--update takes new versions: --lock and --locked don't go with it"

needs_all
D=$(digest)
DIR=$(cache_dir $KIND "$D")
if [[ -d $DIR && -z $UPDATE ]]; then
	say "nothing has changed: $DIR"
	printf '%s\n' "$DIR"
	exit 0
fi
cache_lock $KIND
if [[ -d $DIR && -z $UPDATE ]]; then # made while we waited
	printf '%s\n' "$DIR"
	exit 0
fi

P=$(cache_begin $KIND "$D")
W=$(mktemp -d "${TMPDIR:-/tmp}/kiln-agent-libs.XXXXXX")
trap 'rm -rf "$W" "$P"' EXIT
JOBS=$(nproc)
names=()
last_lock=$KILN_CACHE/$KIND.lock-versions
old=$LOCK
[[ -n $old || -n $UPDATE || ! -r $last_lock ]] || old=$last_lock
[[ -z $LOCKED || -n $old ]] || die "--locked: there is no lock yet; name one with --lock"

AGENT_CFLAGS='-Os -fno-pie -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables'
CFLAGS="$AGENT_CFLAGS -ffile-prefix-map=$W/src=. -I$P/include"
export CFLAGS PKG_CONFIG_LIBDIR=$P/lib/pkgconfig
mkdir -p "$P/include" "$P/lib/pkgconfig" "$P/licenses" "$W/log" "$W/src"

link_kernel_headers
cp /usr/include/xxhash.h "$P/include/"
write_toolchain
fetch_all "$old"
build_all
collect_licences
write_mk
prove

# these name the work directory, and nobody needs them
(cd "$P" && rm -rf lib/pkgconfig lib/cmake share bin)
cache_commit $KIND "$D"
[[ -n $LOCK ]] || cp "$DIR/lock" "$last_lock"
say "done in $SECONDS s"
printf '%s\n' "$DIR"
