#!/usr/bin/env bash
# Asks the shop for its data, to compare two clusters.
#
#   query.sh CONTEXT NAMESPACE           the orders: their count and digest, one line
#   query.sh CONTEXT NAMESPACE files     every file of the claim "files", one line each
#   query.sh CONTEXT NAMESPACE raw       the digest of the claim "raw"
#   query.sh CONTEXT NAMESPACE counter   how far load.sh has counted
set -euo pipefail
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
	sed -n 's/^# \{0,1\}//; 2,7p' "$0" >&2
	exit 2
fi

shop() { "${KUBECTL:-kubectl}" --context "$context" --namespace "$namespace" "$@"; }

sql() {
	shop exec statefulset/postgres -c postgres -- \
		psql -v ON_ERROR_STOP=1 -U postgres -d shop -AtqF ' ' -c "$1"
}

context=$1 namespace=$2
case ${3:-orders} in
orders)
	# Every column of every order; the web page asks the same.
	sql "SELECT count(*), md5(string_agg(concat_ws('|', id, customer_id, sku, quantity,
		price, extract(epoch FROM placed), state, md5(receipt)), ',' ORDER BY id)) FROM orders"
	;;
files) shop exec deployment/archive -- /shop manifest /files ;;
raw) shop exec deployment/archive -- /shop manifest /dev/shop-raw ;;
counter) sql "SELECT n FROM counters WHERE name = 'load'" ;;
*) echo "query.sh: orders, files, raw or counter, not \"$3\"" >&2 && exit 2 ;;
esac
