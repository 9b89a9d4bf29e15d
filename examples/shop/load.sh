#!/usr/bin/env bash
# Writes to the shop's database for a while: one small committed transaction
# after the other, each counting up by one. The orders are not touched, so their
# digest stays; `query.sh CONTEXT NAMESPACE counter` says how far it got.
#
#   load.sh CONTEXT NAMESPACE SECONDS
set -euo pipefail
if [ $# -ne 3 ]; then
	sed -n 's/^# \{0,1\}//; 2,6p' "$0" >&2
	exit 2
fi
exec "${KUBECTL:-kubectl}" --context "$1" --namespace "$2" exec deployment/web -- /shop load "$3"
