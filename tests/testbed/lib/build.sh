# Every binary, built from pinned Go modules and kept by the hash of what it is
# built from: CACHE/bin/HASH/NAME. A unit that is there is not built again.
# shellcheck shell=bash

UNITS='kubernetes addons etcd registry minio cowcsi image'
# Built only when "testbed sanity" asks for it.
TEST_UNITS='sanity'

# unit_dir UNIT: where its products are or will be.
unit_dir() {
    local known=UNIT_DIR_$1
    echo "${!known:-$CACHE/bin/$1-$(unit_hash "$1")}"
}

unit_hash() {
    local of=(go/"$1")
    [ "$1" != image ] || of=(image lib/image.sh)
    cd "$TESTBED_HOME" || exit
    find "${of[@]}" -type f ! -name '*_test.go' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16
}

# tool NAME: the path of a built binary.
tool() {
    local unit
    case $1 in
    kube* ) unit=kubernetes ;;
    csi-sanity) unit=sanity ;;
    csi-* | snapshot-controller | coredns) unit=addons ;;
    pause) unit=image ;;
    *) unit=$1 ;;
    esac
    echo "$(unit_dir "$unit")/$1"
}

# Resolving every unit once spares each later "tool" a hash.
resolve_units() {
    local unit
    for unit in $UNITS $TEST_UNITS; do printf -v "UNIT_DIR_$unit" %s "$(unit_dir "$unit")"; done
}

build_all() { build_units "$UNITS"; }

# build_units UNITS: those that are not there yet. What no build or start has
# used for two weeks is removed: every change of a module leaves a directory.
build_units() {
    local unit
    resolve_units
    mkdir -p "$CACHE/bin"
    exec 8>"$CACHE/lock"
    flock 8
    for unit in $1; do
        [ -f "$(unit_dir "$unit")/done" ] || step "build $unit" build_unit "$unit"
        touch "$(unit_dir "$unit")"
    done
    find "$CACHE/bin" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
    exec 8>&-
}

build_unit() {
    local unit=$1 dir new
    dir=$(unit_dir "$unit") new=$(unit_dir "$unit").new
    rm -rf "$new"
    mkdir -p "$new"
    if [ "$unit" = image ]; then
        build_images "$new"
    else
        need_go
        (cd "$TESTBED_HOME/go/$unit" && "build_$unit" "$new")
    fi
    touch "$new/done"
    rm -rf "$dir"
    mv "$new" "$dir"
}

# go_build OUT LINKER-FLAGS PACKAGES...
#
# GOFLAGS is set here, so that a user's own does not change what is built, and
# the toolchain is never downloaded. Three things make a cold build a quarter
# cheaper: no cgo, no debugging information (stripped at the link anyway), and a
# compiler that collects its garbage less often.
go_build() {
    local out=$1 flags=$2
    shift 2
    GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOGC=400 go build -buildvcs=false \
        -trimpath -pgo=off -gcflags all=-dwarf=false -ldflags "-s -w $flags" -o "$out/" "$@"
}

build_kubernetes() {
    # The version is not in the module: without this the API server says v0.0.0-master.
    local set="-X k8s.io/component-base/version" version
    version=$(sed -n 's/^require k8s.io\/kubernetes v//p' go.mod)
    go_build "$1" "$set.gitVersion=v$version $set.gitMajor=${version%%.*} $set.gitMinor=$(cut -d. -f2 <<<"$version")" \
        k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
}

build_addons() {
    local csi=github.com/kubernetes-csi module=external-snapshotter
    go_build "$1" "" $csi/external-provisioner/v6/cmd/csi-provisioner $csi/external-resizer/v2/cmd/csi-resizer \
        $csi/external-snapshotter/v8/cmd/{csi-snapshotter,snapshot-controller} ./coredns
    # The roles and kinds that belong to exactly these versions. The
    # kustomization beside the kinds is no object, so files are named.
    mkdir -p "$1/manifests/crd" "$1/manifests/rbac"
    cp "$(module_dir $csi/$module/client/v8)"/config/crd/*snapshot*.yaml "$1/manifests/crd/"
    cp "$(module_dir $csi/external-provisioner/v6)/deploy/kubernetes/rbac.yaml" "$1/manifests/rbac/provisioner.yaml"
    cp "$(module_dir $csi/external-resizer/v2)/deploy/kubernetes/rbac.yaml" "$1/manifests/rbac/resizer.yaml"
    cp "$(module_dir $csi/$module/v8)"/deploy/kubernetes/{csi-snapshotter/rbac-csi-snapshotter,snapshot-controller/rbac-snapshot-controller}.yaml \
        "$1/manifests/rbac/"
    chmod -R u+w "$1/manifests"
}
module_dir() { GOFLAGS=-mod=readonly GOTOOLCHAIN=local go list -m -f '{{.Dir}}' "$1"; }

build_etcd() {
    go_build "$1" "" go.etcd.io/etcd/server/v3
    # A main package is named after its directory, here the module's "server".
    mv "$1/server" "$1/etcd"
}
build_registry() { go_build "$1" "" .; }
build_minio() { go_build "$1" "" github.com/minio/minio; }
build_cowcsi() { go_build "$1" "" .; }
build_sanity() { go_build "$1" "" github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity; }
