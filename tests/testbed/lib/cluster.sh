# The order of things: what "up", "down", "reset", "status" and "env" do.
# shellcheck shell=bash

# which_parts a|b|all: the clusters meant.
which_parts() {
    case $1 in
    a | b) echo "$1" ;;
    all) echo a b ;;
    *) die "\"$1\" is not a, b or all" ;;
    esac
}

# cluster_up CLUSTER: in the shortest order that works. Containerd does not
# wait for the API server, nor the driver for the snapshot kinds.
cluster_up() {
    local cluster=$1
    box_start "$cluster" --net
    net_up "$cluster"
    pki_up "$cluster"
    pool_up "$cluster"
    start_etcd "$cluster"
    start_kube-apiserver "$cluster"
    runtime_up "$cluster"
    start_cowcsi "$cluster"
    control_up "$cluster"
    node_up "$cluster"
    start_coredns "$cluster"
    objects_up "$cluster"
    storage_up "$cluster"
    wait_for 60 "node $(node_name "$cluster") ($STATE/$cluster/logs/kubelet)" node_ready "$cluster"
    wait_for 30 "CoreDNS of $cluster ($STATE/$cluster/logs/coredns)" dns_ready "$cluster"
    wait_for 30 "the CSI driver of $cluster ($STATE/$cluster/logs/cowcsi)" storage_ready "$cluster"
    wait_for 30 "the default service account of $cluster" k "$cluster" get serviceaccount default --request-timeout 2s
}

part_up() {
    case $1 in
    s) step "S3 server and registry" services_up ;;
    *) step "cluster $1" cluster_up "$1" ;;
    esac
}

testbed_up() {
    local parts
    parts=$(which_parts "$1")
    need_machine
    need_packages
    build_all
    lock
    bridge_up
    # shellcheck disable=SC2086 # one word per part
    parallel part_up s $parts
    merge_kubeconfig
}

# cluster_kill CLUSTER: everything but its certificates goes.
cluster_kill() {
    loops_release "$1"
    box_kill "$1"
    net_down "$1"
    cgroups_down "$1"
    discard "$STATE/$1"
}

services_kill() {
    box_kill s
    discard "$STATE/s"
    discard "$STATE/shared.img"
}

# discard DIRECTORY: gone at once for whoever looks, deleted in its own time.
discard() {
    [ -e "$1" ] || return 0
    local trash
    trash=$(mktemp -d "$STATE/trash.XXXXXX")
    mv "$1" "$trash/"
    (setsid rm -rf --one-file-system "$trash" </dev/null >/dev/null 2>&1 9>&- &)
}

testbed_down() {
    local parts cluster
    parts=$(which_parts "$1")
    need_root
    [ -d "$STATE" ] || return 0
    lock
    resolve_units
    # shellcheck disable=SC2086
    step "down" parallel cluster_kill $parts
    for cluster in $parts; do rm -rf "$(pki_dir "$cluster")"; done
    if [ -n "$(box_pid a)$(box_pid b)" ]; then
        merge_kubeconfig
        return
    fi
    services_kill
    remove_traces
}

# remove_traces: what is left when no box runs.
remove_traces() {
    bridge_down
    rmdir /tmp/hostpath_pv 2>/dev/null || true
    rm -rf --one-file-system "$STATE"
}

testbed_reset() {
    local parts
    parts=$(which_parts "$1")
    need_machine
    lock
    resolve_units
    # shellcheck disable=SC2086
    parallel cluster_kill $parts
    [ "$1" != all ] || services_kill
    testbed_up "$1"
}

testbed_start() {
    declare -F "start_$2" >/dev/null || die "no process \"$2\""
    resolve_units
    "start_$2" "$1"
}

testbed_status() {
    local box dead
    resolve_units
    for box in a b s; do
        if [ -z "$(box_pid $box)" ]; then
            printf '%s: down\n' $box
            continue
        fi
        dead=$(daemons_dead $box)
        printf '%s: up since %s, %d daemons%s\n' $box "$(stat -c %y "$STATE/$box/init" | cut -d. -f1)" \
            "$(find "$STATE/$box/daemon" -type f | wc -l)" "${dead:+, DEAD: ${dead//$'\n'/ }}"
    done
    for box in a b; do
        [ -z "$(box_pid $box)" ] || { printf '%s: ' $box; k $box get nodes --no-headers --request-timeout 5s || true; }
    done
}

testbed_env() {
    [ -f "$STATE/kubeconfig" ] || die "nothing runs: \"testbed up\" first"
    s3_credentials
    resolve_units
    cat <<ENV
export KUBECONFIG=$STATE/kubeconfig
export FERRY_TESTBED=$TESTBED_HOME/testbed
export FERRY_TESTBED_S3_ENDPOINT=http://$HOST_IP:$S3_PORT
export FERRY_TESTBED_S3_BUCKET=$S3_BUCKET
export AWS_ACCESS_KEY_ID=$S3_KEY
export AWS_SECRET_ACCESS_KEY=$S3_SECRET
export AWS_REGION=us-east-1
export AWS_DEFAULT_REGION=us-east-1
export FERRY_TESTBED_REGISTRY=$HOST_IP:$REGISTRY_PORT
export FERRY_TESTBED_REGISTRY_A=registry-a.testbed:$REGISTRY_PORT
export FERRY_TESTBED_REGISTRY_B=registry-b.testbed:$REGISTRY_PORT
export FERRY_TESTBED_KUBECTL=$(tool kubectl)
export FERRY_TESTBED_HELM=$(tool helm)
export FERRY_TESTBED_MINIO=$(tool minio)
export FERRY_TESTBED_GCS=$(tool gcs)
export FERRY_TESTBED_AZURITE=$(tool azurite-blob)
export FERRY_TESTBED_RUSTIC=$(tool rustic)
export FERRY_TESTBED_VELERO=$(unit_dir velero)
ENV
}
