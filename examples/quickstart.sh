#!/usr/bin/env bash
# From nothing to a migrated application: two real Kubernetes clusters on this machine, a shop with a
# real database on cluster A, and `ferry migrate` to cluster B under another name, class, registry and
# host. Ends with the shop serving from B, a diff, a picture of its graph, and the proof.
#
#   examples/quickstart.sh         everything; the clusters stay up to play with
#   examples/quickstart.sh down    removes every trace
#
#   FERRY_FROM=ctx FERRY_TO=ctx FERRY_NAMESPACE=ns FERRY_RECIPE=recipe.yaml FERRY_STORE=url \
#   FERRY_MOVER_IMAGE=registry/repo:tag examples/quickstart.sh
#                                  the same migration between two contexts of your own kubeconfig
set -euo pipefail
. "$(dirname "$0")/../tests/lib/toolchain.sh"
testbed=$FERRY_ROOT/tests/testbed/testbed
shop=$FERRY_ROOT/examples/shop
out=${FERRY_OUT:-$PWD/ferry-quickstart}

down() {
	"$testbed" down
	# Only what this script makes: the folder may be somebody's own.
	rm -f "$out"/{ferry,env,plan.txt,diff.patch,graph.svg}
	[ ! -d "$out" ] || rmdir --ignore-fail-on-non-empty "$out"
	say "nothing is left but the compiled programs in $FERRY_CACHE (remove them with: $testbed purge)"
}

# The binary and the clusters' programs, compiled; both skip themselves when nothing changed.
prepare() {
	debian jq openssl curl
	say "building the clusters' programs and ferry (the first time takes a while)"
	"$testbed" build
	ferry=$(ferry_build)
	mkdir -p "$out"
	ln -sf "$ferry" "$out/ferry"
}

# Two clusters, and the shop on the first.
stage() {
	"$testbed" up
	eval "$("$testbed" env)"
	"$shop/deploy.sh" a
	"$shop/deploy.sh" --prerequisites b
	export FERRY_STORE=${FERRY_STORE:-s3://$FERRY_TESTBED_S3_BUCKET/quickstart}
	export AWS_ENDPOINT_URL=$FERRY_TESTBED_S3_ENDPOINT
	say "pushing ferry itself as the movers' image"
	# By digest: a node that has an older image under the tag would not ask for it again.
	FERRY_MOVER_IMAGE=$("$ferry" mover push "$FERRY_TESTBED_REGISTRY/ferry/mover:quickstart" \
		--plain-http --output json | jq -r .image)
	export FERRY_MOVER_IMAGE
	# The password lives and dies with the store, which is the testbed's.
	export FERRY_PASSWORD_FILE=${KUBECONFIG%/*}/quickstart-password
	[ -f "$FERRY_PASSWORD_FILE" ] || (umask 077 && openssl rand -hex 16 >"$FERRY_PASSWORD_FILE")
	"$ferry" store init --if-absent
}

# migrate FROM TO NAMESPACE [RECIPE]
migrate() {
	local arguments=(--from "$1" --to "$2" -n "$3" --install-crds --save-report "$out")
	[ -z "${4:-}" ] || arguments+=(-r "$4")
	"$ferry" migrate "${arguments[@]}" "${confirm[@]}"
}

show() {
	local at_a at_b
	at_a=$("$shop/query.sh" a shop)
	at_b=$("$shop/query.sh" b shop-prod)
	say "the database on A: $at_a"
	say "the database on B: $at_b"
	[ "$at_a" = "$at_b" ] || die "the databases differ"
	say "the page, served from B:"
	"$shop/page.sh" b shop-prod | head -20
	say "a second look: ferry plan says"
	"$ferry" plan latest --to b -r "$shop/recipe.yaml" | tail -2
	cat <<-END

	The clusters stay up. To play:
	  export KUBECONFIG=$KUBECONFIG          contexts a and b
	  source $out/env                        the store, the movers' image, PATH
	  ferry runs list
	Look at:
	  $out/diff.patch    what changed, object by object
	  $out/graph.svg     what refers to what
	  $out/plan.txt      every step
	To remove everything: examples/quickstart.sh down
	END
}

keep_environment() {
	{
		"$testbed" env
		declare -p AWS_ENDPOINT_URL FERRY_STORE FERRY_MOVER_IMAGE FERRY_PASSWORD_FILE | sed 's/^declare -x/export/'
		echo "export PATH=$out:\$PATH"
	} >"$out/env"
}

case "${1:-up}" in
down) down ;;
up)
	confirm=(--yes)
	if [ -n "${FERRY_FROM:-}${FERRY_TO:-}" ]; then
		: "${FERRY_FROM:?name the context to migrate from}" "${FERRY_TO:?name the context to migrate to}"
		: "${FERRY_NAMESPACE:?name the namespace to migrate}"
		[ -t 0 ] && confirm=()
		ferry=$(ferry_build)
		mkdir -p "$out"
		migrate "$FERRY_FROM" "$FERRY_TO" "$FERRY_NAMESPACE" "${FERRY_RECIPE:-}"
	else
		prepare
		stage
		keep_environment
		migrate a b shop "$shop/recipe.yaml"
		show
	fi
	;;
*) die "unknown argument $1" "use: examples/quickstart.sh [up|down]" ;;
esac
