# Storage of a cluster: the in-tree hostpath class, and the CSI driver of
# go/cowcsi with the upstream sidecars and the snapshot controller. "share" adds
# that driver once more under another name, on a pool that both clusters mount.
# shellcheck shell=bash

# csi_socket DRIVER: where the driver answers, inside its cluster.
csi_socket() { echo "/var/lib/kubelet/plugins/$1/csi.sock"; }

# The pool is mounted inside the cluster's namespaces only, through a loop
# device that goes away with the mount.
pool_up() {
    pool_image "$STATE/$1/pool.img"
    box_enter "$1" bash -euc '
        mkdir -p "$1/pool"
        mountpoint -q "$1/pool" && exit 0
        mount -o loop,noatime "$1/pool.img" "$1/pool"' pool "$STATE/$1"
}

# pool_image FILE: an empty btrfs, unless it is there.
pool_image() {
    [ ! -f "$1" ] || return 0
    truncate -s "$POOL_SIZE" "$1.new"
    mkfs.btrfs -q "$1.new" >/dev/null
    mv "$1.new" "$1"
}

# Loop devices that running pods hold would outlive the namespaces and keep the
# deleted pool's space: detaching marks them to go with their last user. The
# kubelet's own, for Block claims, have the same path in every cluster, but the
# claim's file exists in one.
loops_release() {
    [ -n "$(box_pid "$1")" ] || return 0
    box_enter "$1" bash -c '
        losetup --noheadings --output NAME,BACK-FILE | while read -r device file; do
            case $file in
            "$1"/pool/* | /var/lib/kubelet/*) [ ! -e "$file" ] || losetup --detach "$device" ;;
            esac
        done' loops "$STATE/$1" || true
}

# driver BOX NAME DRIVER NODE POOL
driver() {
    daemon_start "$1" "$2" "$(tool cowcsi)" --name "$3" --node "$4" --pool "$5" --kubelet /var/lib/kubelet
}
# sidecar CLUSTER NAME USER COMMAND...: as the user that the API server knows it by.
sidecar() {
    local cluster=$1 name=$2 user=$3
    shift 3
    daemon_start "$cluster" "$name" "$@" --kubeconfig "$(pki_dir "$cluster")/$user.kubeconfig" \
        --kube-api-qps 200 --kube-api-burst 400
}
# Capacity objects live in a namespace; outside a pod it has to be named.
provisioner() { # CLUSTER NAME DRIVER
    sidecar "$1" "$2" csi-provisioner env NAMESPACE=default "$(tool csi-provisioner)" --csi-address "$(csi_socket "$3")" \
        --default-fstype ext4 --extra-create-metadata --worker-threads 20 \
        --enable-capacity --capacity-ownerref-level=-1 --capacity-poll-interval 10s
}
snapshotter() { # CLUSTER NAME DRIVER
    sidecar "$1" "$2" csi-snapshotter "$(tool csi-snapshotter)" --csi-address "$(csi_socket "$3")" --extra-create-metadata \
        --feature-gates CSIVolumeGroupSnapshot=true
}
start_cowcsi() { driver "$1" cowcsi "$DRIVER" "$(node_name "$1")" "$STATE/$1/pool"; }
start_csi-provisioner() { provisioner "$1" csi-provisioner "$DRIVER"; }
start_csi-snapshotter() { snapshotter "$1" csi-snapshotter "$DRIVER"; }
start_csi-resizer() { sidecar "$1" csi-resizer csi-resizer "$(tool csi-resizer)" --csi-address "$(csi_socket "$DRIVER")"; }
start_snapshot-controller() {
    sidecar "$1" snapshot-controller snapshot-controller "$(tool snapshot-controller)" --feature-gates CSIVolumeGroupSnapshot=true
}

storage_up() {
    wait_for 20 "the socket of the CSI driver of $1 ($STATE/$1/logs/cowcsi)" \
        box_enter "$1" test -S "$(csi_socket "$DRIVER")"
    start_snapshot-controller "$1"
    start_csi-provisioner "$1"
    start_csi-snapshotter "$1"
    start_csi-resizer "$1"
}

# storage_ready CLUSTER [DRIVER]
storage_ready() {
    k "$1" get csinode "$(node_name "$1")" --request-timeout 2s -o 'jsonpath={.spec.drivers[*].name}' | grep -qw "${2:-$DRIVER}"
}

# share: a driver more for each cluster, whose pool is one file system, mounted in both.
share() {
    local cluster
    need_root
    lock
    resolve_units
    for cluster in a b; do
        [ -n "$(box_pid $cluster)" ] || die "cluster $cluster does not run: \"testbed up\" first"
    done
    # One device for both, made by whoever comes first: two of one file would be two file systems.
    for cluster in a b; do shared_pool_up $cluster; done
    step "shared storage" parallel share_up a b
}

shared_pool_up() {
    pool_image "$STATE/shared.img"
    box_enter "$1" bash -euc '
        mkdir -p "$1/shared"
        mountpoint -q "$1/shared" && exit 0
        device=$(losetup --noheadings --output NAME --associated "$2" | head -1)
        [ -n "$device" ] || device=$(losetup --find --show "$2")
        mount -o noatime "$device" "$1/shared"
        losetup --detach "$device"' pool "$STATE/$1" "$STATE/shared.img"
}

share_up() {
    start_shared-cowcsi "$1"
    wait_for 20 "the socket of the shared driver of $1 ($STATE/$1/logs/shared-cowcsi)" \
        box_enter "$1" test -S "$(csi_socket "$SHARED_DRIVER")"
    start_shared-provisioner "$1"
    start_shared-snapshotter "$1"
    manifest "$1" shared | apply "$1" -f -
    wait_for 30 "the shared driver of $1 ($STATE/$1/logs/shared-cowcsi)" storage_ready "$1" "$SHARED_DRIVER"
}

start_shared-cowcsi() { driver "$1" shared-cowcsi "$SHARED_DRIVER" "$(node_name "$1")" "$STATE/$1/shared"; }
start_shared-provisioner() { provisioner "$1" shared-provisioner "$SHARED_DRIVER"; }
start_shared-snapshotter() { snapshotter "$1" shared-snapshotter "$SHARED_DRIVER"; }
