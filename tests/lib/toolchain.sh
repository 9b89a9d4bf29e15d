# shellcheck shell=bash
# What both commands of the README need before anything else: the root of the checkout, the cache,
# and the ways to build Ferry. Sourced, never run.

FERRY_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
FERRY_CACHE=${FERRY_TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferry-testbed}
export FERRY_ROOT FERRY_CACHE
# Compiled dependencies are worth keeping when the checkout is not.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$FERRY_CACHE/target}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31merror:\033[0m %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '\033[36mhint:\033[0m %s\n' "$2" >&2; exit 1; }

need() { # COMMAND HINT
	command -v "$1" >/dev/null || die "$1 is not installed" "$2"
}

# debian PACKAGE...: installs the packages that are missing.
debian() {
	local missing=() package
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	need apt-get "this script installs ${missing[*]} from Debian; install them by hand on another system"
	[ "$(id -u)" = 0 ] || die "installing ${missing[*]} needs root" "run as root, or install them first"
	say "installing ${missing[*]}"
	apt-get update -qq >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 </dev/null
}

# tool CRATE VERSION BINARY: a cargo tool, compiled once and kept by its version.
tool() {
	local folder=$FERRY_CACHE/tools/$1-$2
	if [ ! -x "$folder/bin/$3" ]; then
		say "building $1 $2"
		CARGO_TARGET_DIR=$FERRY_CACHE/tools/target CARGO_PROFILE_DEV_DEBUG=0 \
			cargo install --quiet --locked --debug --root "$folder" --version "$2" "$1" "${@:4}" >&2
		rm -rf "$FERRY_CACHE/tools/target"
	fi
	PATH=$folder/bin:$PATH
}

host() { rustc -vV | sed -n 's/^host: //p'; }

# Cargo takes what another checkout compiled for this one's, as long as the files here are older:
# a shared target folder is told whose it is, and forgets the other's Ferry (not its dependencies).
own_target() {
	need cargo "install Rust from your distribution or with rustup"
	local owner=$CARGO_TARGET_DIR/checkout profile
	if [ -d "$CARGO_TARGET_DIR" ] && [ "$(cat "$owner" 2>/dev/null)" != "$FERRY_ROOT" ]; then
		for profile in dev release; do
			(cd "$FERRY_ROOT" && cargo clean --quiet --locked --package ferry --target "$(host)" --profile "$profile") >&2
		done
	fi
	mkdir -p "$CARGO_TARGET_DIR"
	echo "$FERRY_ROOT" >"$owner"
}

# ferry_build: compiles the optimised binary and prints its path.
ferry_build() {
	own_target
	(cd "$FERRY_ROOT" && cargo build --quiet --release --locked --bin ferry) >&2
	echo "$CARGO_TARGET_DIR/$(host)/release/ferry"
}
