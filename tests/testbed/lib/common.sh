# Names, paths and words every other part uses.
# shellcheck shell=bash

# Two testbeds on one machine differ in this octet and in their state directory.
NET=${FERRY_TESTBED_NET:-77}
HOST_IP=10.$NET.0.1
# Prefix of the bridge, the veths and the control groups.
PREFIX=ferry$NET
if [ "$NET" = 77 ]; then
    STATE=${FERRY_TESTBED_STATE:-/var/tmp/ferry-testbed}
else
    STATE=${FERRY_TESTBED_STATE:-/var/tmp/ferry-testbed-$NET}
fi
CACHE=${FERRY_TESTBED_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ferry-testbed}
POOL_SIZE=${FERRY_TESTBED_POOL:-16G}

DRIVER=cow.csi.ferry.test
# A second driver, whose storage both clusters are on.
SHARED_DRIVER=shared.csi.ferry.test
S3_PORT=9000
S3_BUCKET=ferry
REGISTRY_PORT=5000

# Addresses of a cluster: its node, its pods, its services, its DNS service.
node_number() { case $1 in a) echo 11 ;; b) echo 12 ;; esac }
node_ip() { echo "10.$NET.0.$(node_number "$1")"; }
pod_cidr() { echo "10.$NET.1$(node_number "$1").0/24"; }
service_cidr() { echo "10.$NET.2$(node_number "$1").0/24"; }
service_ip() { echo "10.$NET.2$(node_number "$1").$2"; }
node_name() { echo "node-$1"; }

cluster_name() {
    case $1 in
    a | b) echo "$1" ;;
    *) die "no cluster \"$1\": it is a or b" ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }
die() { printf 'testbed: %s\n' "$*" >&2; exit "$SAID"; }

# Milliseconds since some fixed moment; the builtin costs no process.
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# step WHAT COMMAND...: runs it and says how long it took. Never behind "||" or
# in a condition: bash would then go on after a failed command inside.
step() {
    local what=$1 begin
    shift
    begin=$(now_ms)
    "$@"
    local took=$(($(now_ms) - begin))
    say "$(printf '%-34s %4d.%01d s' "$what" $((took / 1000)) $((took % 1000 / 100)))"
}

# wait_for SECONDS WHAT COMMAND...: tries until it succeeds. The command must
# have a time limit of its own: a probe that hangs is not a probe.
wait_for() {
    local limit=$(($(now_ms) + $1 * 1000)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt $limit ] || die "waited too long for $what"
        sleep 0.1
    done
}

# parallel FUNCTION ARGUMENT...: the function once per argument, at once.
parallel() {
    local function=$1 argument pids=() failed=0
    shift
    for argument; do
        "$function" "$argument" &
        pids+=($!)
    done
    for argument in "${pids[@]}"; do
        wait "$argument" || failed=$SAID # said by the one that failed
    done
    return "$failed"
}

# One testbed is changed by one command at a time.
lock() {
    mkdir -p "$STATE"
    exec 9>"$STATE/lock"
    flock -w 300 9 || die "another testbed command has held $STATE/lock for five minutes"
}
