#!/usr/bin/env bash
# Runs every test: static checks, unit tests, and the tests against two real clusters.
#
#   tests/run.sh                     everything
#   tests/run.sh NEXTEST-ARGUMENTS   just those tests, clusters included
set -euo pipefail
. "$(dirname "$0")/lib/toolchain.sh"
cd "$FERRY_ROOT"
started=$(date +%s)
lap() { say "$1 ($(($(date +%s) - started)) s since the start)"; }

need go "install Go 1.26 or newer"
debian restic fuse3 attr acl jq openssl curl
command -v npm >/dev/null || debian nodejs npm

# The clusters' programs compile while nothing else can use the second core.
tests/testbed/testbed build
tests/testbed/testbed build helm gcs azurite rustic velero
lap "testbed built"

tool cargo-nextest 0.9.151 cargo-nextest --no-default-features --features default-no-update
tool cargo-deny 0.20.2 cargo-deny
lap "tools built"

own_target
if [ $# -eq 0 ]; then
	cargo fmt --all --check
	cargo deny --log-level error check bans licenses sources
	cargo clippy --quiet --locked --all-targets -- -D warnings
	lap "static checks passed"
fi

FERRY_BIN=$(ferry_build)
export FERRY_BIN
cargo nextest run --locked --no-run
lap "tests compiled"

# A pair of clusters of the tests' own, beside the quickstart's, taken down whatever happens.
export FERRY_TESTBED_NET=${FERRY_TESTBED_NET:-79}
trap 'tests/testbed/testbed down >/dev/null 2>&1 || true' EXIT
if [ $# -eq 0 ]; then
	# The storage driver that all tests of volumes stand on keeps the CSI project's own contract.
	tests/testbed/testbed sanity >"$FERRY_CACHE/sanity.log" 2>&1 || { cat "$FERRY_CACHE/sanity.log"; die "csi-sanity failed"; }
	lap "csi-sanity: $(sed 's/\x1b\[[0-9;]*m//g' "$FERRY_CACHE/sanity.log" | grep -o '[0-9]* Passed.*' | tail -1)"
fi
tests/testbed/testbed up
tests/testbed/testbed share
eval "$(tests/testbed/testbed env)"
# One image for every test: each would build its own otherwise.
# By digest: a node that has an older image under the tag would not ask for it again.
FERRY_MOVER_IMAGE=$("$FERRY_BIN" mover push "$FERRY_TESTBED_REGISTRY/ferry/mover:test" \
	--plain-http --output json | jq -r .image)
export FERRY_MOVER_IMAGE
examples/shop/deploy.sh a
examples/shop/deploy.sh --prerequisites b
lap "clusters up, the shop open"

cargo nextest run --locked "$@"
lap "done"
