# shellcheck shell=bash
# fetch.sh - Debian source packages, verified by apt's own signature check.
#
# Sourced by build.sh. Every suite gets an apt configuration of its own below
# FETCH_APT, so that nothing is added to the system and no root is needed. Where
# packages come from is asked of the machine's apt configuration. Downloads stay
# in $KILN_CACHE/src; a file that is there with the digest the lock names is used
# without asking anyone.

FETCH_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
FETCH_SRC=$KILN_CACHE/src
FETCH_APT=

# fetch_uri LABEL -> the first repository of that label the machine uses
fetch_uri() {
	local uris
	uris=$(apt-get indextargets --format "\$(REPO_URI)" \
		'Identifier: Packages' 'Origin: Debian' "Label: $1")
	printf '%s\n' "${uris%%$'\n'*}"
}

# fetch_conf SUITE -> an apt configuration that knows the sources of that suite
fetch_conf() {
	local d=$FETCH_APT/$1 uri security
	if [[ -e $d/ready ]]; then
		printf '%s\n' "$d/apt.conf"
		return
	fi
	[[ -r $FETCH_KEYRING ]] || die "$FETCH_KEYRING is missing: install debian-archive-keyring"
	uri=$(fetch_uri Debian)
	[[ -n $uri ]] || die "apt knows no Debian repository on this machine: run apt-get update first"
	security=$(fetch_uri Debian-Security)
	mkdir -p "$d/lists/partial" "$d/cache/archives/partial"
	cat >"$d/apt.conf" <<-EOF
		Dir::Etc::sourcelist "$d/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$d";
		Dir::State::lists "$d/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$d/cache";
		APT::Sandbox::User "root";
	EOF
	printf 'deb-src [signed-by=%s] %s %s main\n' "$FETCH_KEYRING" "$uri" "$1" >"$d/sources.list"
	say "reading the source index of $1"
	if [[ $1 != sid && -n $security ]]; then
		cp "$d/sources.list" "$d/main.list"
		printf 'deb-src [signed-by=%s] %s %s-security main\n' \
			"$FETCH_KEYRING" "$security" "$1" >>"$d/sources.list"
		APT_CONFIG=$d/apt.conf apt-get -qq update >"$d/log" 2>&1 && touch "$d/ready"
		if [[ ! -e $d/ready ]]; then
			say "warning: no security updates of $1 where this machine gets them; going on without"
			mv "$d/main.list" "$d/sources.list"
		fi
	fi
	if [[ ! -e $d/ready ]]; then
		APT_CONFIG=$d/apt.conf apt-get -qq update >"$d/log" 2>&1 ||
			die "the source index of $1 can't be fetched: $(tail -n 3 "$d/log")"
		touch "$d/ready"
	fi
	printf '%s\n' "$d/apt.conf"
}

# fetch_newest VERSION... -> the newest of them
fetch_newest() {
	local best='' v
	for v in "$@"; do
		if [[ -z $best ]] || dpkg --compare-versions "$v" gt "$best"; then best=$v; fi
	done
	printf '%s\n' "$best"
}

# fetch_locked LOCK SOURCE -> version, when each of its files is at hand, whole
fetch_locked() {
	local lock=$1 name=$2 version=
	[[ -n $lock ]] || return 1
	awk -v n="$name" '$1 == n { print $4 "  " $5 }' "$lock" >"$FETCH_APT/$name.sums"
	[[ -s $FETCH_APT/$name.sums ]] || return 1
	(cd "$FETCH_SRC" && sha256sum --status --check "$FETCH_APT/$name.sums" 2>/dev/null) || return 1
	version=$(awk -v n="$name" '$1 == n { print $3; exit }' "$lock")
	printf '%s\n' "$version"
}

# fetch_one SOURCE SUITE VERSION: its files into $FETCH_SRC; fails with a message in a log
fetch_one() {
	local conf
	conf=$(fetch_conf "$2")
	(cd "$FETCH_SRC" && APT_CONFIG=$conf apt-get -qq source --download-only --only-source \
		"$1=$3") >"$FETCH_APT/$1.log" 2>&1
}

# fetch_choose SOURCE SUITE MINIMUM BELOW WANTED -> the version that was fetched.
# WANTED (from a lock, may be empty) comes first; then the newest in range that can be had whole.
fetch_choose() {
	local name=$1 suite=$2 minimum=$3 below=$4 wanted=$5 conf v
	local -a found=() rest=()
	conf=$(fetch_conf "$suite")
	while read -r v; do
		if dpkg --compare-versions "$v" ge "$minimum" && dpkg --compare-versions "$v" lt "$below"; then
			found+=("$v")
		fi
	done < <(APT_CONFIG=$conf apt-cache showsrc --only-source "$name" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -u)
	if [[ -n $wanted ]]; then
		if [[ " ${found[*]-} " == *" $wanted "* ]] && fetch_one "$name" "$suite" "$wanted"; then
			printf '%s\n' "$wanted"
			return
		fi
		[[ -z $LOCKED ]] || die "$name $wanted, which the lock names, is no longer in $suite"
		say "warning: $name $wanted, which the lock names, is no longer in $suite; taking the newest"
	fi
	while [[ ${#found[@]} -gt 0 ]]; do
		v=$(fetch_newest "${found[@]}")
		if fetch_one "$name" "$suite" "$v"; then
			printf '%s\n' "$v"
			return
		fi
		say "warning: $name $v is listed in $suite but can't be fetched: $(tail -n 1 "$FETCH_APT/$name.log")"
		rest=()
		local other
		for other in "${found[@]}"; do [[ $other == "$v" ]] || rest+=("$other"); done
		found=("${rest[@]}")
	done
	die "$suite has no $name at least $minimum and before $below that can be fetched"
}

# fetch_source SOURCE SUITE MINIMUM BELOW OLDLOCK DESTDIR NEWLOCK: unpack into DESTDIR/SOURCE and
# add a line per file to NEWLOCK: source, suite, version, sha256, file
fetch_source() {
	local name=$1 suite=$2 minimum=$3 below=$4 old=$5 dest=$6 new=$7 version wanted='' dsc file
	if ! version=$(fetch_locked "$old" "$name"); then
		[[ -z $old ]] || wanted=$(awk -v n="$name" '$1 == n { print $3; exit }' "$old")
		[[ -n $wanted || -z $LOCKED ]] || die "the lock says nothing about $name"
		version=$(fetch_choose "$name" "$suite" "$minimum" "$below" "$wanted")
	fi
	dsc=${name}_${version#*:}.dsc
	for file in "$dsc" $(sed -n '/^Checksums-Sha256:/,/^[^ ]/s/^ [0-9a-f]* [0-9]* //p' "$FETCH_SRC/$dsc"); do
		printf '%s %s %s %s %s\n' "$name" "$suite" "$version" \
			"$(sha256sum <"$FETCH_SRC/$file" | cut -d' ' -f1)" "$file" >>"$new"
	done
	if [[ -n $LOCKED ]] && ! diff -q <(grep "^$name " "$old") <(grep "^$name " "$new") >/dev/null; then
		die "$name $version is not what the lock names: the digests differ"
	fi
	dpkg-source -q --no-copy -x "$FETCH_SRC/$dsc" "$dest/$name" >"$FETCH_APT/$name.log" 2>&1 ||
		die "$dsc can't be unpacked: $(tail -n 3 "$FETCH_APT/$name.log")"
	say "$name $version ($suite)"
}
