#!/usr/bin/env bash
# selftest.sh PREFIX - proves a prefix that build.sh made.
#
# Links selftest.c with it, serves a repository by git's own http-backend on
# loopback, over http and over https (TLS 1.2 and 1.3, with RSA and ECDSA
# certificates), clones it with depth 1 in an empty chroot where there is one to
# be had (root), and reads the tar with GNU tar. Says what it measured on stderr.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(realpath "${1:?usage: selftest.sh PREFIX}")
w=$(mktemp -d "${TMPDIR:-/tmp}/kiln-selftest.XXXXXX")
server=

cleanup() {
	[[ -z $server ]] || kill "$server" 2>/dev/null || true
	rm -rf "$w"
}
trap cleanup EXIT
fail() { printf 'selftest: FAILED: %s\n' "$*" >&2; exit 1; }

# shellcheck disable=SC2016
printf 'include %s/agent-libs.mk\nselftest: %s\n\t$(AGENT_CC) -std=c11 -Wall -Wextra -Werror $(AGENT_CFLAGS) -o $@ $< $(AGENT_LDFLAGS) $(AGENT_LIBS)\n' \
	"$prefix" "$here/selftest.c" >"$w/mk"
make -s -C "$w" -f mk selftest
! readelf -l "$w/selftest" | grep -q INTERP || fail "not static"

git init -q -b main "$w/work"
git -C "$w/work" config user.email kiln@example.invalid
git -C "$w/work" config user.name kiln
for i in 1 2 3; do
	printf 'commit %s\n' "$i" >"$w/work/file$i"
	git -C "$w/work" add .
	git -C "$w/work" commit -q -m "$i"
done
git clone -q --bare "$w/work" "$w/repos/demo.git"
commit=$(git -C "$w/work" rev-parse HEAD)

for kind in rsa:2048 ec:prime256v1; do
	args=(-newkey "$kind")
	[[ $kind != ec:* ]] || args=(-newkey ec -pkeyopt "ec_paramgen_curve:${kind#ec:}")
	openssl req -x509 -nodes "${args[@]}" -keyout "$w/${kind%%:*}.key" -out "$w/${kind%%:*}.pem" -days 2 \
		-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
done

# start_server ARG...: sets port
start_server() {
	[[ -z $server ]] || kill "$server"
	rm -f "$w/port"
	mkfifo "$w/port"
	python3 "$here/selftest_server.py" "$w/repos" "$@" >"$w/port" 2>"$w/server.log" &
	server=$!
	read -r port <"$w/port"
}

# clone NAME URL [CA]: clones and reads the tar back
clone() {
	local name=$1 url=$2 out start
	local -a ca=() as=("$w/selftest") root=("$w")
	if [[ $(id -u) -eq 0 ]]; then # as in an initramfs: no /dev, no /proc, no /etc
		mkdir -p "$w/root"
		cp "$w/selftest" "$w/root/"
		[[ $# -lt 3 ]] || cp "$3" "$w/root/ca.pem"
		[[ $# -lt 3 ]] || ca=(/ca.pem)
		as=(chroot "$w/root" /selftest)
		root=(/)
	elif [[ $# -ge 3 ]]; then
		ca=("$3")
	fi
	start=$(date +%s%N)
	out=$("${as[@]}" clone "$url" "${root[0]}/$name" "${root[0]}/$name.tar" "${ca[@]}") || return 1
	[[ ${root[0]} != / ]] || mv "$w/root/$name" "$w/root/$name.tar" "$w/"
	[[ $out == *$commit* ]] || fail "$name: $out does not name $commit"
	[[ $(git -C "$w/$name" rev-list --count HEAD) == 1 ]] || fail "$name: not one commit"
	[[ $(tar -tf "$w/$name.tar" | sort | xargs) == 'file1 file2 file3' ]] || fail "$name: wrong tar"
	[[ $(tar -xOf "$w/$name.tar" file3) == 'commit 3' ]] || fail "$name: wrong contents"
	printf 'selftest: %s ok in %s ms: %s\n' "$name" $((($(date +%s%N) - start) / 1000000)) "$out" >&2
}

start_server
clone http "http://127.0.0.1:$port/demo.git" || fail "http"
for key in rsa ec; do
	for tls in 1.2 1.3; do
		start_server --tls "$tls" --key "$w/$key.key" --cert "$w/$key.pem"
		clone "https-$key-tls$tls" "https://127.0.0.1:$port/demo.git" "$w/$key.pem" ||
			fail "https $key TLS $tls"
		rm -f "$w/refused.log"
		! clone "untrusted" "https://127.0.0.1:$port/demo.git" 2>"$w/refused.log" ||
			fail "an untrusted certificate was accepted ($key TLS $tls)"
		grep -q -i certificate "$w/refused.log" || fail "refused, but not for the certificate: $(cat "$w/refused.log")"
	done
done
printf 'selftest: untrusted certificates were refused\n' >&2
