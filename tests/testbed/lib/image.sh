# Container images without a container engine: a directory becomes an OCI
# archive, and the archive goes into a cluster or to the registry.
#
# Layers are not compressed: everything stays on this machine, and the bytes are
# the same for the same directory, so an unchanged image is never sent twice.
# shellcheck shell=bash

PAUSE_IMAGE=ferry.test/pause:1

# image_pack ROOTFS NAME OUT.tar [--entrypoint JSON] [--cmd JSON] [--env K=V]... [--user U] [--workdir D]
# NAME is complete: registry-a.testbed:5000/library/busybox:1
image_pack() {
    local rootfs=$1 name=$2 out=$3 config='{}' work layer size digest blob
    shift 3
    while [ $# -gt 0 ]; do
        [ $# -gt 1 ] || die "image pack: $1 needs a value"
        case $1 in
        --entrypoint) config=$(jq -c --argjson v "$2" '.Entrypoint = $v' <<<"$config") ;;
        --cmd) config=$(jq -c --argjson v "$2" '.Cmd = $v' <<<"$config") ;;
        --env) config=$(jq -c --arg v "$2" '.Env += [$v]' <<<"$config") ;;
        --user) config=$(jq -c --arg v "$2" '.User = $v' <<<"$config") ;;
        --workdir) config=$(jq -c --arg v "$2" '.WorkingDir = $v' <<<"$config") ;;
        *) die "image pack: unknown option $1" ;;
        esac
        shift 2
    done
    work=$(mktemp -d "$out.XXXXXX")
    mkdir -p "$work/blobs/sha256"
    tar -C "$rootfs" --sort=name --mtime=@0 --numeric-owner --format=pax \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -cf "$work/layer" .
    layer=$(image_blob "$work" "$work/layer")
    size=$(stat -c %s "$work/blobs/sha256/$layer")
    jq -cnj --argjson c "$config" --arg l "sha256:$layer" --arg arch "$(image_architecture)" \
        '{architecture: $arch, os: "linux", config: $c, rootfs: {type: "layers", diff_ids: [$l]}}' >"$work/config"
    digest=$(image_blob "$work" "$work/config")
    jq -cnj --arg c "sha256:$digest" --arg l "sha256:$layer" --argjson ls "$size" \
        --argjson cs "$(stat -c %s "$work/blobs/sha256/$digest")" '{schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $c, size: $cs},
        layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $l, size: $ls}]}' >"$work/manifest"
    blob=$(image_blob "$work" "$work/manifest")
    jq -cnj --arg m "sha256:$blob" --arg name "$name" --argjson s "$(stat -c %s "$work/blobs/sha256/$blob")" \
        '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $m, size: $s,
        annotations: {"io.containerd.image.name": $name, "org.opencontainers.image.ref.name": ($name | split(":") | last)}}]}' \
        >"$work/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
    tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$out.new" oci-layout index.json blobs
    mv "$out.new" "$out"
    rm -rf "$work"
}

image_blob() {
    local digest
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    mv "$2" "$1/blobs/sha256/$digest"
    echo "$digest"
}

image_architecture() { case $(uname -m) in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac }

# image_import CLUSTER ARCHIVE
image_import() {
    # Through a pipe: the archive may lie where the cluster has its own directory.
    box_enter "$1" ctr --namespace k8s.io images import --no-unpack - <"$2" >/dev/null ||
        die "containerd of $1 did not take $2"
}

# image_push ARCHIVE: to the registry, under the repository and tag of its name.
image_push() {
    local archive=$1 index name repository tag base manifest digest digests
    index=$(tar -xOf "$archive" index.json)
    name=$(jq -r '.manifests[0].annotations["io.containerd.image.name"]' <<<"$index")
    repository=${name#*/} tag=${name##*:}
    repository=${repository%:*}
    base=http://$HOST_IP:$REGISTRY_PORT/v2/$repository
    manifest=$(jq -r '.manifests[0].digest | ltrimstr("sha256:")' <<<"$index")
    digests=$(tar -xOf "$archive" "blobs/sha256/$manifest" | jq -r '.config.digest, .layers[].digest | ltrimstr("sha256:")')
    for digest in $digests; do
        registry_has "$base/blobs/sha256:$digest" || registry_send_blob "$archive" "$base" "$digest"
    done
    tar -xOf "$archive" "blobs/sha256/$manifest" |
        curl -sSf --max-time 60 -o /dev/null -X PUT --data-binary @- \
            -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' "$base/manifests/$tag" ||
        die "the registry did not take the manifest of $name"
}

registry_has() { curl -sfI --max-time 10 -o /dev/null "$1"; }

registry_send_blob() {
    local archive=$1 base=$2 digest=$3 location
    location=$(curl -sSf --max-time 10 -o /dev/null -D - -X POST "$base/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p') || true
    [ -n "$location" ] || die "the registry on $HOST_IP:$REGISTRY_PORT opened no upload for $base"
    case $location in /*) location=http://$HOST_IP:$REGISTRY_PORT$location ;; esac
    case $location in *\?*) location+="&" ;; *) location+="?" ;; esac
    # -T streams from the pipe; --data-binary would hold the layer in memory.
    tar -xOf "$archive" "blobs/sha256/$digest" |
        curl -sSf --max-time 600 -o /dev/null -T - -H 'Content-Type: application/octet-stream' \
            "${location}digest=sha256:$digest" || die "the registry did not take the layer sha256:$digest"
}

# The two images every testbed has. Made once, kept in the build cache.
pause_archive() { echo "$(unit_dir image)/pause.tar"; }
busybox_archive() { echo "$(unit_dir image)/busybox-$1.tar"; }

build_images() {
    local root=$1/root cluster
    gcc -static -Os -Wall -Wextra -o "$1/pause" "$TESTBED_HOME/image/pause.c"
    mkdir -p "$root"
    cp "$1/pause" "$root/pause"
    image_pack "$root" "$PAUSE_IMAGE" "$1/pause.tar" --entrypoint '["/pause"]'
    rm -rf "$root"
    mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    "$root/bin/busybox" --list | while read -r cluster; do ln -s busybox "$root/bin/$cluster" 2>/dev/null || true; done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    for cluster in a b; do
        image_pack "$root" "registry-$cluster.testbed:$REGISTRY_PORT/library/busybox:1" "$1/busybox-$cluster.tar" \
            --cmd '["sh"]' --env PATH=/bin
    done
    rm -rf "$root"
}

image_command() {
    local command=${1:-}
    [ $# -gt 0 ] && shift
    case $command in
    pack) [ $# -ge 3 ] || die "usage: image pack ROOTFS NAME OUT.tar [OPTIONS]"; image_pack "$@" ;;
    import) image_import "$(cluster_name "${1:-}")" "${2:?which archive}" ;;
    push) image_push "${1:?which archive}" ;;
    *) die "image pack, image import or image push" ;;
    esac
}
