# Every binary, built from pinned sources and kept by the hash of what it is
# built from: CACHE/bin/HASH/NAME. A unit that is there is not built again.
# shellcheck shell=bash

UNITS='kubernetes addons etcd registry minio cowcsi image'
# Built only when "testbed sanity" or "testbed build UNIT" asks for it.
TEST_UNITS='sanity helm gcs azurite rustic peers velero'

# What each unit's binaries are compiled from.
CSI=github.com/kubernetes-csi
PACKAGES_kubernetes=$(echo k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl})
PACKAGES_addons="$CSI/external-provisioner/v6/cmd/csi-provisioner $CSI/external-resizer/v2/cmd/csi-resizer
    $CSI/external-snapshotter/v8/cmd/csi-snapshotter $CSI/external-snapshotter/v8/cmd/snapshot-controller ./coredns"
PACKAGES_etcd=go.etcd.io/etcd/server/v3
PACKAGES_registry=.
PACKAGES_minio=github.com/minio/minio
PACKAGES_cowcsi=.
PACKAGES_sanity=$CSI/csi-test/v5/cmd/csi-sanity
PACKAGES_helm=helm.sh/helm/v3/cmd/helm
PACKAGES_gcs=.
# With the kopia that Velero's own repositories are written by.
PACKAGES_velero='github.com/kopia/kopia github.com/vmware-tanzu/velero/cmd/velero github.com/vmware-tanzu/velero/cmd/velero-restore-helper
    github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws'
PACKAGES_peers='github.com/kopia/kopia github.com/restic/restic/cmd/restic ./relay'

# unit_dir UNIT: where its products are or will be.
unit_dir() {
    local known=UNIT_DIR_$1
    echo "${!known:-$CACHE/bin/$1-$(unit_hash "$1")}"
}

unit_hash() {
    local of=("$(unit_source "$1")")
    [ "$1" != image ] || of=(image lib/image.sh)
    cd "$TESTBED_HOME" || exit
    {
        find "${of[@]}" -type f ! -name '*_test.go' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        [ "$1" = image ] || declare -f go_command go_build "build_$1"
    } | sha256sum | cut -c1-16
}

# unit_source UNIT: where what it is built from is pinned.
unit_source() {
    case $1 in
    azurite) echo npm/"$1" ;;
    rustic) echo rust/"$1" ;;
    *) echo go/"$1" ;;
    esac
}

# tool NAME: the path of a built binary.
tool() {
    local unit
    case $1 in
    kube* ) unit=kubernetes ;;
    csi-sanity) unit=sanity ;;
    csi-* | snapshot-controller | coredns) unit=addons ;;
    pause) unit=image ;;
    kopia | relay) unit=peers ;;
    azurite-blob) unit=azurite ;;
    *) unit=$1 ;;
    esac
    echo "$(unit_dir "$unit")/$1"
}

# Resolving every unit once spares each later "tool" a hash.
resolve_units() {
    local unit
    for unit in $UNITS $TEST_UNITS; do printf -v "UNIT_DIR_$unit" %s "$(unit_dir "$unit")"; done
}

# build_all [UNITS]: all that the clusters need, or some.
build_all() { build_units "${*:-$UNITS}"; }

# build_units UNITS: those that are not there yet. What no build or start has
# used for two weeks is removed: every change of a module leaves a directory.
build_units() {
    local unit
    resolve_units
    mkdir -p "$CACHE/bin"
    exec 8>"$CACHE/lock"
    flock 8
    fetch_sources "$1" &
    for unit in $1; do
        [ -f "$(unit_dir "$unit")/done" ] || step "build $unit" build_unit "$unit"
        touch "$(unit_dir "$unit")"
    done
    wait $!
    find "$CACHE/bin" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
    exec 8>&-
}

# fetch_sources UNITS: while the first unit compiles, the network brings the others' modules, in the
# order of need and only what their packages import. What fails here is told by the build itself.
fetch_sources() {
    local unit packages
    for unit in $1; do
        packages=PACKAGES_$unit
        if [ -z "${!packages:-}" ] || [ -f "$(unit_dir "$unit")/done" ]; then continue; fi
        # shellcheck disable=SC2086
        (cd "$TESTBED_HOME/go/$unit" && go_command list -deps ${!packages}) >/dev/null 2>&1 || true
    done
}

build_unit() {
    local unit=$1 dir new
    dir=$(unit_dir "$unit") new=$(unit_dir "$unit").new
    rm -rf "$new"
    mkdir -p "$new"
    if [ "$unit" = image ]; then
        build_images "$new"
    else
        case $unit in azurite | rustic) ;; *) need_go ;; esac
        (cd "$TESTBED_HOME/$(unit_source "$unit")" && "build_$unit" "$new")
    fi
    touch "$new/done"
    rm -rf "$dir"
    mv "$new" "$dir"
}

# GOFLAGS is set here, so that a user's own does not change what is built, and
# the toolchain is never downloaded.
go_command() {
    GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOGC=400 go "$@"
}

# go_build UNIT OUT [LINKER-FLAGS]
#
# Four things make a cold build cheaper by a third: no cgo, no debugging information
# (stripped at the link anyway), no inlining, and a compiler that collects its
# garbage less often. Peers that Ferry is measured against are built as their own
# projects build them.
go_build() {
    local packages=PACKAGES_$1 cheap=(-pgo=off -gcflags 'all=-dwarf=false -l')
    case $1 in peers | velero) cheap=() ;; esac
    # shellcheck disable=SC2086
    go_command build -buildvcs=false -trimpath "${cheap[@]}" \
        -ldflags "-s -w ${3:-}" -o "$2/" ${!packages}
}

build_kubernetes() {
    # The version is not in the module: without this the API server says v0.0.0-master.
    local set="-X k8s.io/component-base/version" version
    version=$(sed -n 's/^require k8s.io\/kubernetes v//p' go.mod)
    go_build kubernetes "$1" \
        "$set.gitVersion=v$version $set.gitMajor=${version%%.*} $set.gitMinor=$(cut -d. -f2 <<<"$version")"
}

build_addons() {
    local module=external-snapshotter
    go_build addons "$1"
    # The roles and kinds that belong to exactly these versions. The
    # kustomization beside the kinds is no object, so files are named.
    mkdir -p "$1/manifests/crd" "$1/manifests/rbac"
    cp "$(module_dir $CSI/$module/client/v8)"/config/crd/*snapshot*.yaml "$1/manifests/crd/"
    cp "$(module_dir $CSI/external-provisioner/v6)/deploy/kubernetes/rbac.yaml" "$1/manifests/rbac/provisioner.yaml"
    cp "$(module_dir $CSI/external-resizer/v2)/deploy/kubernetes/rbac.yaml" "$1/manifests/rbac/resizer.yaml"
    cp "$(module_dir $CSI/$module/v8)"/deploy/kubernetes/{csi-snapshotter/rbac-csi-snapshotter,snapshot-controller/rbac-snapshot-controller}.yaml \
        "$1/manifests/rbac/"
    chmod -R u+w "$1/manifests"
}
module_dir() { go_command list -m -f '{{.Dir}}' "$1"; }

build_etcd() {
    go_build etcd "$1"
    # A main package is named after its directory, here the module's "server".
    mv "$1/server" "$1/etcd"
}
build_registry() { go_build registry "$1"; }
build_minio() { go_build minio "$1"; }
build_cowcsi() { go_build cowcsi "$1"; }
build_sanity() { go_build sanity "$1"; }
build_helm() { go_build helm "$1"; }
build_gcs() { go_build gcs "$1"; }
build_azurite() {
    command -v npm >/dev/null || die "npm is not installed" "install nodejs and npm from your distribution"
    cp package.json package-lock.json "$1/"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    ln -s node_modules/.bin/azurite-blob "$1/azurite-blob"
}
build_rustic() {
    command -v cargo >/dev/null || die "cargo is not installed" "install Rust from your distribution or with rustup"
    cargo install --quiet --locked --path . --root "$1" --target-dir "$1/target"
    mv "$1/bin/rustic" "$1/"
    rm -rf "$1/target"
}
build_peers() { go_build peers "$1"; }
build_velero() {
    local version
    version=$(sed -n 's/^\tgithub.com\/vmware-tanzu\/velero \(v.*\)/\1/p' go.mod)
    go_build velero "$1" "-X github.com/vmware-tanzu/velero/pkg/buildinfo.Version=$version"
}
