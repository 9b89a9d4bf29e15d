# What both clusters share, on the bridge's own address: an S3 server (MinIO)
# and an image registry (distribution), in a box "s" without its own network.
# shellcheck shell=bash

s3_credentials() {
    [ -f "$STATE/s3.env" ] || (umask 077 && mkdir -p "$STATE" && printf 'S3_KEY=%s\nS3_SECRET=%s\n' \
        "$(openssl rand -hex 10)" "$(openssl rand -hex 20)" >"$STATE/s3.env")
    # shellcheck source=/dev/null
    source "$STATE/s3.env"
}

start_minio() {
    s3_credentials
    # In a file, not on the command line: everybody can read a command line.
    printf 'MINIO_ROOT_USER=%s\nMINIO_ROOT_PASSWORD=%s\nMINIO_BROWSER=off\nMINIO_UPDATE=off\n' "$S3_KEY" "$S3_SECRET" >"$STATE/s/minio.env"
    daemon_start s minio env MINIO_CONFIG_ENV_FILE="$STATE/s/minio.env" "$(tool minio)" server --quiet \
        --address "$HOST_IP:$S3_PORT" "$STATE/s/minio"
}

start_registry() {
    cat >"$STATE/s/registry.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $STATE/s/registry}, delete: {enabled: true}}
http: {addr: "$HOST_IP:$REGISTRY_PORT"}
YAML
    daemon_start s registry env OTEL_TRACES_EXPORTER=none "$(tool registry)" serve "$STATE/s/registry.yaml"
}

s3_ready() { curl -sf --max-time 2 "http://$HOST_IP:$S3_PORT/minio/health/ready"; }
registry_ready() { curl -sf --max-time 2 "http://$HOST_IP:$REGISTRY_PORT/v2/"; }

# s3_curl PATH CURL-ARGUMENTS...: a signed request.
s3_curl() {
    s3_credentials
    # The credentials pass through a file descriptor, not the command line.
    curl -sS --max-time 20 --aws-sigv4 aws:amz:us-east-1:s3 --config <(printf 'user = "%s:%s"\n' "$S3_KEY" "$S3_SECRET") \
        "${@:2}" "http://$HOST_IP:$S3_PORT/$1"
}

# bucket_up: makes the bucket. A server that says it is ready may still refuse to write while its disk is busy.
bucket_up() {
    local code limit=$(($(now_ms) + 60000))
    while :; do
        code=$(s3_curl "$S3_BUCKET" -X PUT -o /dev/null -w '%{http_code}')
        case $code in 200 | 409) return ;; esac
        if [ "$code" != 503 ] || [ "$(now_ms)" -ge $limit ]; then
            die "the S3 server answered $code to the creation of bucket $S3_BUCKET"
        fi
        sleep 0.5
    done
}

services_up() {
    if [ -z "$(box_pid s)" ]; then
        need_free_port "$S3_PORT"
        need_free_port "$REGISTRY_PORT"
    fi
    box_start s
    start_minio
    start_registry
    wait_for 30 "the registry ($STATE/s/logs/registry)" registry_ready
    image_push "$(busybox_archive a)"
    image_push "$(busybox_archive b)"
    wait_for 90 "the S3 server ($STATE/s/logs/minio)" s3_ready
    bucket_up
}
