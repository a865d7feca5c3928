#!/usr/bin/env bash
# build.sh - a root filesystem image for the virtual machines, from Debian packages.
#
#   build.sh --image NAME | --profile NAME [--profile NAME]...
#            [--packages A,B] [--suite SUITE] [--format erofs|ext4|squashfs]
#            [--size SIZE] [--name NAME] [--output FILE]
#
#   --image NAME     profile NAME as the image of that name
#   --profile NAME   what is in profiles/NAME; may be given more than once
#   --packages A,B   more packages
#   --suite SUITE    Debian release (default bookworm)
#   --format FORMAT  erofs (default), ext4 or squashfs
#   --size SIZE      of an ext4 image, like 2G (default: what it needs and a quarter)
#   --output FILE    copy the image to FILE and its description to FILE.json
#
# Needs no root, no mount and no loop device. The image lies in the cache with
# its description, NAME.json; the last line of stdout is the folder of both.
# Packages come from where this machine's apt gets its own.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../scripts/cache.sh
. "$here/../scripts/cache.sh"

KIND=image
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
usage() { sed -n '4,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
needs() { command -v "$1" >/dev/null || die "$1 is missing: install $2"; }

profiles=()
packages=()
suite=bookworm format=erofs size='' name='' output=''

seen=() # profiles read so far
from=() # the files that decide what is in the image
files='' # lines "mode source path"
drops=() # paths that packages bring and nobody needs
mib=0

# read_profile NAME: adds what it and the profiles it includes ask for
read_profile() {
	local file=$here/profiles/$1 word rest
	case " ${seen[*]-} " in *" $1 "*) return ;; esac
	[[ $1 =~ ^[a-z0-9][a-z0-9-]*$ && -f $file ]] ||
		die "there is no profile '$1'; there are: $(known_profiles)"
	seen+=("$1")
	from+=("$file")
	while read -r word rest; do
		case $word in
		'' | '#'*) ;;
		include) read_profile "$rest" ;;
		packages) read -r -a more <<<"$rest"; packages+=("${more[@]}") ;;
		file)
			from+=("$file.files/${rest#* }")
			files+="${rest%% *} $file.files/${rest#* } ${rest#* }"$'\n'
			;;
		drop) drops+=("/$rest") ;;
		mib) mib=$((mib + rest)) ;;
		*) die "$file: '$word' is not a directive" ;;
		esac
	done <"$file"
}

known_profiles() {
	find "$here/profiles" -maxdepth 1 -type f ! -name '*.md' -printf '%f\n' | sort | paste -sd' '
}

# uri LABEL -> the first repository of that label that this machine uses
uri() {
	local all
	all=$(apt-get indextargets --format "\$(REPO_URI)" \
		'Identifier: Packages' 'Origin: Debian' "Label: $1")
	printf '%s\n' "${all%%$'\n'*}"
}

# sources -> the sources.list of the image: the suite, its updates, its security updates
sources() {
	local main security
	main=$(uri Debian)
	security=$(uri Debian-Security)
	[[ -n $main ]] || die "apt knows no Debian repository on this machine: run apt-get update first"
	printf 'deb %s %s main\n' "${main%/}" "$suite"
	[[ $suite != sid && $suite != unstable ]] || return 0
	printf 'deb %s %s-updates main\n' "${main%/}" "$suite"
	[[ -z $security ]] || printf 'deb %s %s-security main\n' "${security%/}" "$suite"
}

# epoch SOURCES DIR -> seconds: when the newest of the repositories was made.
# Only a time stamp is taken from it; mmdebstrap checks signatures itself.
epoch() {
	local type where release rest date newest=0 t
	while read -r type where release rest; do
		[[ $type == deb && -n $rest ]] || continue
		/usr/lib/apt/apt-helper -qq download-file "$where/dists/$release/InRelease" "$2/InRelease" \
			>/dev/null 2>"$2/error" ||
			die "can't read $release from this machine's mirror: $(tail -n 1 "$2/error")"
		date=$(sed -n 's/^Date: //p' "$2/InRelease")
		t=$(date -u -d "$date" +%s)
		[[ $t -le $newest ]] || newest=$t
	done <<<"$1"
	printf '%s\n' "$newest"
}

# room DIR MIB: stop when there is less room than that
room() {
	local have
	mkdir -p "$1"
	have=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[[ $have -ge $2 ]] || die "this image needs about $2 MiB in $1, where $have MiB are free"
}

check_host() {
	local f
	needs mmdebstrap mmdebstrap
	needs python3 python3
	[[ -r $KEYRING ]] || die "$KEYRING is missing: install debian-archive-keyring"
	case $format in
	erofs) needs mkfs.erofs erofs-utils ;;
	ext4) needs mke2fs e2fsprogs ;;
	squashfs) needs mksquashfs squashfs-tools ;;
	esac
	if [[ $(id -u) -ne 0 ]]; then
		needs newuidmap uidmap
		for f in /etc/subuid /etc/subgid; do
			grep -q "^$(id -un):" $f ||
				die "$f has no range for $(id -un): usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
		done
	fi
}

# install_packages SOURCES ARCHIVES: the installed system as tar on stdout
install_packages() {
	local o
	local -a opts=()
	for o in /usr/share/{man,info,locale,doc,lintian}/'*' "${drops[@]}"; do
		opts+=("--dpkgopt=path-exclude=$o")
	done
	opts+=(--dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt=force-unsafe-io)
	opts+=(--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"')
	# how this machine reaches its mirrors
	while read -r o; do
		opts+=("--aptopt=$o")
	done < <(apt-config dump --format '%f "%v";%n' | grep -E '^Acquire::(https?::Proxy|Check-(Valid-Until|Date))')
	# shellcheck disable=SC2016 # the hook's own $1
	mmdebstrap --mode=auto --variant=apt --format=tar --include="$(IFS=,; echo "${packages[*]}")" "${opts[@]}" \
		--skip=download/empty,essential/unlink,output/dev \
		--setup-hook='mkdir -p "$1/var/cache/apt/archives/partial"' \
		--setup-hook="sync-in \"$2\" /var/cache/apt/archives" \
		--customize-hook="sync-out /var/cache/apt/archives \"$2\"" \
		"$suite" - - <<<"$1"
}

# pack ARG...: pack.sh with the rights to keep owners
pack() {
	if [[ $(id -u) -eq 0 ]]; then
		"$here/pack.sh" "$@"
	else
		unshare --user --map-root-user --map-auto -- "$here/pack.sh" "$@"
	fi
}

deliver() {
	if [[ -n $output ]]; then
		cp --reflink=auto "$1/$name.$format" "$output"
		cp "$1/$name.json" "$output.json"
		say "copied to $output"
	fi
	printf '%s\n' "$1"
}

while [[ $# -gt 0 ]]; do
	[[ $1 == --* && $# -ge 2 ]] || usage
	case $1 in
	--image) profiles+=("$2"); name=$2 ;;
	--profile) profiles+=("$2") ;;
	--packages) IFS=, read -r -a more <<<"$2"; packages+=("${more[@]}") ;;
	--suite) suite=$2 ;;
	--format) format=$2 ;;
	--size) size=$2 ;;
	--name) name=$2 ;;
	--output) output=$2 ;;
	*) usage ;;
	esac
	shift 2
done
[[ ${#profiles[@]} -gt 0 ]] || usage
mib=$((${#packages[@]} * 20))
for p in base "${profiles[@]}"; do read_profile "$p"; done
name=${name:-$(IFS=-; echo "${profiles[*]}")}
[[ $format =~ ^(erofs|ext4|squashfs)$ ]] || die "there is no format '$format'; there are erofs, ext4 and squashfs"
[[ $suite =~ ^[a-z]+$ ]] || die "'$suite' is not the name of a Debian release"
[[ $name =~ ^[a-z0-9][a-z0-9._-]*$ ]] || die "'$name' can't be the name of an image: small letters, digits, . _ -"
[[ -z $size || $format == ext4 ]] || die "--size is for ext4; $format images are as large as their contents"
[[ -z $size || $size =~ ^[1-9][0-9]*[MG]$ ]] || die "'$size' is not a size like 800M or 2G"
for p in "${packages[@]}"; do
	[[ $p =~ ^[a-z0-9][a-z0-9+.-]+$ ]] || die "'$p' is not the name of a Debian package"
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

D=$(cache_digest "$here/build.sh" "$here/pack.sh" "$here/image.py" "${from[@]}" "@$name" "@$suite" "@$format" \
	"@size=$size" "@${packages[*]}" "@$(dpkg --print-architecture)")
DIR=$(cache_dir $KIND "$D")
if [[ -d $DIR ]]; then
	say "nothing has changed: $DIR/$name.$format"
	deliver "$DIR"
	exit 0
fi
check_host
cache_lock $KIND
if [[ -d $DIR ]]; then # made while we waited
	deliver "$DIR"
	exit 0
fi

# once installed, once unpacked; the downloads and the image
room "${TMPDIR:-/tmp}" $((mib * 2 + 200))
room "$KILN_CACHE" $((mib * 3 / 2 + 200))
archives=$KILN_CACHE/apt
mkdir -p "$archives"
W=$(mktemp -d "${TMPDIR:-/tmp}/kiln-image.XXXXXX")
OUT=$(cache_begin $KIND "$D")
trap 'rm -rf "$W" "$OUT"' EXIT
list=$(sources)
SOURCE_DATE_EPOCH=$(epoch "$list" "$W")
export SOURCE_DATE_EPOCH
printf '%s' "$files" >"$W/files"
uuid=$(sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/\1-\2-4\3-8\4-\5/' < <(sha256sum <<<"$D"))

say "$name: ${#packages[@]} packages and what they need, from $suite"
install_packages "$list" "$archives" 2> >(tee "$W/log" >&2) |
	pack "$W/tree" "$W/files" "$format" "$size" "$uuid" "$OUT" "$name" "$suite" "$(IFS=,; echo "${seen[*]}")" || {
	room "${TMPDIR:-/tmp}" 64
	room "$KILN_CACHE" 64
	grep '^E: ' "$W/log" >&2 || true
	die "$name was not built; the reason is above"
}
cache_commit $KIND "$D"
say "$name.$format: $(($(stat -c %s "$DIR/$name.$format") >> 20)) MiB in $SECONDS s"
deliver "$DIR"
