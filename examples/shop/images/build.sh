#!/usr/bin/env bash
# Makes the images shop/postgres:15 and shop/web:1 without a container engine and
# without pulling an image: the first from Debian packages, the second from the Go
# program beside this file.
#
#   build.sh            build what is missing, print the folder of the two archives
#   build.sh --push     and push them to the testbed's registry
#
# The archives are kept outside the checkout, under a name made of everything that
# goes into them; a second run only prints that name. Needs a Debian 12 machine
# with apt, Go and root (files in an image have owners). Packages are downloaded
# and unpacked, never installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
testbed=${FERRY_TESTBED:-$here/../../../tests/testbed/testbed}
registry="registry-a.testbed:5000"
# What is worth having on the path of `kubectl exec`.
programs="initdb pg_ctl pg_dump pg_isready pgbench postgres psql"

fail() {
	echo "build.sh: $*" >&2
	exit 1
}

key() {
	(cd "$here" && find . -type f | LC_ALL=C sort | xargs sha256sum && uname -m) | sha256sum | cut -c1-16
}

download_packages() {
	local dir=$1 packages
	mapfile -t packages < <(grep -v '^#' "$here/postgres/packages")
	(cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}") && return
	echo "build.sh: apt does not know all packages yet, refreshing its lists" >&2
	apt-get update -qq >&2
	(cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}") ||
		fail "cannot download the packages of postgres/packages; they are those of Debian 12"
}

# Every library of every program must be inside; the host's must not help out.
check_libraries() {
	local root=$1 program loader paths
	loader=$(find "$root/lib" -name 'ld-linux*.so.*' | head -1)
	paths=$(find "$root/lib" "$root/usr/lib" -maxdepth 1 -name '*-linux-gnu' -printf '%p:')
	for program in "$root"/usr/lib/postgresql/15/bin/* "$root"/usr/lib/postgresql/15/lib/*.so; do
		if "$loader" --inhibit-cache --library-path "${paths%:}" --list "$program" 2>&1 |
			grep -E 'not found|cannot open|=> /(usr/)?lib' >&2; then
			fail "$program needs a library that postgres/packages does not name"
		fi
	done
}

build_postgres() {
	local root=$1 work=$2 package program
	mkdir -p "$work" "$root"
	download_packages "$work"
	for package in "$work"/*.deb; do dpkg-deb -x "$package" "$root"; done
	rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bug,bash-completion} \
		"$root"/usr/lib/postgresql/15/lib/bitcode "$root"/usr/lib/postgresql/15/lib/llvmjit* \
		"$root"/usr/lib/postgresql/15/lib/{plpython3,sepgsql}* "$root"/usr/lib/*/gconv
	for program in $programs; do
		ln -s "../lib/postgresql/15/bin/$program" "$root/usr/bin/$program"
	done
	for program in $("$root/bin/busybox" --list); do
		[ -e "$root/bin/$program" ] || [ -e "$root/usr/bin/$program" ] || ln -s busybox "$root/bin/$program"
	done
	mkdir -p "$root"/{dev,etc,proc,sys,tmp,run,root} "$root/run/postgresql"
	rm -rf "$root/var/run" && ln -s ../run "$root/var/run"
	chmod 1777 "$root/tmp" "$root/run/postgresql"
	printf 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\npostgres:x:999:\n' >"$root/etc/group"
	install -m 755 "$here/postgres/entrypoint.sh" "$root/entrypoint.sh"
	check_libraries "$root"
}

build_web() {
	local root=$1
	mkdir -p "$root/etc" "$root/tmp" "$root"/{dev,proc,sys}
	(cd "$here/web" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$root/shop" .)
	chmod 1777 "$root/tmp"
	printf 'root:x:0:0::/:/shop\nweb:x:10001:10001::/:/shop\n' >"$root/etc/passwd"
	printf 'root:x:0:\nweb:x:10001:\n' >"$root/etc/group"
}

main() {
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/ferry-testbed/images result
	result=$cache/$(key)
	if [ ! -d "$result" ]; then
		mkdir -p "$cache"
		work=$(mktemp -d "$cache/.build-XXXXXX") # global: the trap runs outside main
		trap 'rm -rf "$work"' EXIT
		mkdir "$work/result"
		build_web "$work/web"
		build_postgres "$work/postgres" "$work/packages"
		"$testbed" image pack "$work/web" "$registry/shop/web:1" "$work/result/web.tar" \
			--entrypoint '["/shop"]' --user 10001:10001 >&2
		"$testbed" image pack "$work/postgres" "$registry/shop/postgres:15" "$work/result/postgres.tar" \
			--entrypoint '["/entrypoint.sh"]' --user 999:999 >&2
		mv -T "$work/result" "$result" 2>/dev/null || [ -d "$result" ] || fail "cannot write $result"
	fi
	echo "$result"
	case ${1:-} in
	--push) for image in web postgres; do "$testbed" image push "$result/$image.tar"; done ;;
	"") ;;
	*) fail "unknown argument $1" ;;
	esac
}

main "$@"
