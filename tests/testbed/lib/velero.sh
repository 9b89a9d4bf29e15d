# Velero, the tool Ferry is measured against and whose backups it imports, as its own installer sets it up: the server,
# its node agent and the plugin for S3, in one image made here, with a prefix of the testbed's bucket to itself.
# shellcheck shell=bash

# velero_install a|b PREFIX: until it says that it can use the bucket.
velero_install() {
    local context=$1 prefix=$2 folder image=$HOST_IP:$REGISTRY_PORT/velero:1
    build_units velero
    s3_credentials
    folder=$(mktemp -d)
    velero_image "$folder" "$image"
    (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_KEY" "$S3_SECRET" >"$folder/keys")
    # The plugin is in the image, so nothing is to be copied over it.
    "$(tool velero)" install --dry-run -o json --provider aws --plugins "$image" --image "$image" \
        --bucket "$S3_BUCKET" --prefix "$prefix" --secret-file "$folder/keys" --use-node-agent --use-volume-snapshots=false \
        --backup-location-config "region=us-east-1,s3ForcePathStyle=true,s3Url=http://$HOST_IP:$S3_PORT" |
        jq '(.items[] | select(.kind == "Deployment").spec.template.spec) |=
            (del(.initContainers) | del(.containers[].volumeMounts[] | select(.name == "plugins")))' >"$folder/objects"
    jq '.items |= map(select(.kind == "CustomResourceDefinition"))' "$folder/objects" | velero_kubectl apply --server-side -f -
    velero_kubectl wait --for=condition=Established --timeout=60s crd -l component=velero
    jq '.items |= map(select(.kind != "CustomResourceDefinition"))' "$folder/objects" | velero_kubectl apply --server-side -f -
    velero_kubectl -n velero rollout status deployment/velero --timeout=180s
    velero_kubectl -n velero rollout status daemonset/node-agent --timeout=180s
    velero_kubectl -n velero wait backupstoragelocation/default --for=jsonpath='{.status.phase}'=Available --timeout=120s
    rm -rf "$folder"
}

# velero_remove a|b: as its own command does it, which waits for what its finalizers clean up.
velero_remove() { "$(tool velero)" uninstall --force --kubeconfig "$STATE/kubeconfig" --kubecontext "$1" >/dev/null; }

# velero_image FOLDER NAME: what Velero's own Dockerfile makes, and its plugin where the server looks for plugins.
velero_image() {
    local from root=$1/root
    from=$(unit_dir velero)
    mkdir -p "$root/plugins"
    mkdir -m 1777 "$root/tmp"
    cp "$from/velero" "$from/velero-restore-helper" "$root"
    cp "$from/velero-plugin-for-aws" "$root/plugins"
    image_pack "$root" "$2" "$1/velero.tar" --entrypoint '["/velero"]' --env PATH=/
    image_push "$1/velero.tar"
}

velero_kubectl() { "$(tool kubectl)" --kubeconfig "$STATE/kubeconfig" --context "$context" "$@" >/dev/null; }
