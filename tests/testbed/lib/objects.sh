# The objects a cluster starts with, of DNS and storage: in as few calls as
# possible, because each kubectl reads the API's list of kinds first.
# shellcheck shell=bash

# First part of the names of a cluster's storage classes.
class_prefix() { case $1 in a) echo cow ;; b) echo fast ;; esac }

# manifest CLUSTER NAME...: our own files with their placeholders filled in.
manifest() {
    local cluster=$1 name
    shift
    for name; do
        sed -e "s/@SERVICE_IP@/$(service_ip "$cluster" 10)/" -e "s/@NODE_IP@/$(node_ip "$cluster")/" \
            -e "s/@DRIVER@/$DRIVER/" -e "s/@SHARED@/$SHARED_DRIVER/" -e "s/@CLASS@/$(class_prefix "$cluster")/" "$TESTBED_HOME/manifests/$name.yaml"
        echo ---
    done
}

objects_up() {
    local cluster=$1 upstream
    upstream=$(unit_dir addons)/manifests
    [ ! -f "$STATE/$cluster/objects" ] || return 0
    manifest "$cluster" dns storage | apply "$cluster" -f "$upstream/crd" -f "$upstream/rbac" -f -
    k "$cluster" wait --for condition=Established --timeout 20s -f "$upstream/crd" >/dev/null
    manifest "$cluster" snapshots | apply "$cluster" -f -
    touch "$STATE/$cluster/objects"
}

# Without validation: it would fetch the description of every kind first.
apply() { k "$1" apply --server-side --force-conflicts --validate=false "${@:2}" >/dev/null; }
