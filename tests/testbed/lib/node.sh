# The node of a cluster: containerd, kubelet, kube-proxy.
# shellcheck shell=bash

CNI_BIN=/usr/lib/cni

write_containerd_config() {
    local dir=$STATE/$1/containerd name
    mkdir -p "$dir/cni"
    # ptp, not bridge: every packet of a pod is then routed, and the answer to a
    # Service on the same node passes the translation that its question passed.
    cat >"$dir/cni/10-testbed.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "testbed", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(pod_cidr "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
    # Each cluster knows the registry by a name the other does not: an image
    # reference that was not rewritten on its way to B cannot be pulled there.
    for name in "registry-$1.testbed:$REGISTRY_PORT" "$HOST_IP:$REGISTRY_PORT"; do
        mkdir -p "$dir/certs.d/$name"
        cat >"$dir/certs.d/$name/hosts.toml" <<TOML
server = "http://$HOST_IP:$REGISTRY_PORT"
[host."http://$HOST_IP:$REGISTRY_PORT"]
capabilities = ["pull", "resolve"]
TOML
    done
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc otherwise dies with
    # "can't get final child's PID from pipe: EOF".
    cat >"$dir/config.toml" <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$PAUSE_IMAGE"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$dir/certs.d"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$CNI_BIN"
conf_dir = "$dir/cni"
TOML
}

start_containerd() { daemon_start "$1" containerd containerd --config "$STATE/$1/containerd/config.toml"; }

containerd_ready() { box_enter "$1" timeout 2 ctr version; }

write_kubelet_config() {
    local pki
    pki=$(pki_dir "$1")
    # Control groups per quality of service are off: without CAP_SYS_RESOURCE
    # they cannot be set up. The root keeps one cluster's groups in one place.
    cat >"$STATE/$1/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-serving.crt
tlsPrivateKeyFile: $pki/kubelet-serving.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: ["$(service_ip "$1" 10)"]
resolvConf: $STATE/$1/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /$PREFIX-$1
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
makeIPTablesUtilChains: false
serializeImagePulls: false
registryPullQPS: 0
maxPods: 250
kubeAPIQPS: 200
kubeAPIBurst: 400
evictionHard: {memory.available: "1%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
YAML
}

start_kubelet() {
    daemon_start "$1" kubelet "$(tool kubelet)" --config "$STATE/$1/kubelet.yaml" \
        --kubeconfig "$(pki_dir "$1")/kubelet.kubeconfig" --root-dir /var/lib/kubelet \
        --hostname-override "$(node_name "$1")" --node-ip "$(node_ip "$1")"
}

start_kube-proxy() {
    daemon_start "$1" kube-proxy "$(tool kube-proxy)" --kubeconfig "$(pki_dir "$1")/proxy.kubeconfig" \
        --proxy-mode nftables --cluster-cidr "$(pod_cidr "$1")" --hostname-override "$(node_name "$1")" \
        --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
}

# Control groups of one cluster, one tree per controller on version 1.
cgroups_up() {
    local controller
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir -p "/sys/fs/cgroup/$PREFIX-$1"
        return
    fi
    for controller in /sys/fs/cgroup/*/; do
        [ "$controller" = /sys/fs/cgroup/unified/ ] || mkdir -p "$controller$PREFIX-$1"
    done
    # A new cpuset may hold no process before it is told its processors.
    local set=/sys/fs/cgroup/cpuset/$PREFIX-$1
    cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$set/cpuset.cpus"
    cat /sys/fs/cgroup/cpuset/cpuset.mems >"$set/cpuset.mems"
}

cgroups_down() {
    find /sys/fs/cgroup -depth -type d -path "*/$PREFIX-$1*" -exec rmdir {} + 2>/dev/null || true
}

# containerd does not need the API server, so it is started before that one.
runtime_up() {
    write_containerd_config "$1"
    cgroups_up "$1"
    start_containerd "$1"
    wait_for 20 "containerd of $1 ($STATE/$1/logs/containerd)" containerd_ready "$1"
    box_enter "$1" ctr --namespace k8s.io images ls -q | grep -qx "$PAUSE_IMAGE" || image_import "$1" "$(pause_archive)"
}

node_up() {
    write_kubelet_config "$1"
    start_kubelet "$1"
    start_kube-proxy "$1"
}

node_ready() {
    [ "$(k "$1" get node "$(node_name "$1")" --request-timeout 2s \
        -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}
