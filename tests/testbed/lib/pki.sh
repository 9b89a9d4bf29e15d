# Certificates and kubeconfigs of a cluster. They outlive "reset", so that a
# kubeconfig somebody holds stays good; "down" removes them.
# shellcheck shell=bash

pki_dir() { echo "$STATE/pki-$1"; }

# certificate CLUSTER NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
    local dir names=()
    dir=$(pki_dir "$1")
    [ -f "$dir/$2.crt" ] && return
    [ -z "${4:-}" ] || names=(-addext "subjectAltName=$4")
    openssl req -config "$TESTBED_HOME/lib/openssl.cnf" -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "$3" \
        -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -keyout "$dir/$2.key" -out "$dir/$2.crt.new" \
        -addext basicConstraints=critical,CA:FALSE -addext "keyUsage=critical,digitalSignature,keyEncipherment" \
        -addext extendedKeyUsage=serverAuth,clientAuth "${names[@]}" 2>/dev/null ||
        die "openssl could not make the certificate $2 of cluster $1"
    mv "$dir/$2.crt.new" "$dir/$2.crt"
}

# kubeconfig CLUSTER NAME SUBJECT: a client certificate and the file that uses
# it. RBAC goes by names, so "CN=system:serviceaccount:NAMESPACE:NAME" is that
# service account, without a token that runs out.
kubeconfig() {
    local dir
    dir=$(pki_dir "$1")
    certificate "$1" "$2" "$3"
    [ -f "$dir/$2.kubeconfig" ] && return
    cat >"$dir/$2.kubeconfig.new" <<YAML
apiVersion: v1
kind: Config
current-context: $1
clusters:
- name: $1
  cluster: {server: "https://$(node_ip "$1"):6443", certificate-authority-data: $(base64 -w0 "$dir/ca.crt")}
contexts:
- name: $1
  context: {cluster: $1, user: $2-$1}
users:
- name: $2-$1
  user: {client-certificate-data: $(base64 -w0 "$dir/$2.crt"), client-key-data: $(base64 -w0 "$dir/$2.key")}
YAML
    mv "$dir/$2.kubeconfig.new" "$dir/$2.kubeconfig"
}

pki_up() {
    local cluster=$1 dir node sidecar
    dir=$(pki_dir "$cluster") node=$(node_name "$cluster")
    [ -f "$dir/done" ] && return
    (umask 077 && mkdir -p "$dir")
    openssl req -config "$TESTBED_HOME/lib/openssl.cnf" -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=testbed-$cluster" \
        -keyout "$dir/ca.key" -out "$dir/ca.crt" -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out "$dir/service-account.key" 2>/dev/null
    openssl ec -in "$dir/service-account.key" -pubout -out "$dir/service-account.pub" 2>/dev/null
    certificate "$cluster" apiserver /CN=kube-apiserver \
        "IP:$(node_ip "$cluster"),IP:$(service_ip "$cluster" 1),IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate "$cluster" kubelet-serving "/CN=$node" "IP:$(node_ip "$cluster"),DNS:$node"
    certificate "$cluster" apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
    kubeconfig "$cluster" admin /O=system:masters/CN=admin
    kubeconfig "$cluster" controller-manager /CN=system:kube-controller-manager
    kubeconfig "$cluster" scheduler /CN=system:kube-scheduler
    kubeconfig "$cluster" proxy /CN=system:kube-proxy
    kubeconfig "$cluster" kubelet "/O=system:nodes/CN=system:node:$node"
    kubeconfig "$cluster" coredns /CN=system:serviceaccount:kube-system:coredns
    for sidecar in csi-provisioner csi-snapshotter csi-resizer; do
        kubeconfig "$cluster" $sidecar /CN=system:serviceaccount:default:$sidecar
    done
    kubeconfig "$cluster" snapshot-controller /CN=system:serviceaccount:kube-system:snapshot-controller
    touch "$dir/done"
}

# k CLUSTER ARGUMENTS...: kubectl as the cluster's admin.
k() { "$(tool kubectl)" --kubeconfig "$(pki_dir "$1")/admin.kubeconfig" --cache-dir "$STATE/kubectl-cache" "${@:2}"; }

# One file with both clusters, contexts "a" and "b".
merge_kubeconfig() {
    local cluster files=
    for cluster in a b; do
        [ ! -f "$(pki_dir $cluster)/admin.kubeconfig" ] || files+=${files:+:}$(pki_dir $cluster)/admin.kubeconfig
    done
    [ -n "$files" ] || { rm -f "$STATE/kubeconfig"; return; }
    (umask 077 && KUBECONFIG=$files "$(tool kubectl)" config view --flatten >"$STATE/kubeconfig.new")
    mv "$STATE/kubeconfig.new" "$STATE/kubeconfig"
}
