# Storage of a cluster: the in-tree hostpath class, and the CSI driver of
# go/cowcsi with the upstream sidecars and the snapshot controller.
# shellcheck shell=bash

CSI_SOCKET=/var/lib/kubelet/plugins/$DRIVER/csi.sock

# The pool is mounted inside the cluster's namespaces only, through a loop
# device that goes away with the mount.
pool_up() {
    box_enter "$1" bash -euc '
        mkdir -p "$1/pool"
        mountpoint -q "$1/pool" && exit 0
        if [ ! -f "$1/pool.img" ]; then
            truncate -s "$2" "$1/pool.img.new"
            mkfs.btrfs -q "$1/pool.img.new" >/dev/null
            mv "$1/pool.img.new" "$1/pool.img"
        fi
        mount -o loop,noatime "$1/pool.img" "$1/pool"' pool "$STATE/$1" "$POOL_SIZE"
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

start_cowcsi() {
    daemon_start "$1" cowcsi "$(tool cowcsi)" --name "$DRIVER" --node "$(node_name "$1")" \
        --pool "$STATE/$1/pool" --kubelet /var/lib/kubelet
}
sidecar() {
    local cluster=$1 name=$2
    shift 2
    daemon_start "$cluster" "$name" "$@" --kubeconfig "$(pki_dir "$cluster")/$name.kubeconfig" \
        --kube-api-qps 200 --kube-api-burst 400
}
# Capacity objects live in a namespace; outside a pod it has to be named.
start_csi-provisioner() {
    sidecar "$1" csi-provisioner env NAMESPACE=default "$(tool csi-provisioner)" --csi-address "$CSI_SOCKET" \
        --default-fstype ext4 --extra-create-metadata --worker-threads 20 \
        --enable-capacity --capacity-ownerref-level=-1 --capacity-poll-interval 10s
}
start_csi-snapshotter() {
    sidecar "$1" csi-snapshotter "$(tool csi-snapshotter)" --csi-address "$CSI_SOCKET" --extra-create-metadata \
        --feature-gates CSIVolumeGroupSnapshot=true
}
start_csi-resizer() { sidecar "$1" csi-resizer "$(tool csi-resizer)" --csi-address "$CSI_SOCKET"; }
start_snapshot-controller() {
    sidecar "$1" snapshot-controller "$(tool snapshot-controller)" --feature-gates CSIVolumeGroupSnapshot=true
}

storage_up() {
    wait_for 20 "the socket of the CSI driver of $1 ($STATE/$1/logs/cowcsi)" \
        box_enter "$1" test -S "$CSI_SOCKET"
    start_snapshot-controller "$1"
    start_csi-provisioner "$1"
    start_csi-snapshotter "$1"
    start_csi-resizer "$1"
}

storage_ready() {
    k "$1" get csinode "$(node_name "$1")" --request-timeout 2s -o 'jsonpath={.spec.drivers[*].name}' | grep -qw "$DRIVER"
}
