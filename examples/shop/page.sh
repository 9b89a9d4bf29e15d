#!/usr/bin/env bash
# Prints the shop's web page, fetched inside the cluster through the Service.
#
#   page.sh CONTEXT NAMESPACE [PATH]     PATH: / (the default), /digest, /healthz
#
# In a browser:  kubectl --context CONTEXT -n NAMESPACE port-forward service/web 8080:80
set -euo pipefail
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
	sed -n 's/^# \{0,1\}//; 2,6p' "$0" >&2
	exit 2
fi
exec "${KUBECTL:-kubectl}" --context "$1" --namespace "$2" exec deployment/archive -- /shop get "http://web${3:-/}"
