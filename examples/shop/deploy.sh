#!/usr/bin/env bash
# Deploys the shop on a cluster of the testbed and fills it with data.
#
#   deploy.sh CONTEXT                   everything, until the page answers
#   deploy.sh --prerequisites CONTEXT   only what a cluster's administrator provides:
#                                       ingress class, priority class, kind Route
#
# Run it again at any time: it changes only what differs. The cluster to migrate
# to needs the prerequisites and nothing else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
namespace=shop
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

usage() {
	sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2
	exit 2
}

say() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

kube() { "${KUBECTL:-kubectl}" --context "$context" --request-timeout=60s "$@"; }

shop() { kube --namespace "$namespace" "$@"; }

prerequisites() {
	say "cluster objects: ingress class, priority class, kind Route"
	kube apply -f "$here/cluster" -f "$here/crds/routes.yaml" >/dev/null
	kube wait --for=condition=Established --timeout=30s crd/routes.route.openshift.io >/dev/null
}

# Made here and not committed: a key in a repository is a key everybody has.
certificate() {
	shop get secret shop-tls -o name >/dev/null 2>&1 && return
	say "certificate for shop.a.example.test"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
		-subj /CN=shop.a.example.test -addext subjectAltName=DNS:shop.a.example.test \
		-keyout "$work/key" -out "$work/crt" 2>/dev/null
	shop create secret tls shop-tls --cert "$work/crt" --key "$work/key" >/dev/null
}

# What a controller would have written: a migration must leave it behind.
statuses() {
	shop patch route web --subresource=status --type=merge -p '{"status": {"ingress": [{
		"host": "shop.a.example.test", "routerName": "default", "wildcardPolicy": "None",
		"conditions": [{"type": "Admitted", "status": "True"}]}]}}' >/dev/null
	shop patch campaign autumn --subresource=status --type=merge \
		-p '{"status": {"phase": "Active", "observedGeneration": 1}}' >/dev/null
}

explain() {
	echo "deploy.sh: the shop did not come up on $context:" >&2
	shop get pods,pvc,jobs >&2 || true
	shop get events --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 15 >&2 || true
	exit 1
}

deploy() {
	kube get --raw /readyz >/dev/null # before minutes of building, not after
	say "images"
	"$here/images/build.sh" --push >/dev/null
	prerequisites
	kube apply -f "$here/crds/campaigns.yaml" >/dev/null
	kube wait --for=condition=Established --timeout=30s crd/campaigns.shops.example.com >/dev/null
	kube apply -f "$here/manifests/00-namespace.yaml" >/dev/null
	certificate
	say "objects of namespace $namespace"
	kube apply -f "$here/manifests" >/dev/null
	statuses
	say "waiting for PostgreSQL and the three Jobs that fill the volumes"
	shop rollout status statefulset/postgres --timeout=120s >/dev/null || explain
	shop wait --for=condition=Complete --timeout=120s job/seed job/fill-files job/fill-raw >/dev/null || explain
	say "$(shop logs job/seed | tail -n 1)"
	shop rollout status deployment/web --timeout=60s >/dev/null || explain
	shop rollout status deployment/archive --timeout=60s >/dev/null || explain
	say "the shop is up: orders and digest are $("$here/query.sh" "$context" "$namespace")"
}

case $#:${1:-} in
2:--prerequisites) context=$2 && prerequisites ;;
1:-*) usage ;;
1:*) context=$1 && deploy ;;
*) usage ;;
esac
