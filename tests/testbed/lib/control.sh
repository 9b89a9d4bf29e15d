# The control plane of a cluster: etcd, API server, controller manager, scheduler.
# shellcheck shell=bash

start_etcd() {
    # No fsync: this data is worth nothing after a power failure.
    daemon_start "$1" etcd "$(tool etcd)" --data-dir /var/lib/etcd --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --quota-backend-bytes 8589934592
}

start_kube-apiserver() {
    local pki
    pki=$(pki_dir "$1")
    # InternalIP: otherwise exec, logs and port-forward look the node's name up in DNS and hang.
    daemon_start "$1" kube-apiserver "$(tool kube-apiserver)" \
        --advertise-address "$(node_ip "$1")" --secure-port 6443 --etcd-servers http://127.0.0.1:2379 \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
        --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-account.pub" --service-account-signing-key-file "$pki/service-account.key" \
        --service-cluster-ip-range "$(service_cidr "$1")" --authorization-mode Node,RBAC \
        --enable-admission-plugins NodeRestriction --allow-privileged --profiling=false
}

start_kube-controller-manager() {
    local pki
    pki=$(pki_dir "$1")
    # The client limits: at the default of 20 requests a second 20 claims take 4.7 s to bind, so 1.0 s.
    daemon_start "$1" kube-controller-manager "$(tool kube-controller-manager)" \
        --kubeconfig "$pki/controller-manager.kubeconfig" --use-service-account-credentials --leader-elect=false \
        --service-account-private-key-file "$pki/service-account.key" --root-ca-file "$pki/ca.crt" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --kube-api-qps 200 --kube-api-burst 400 --enable-hostpath-provisioner --profiling=false
}

start_kube-scheduler() {
    daemon_start "$1" kube-scheduler "$(tool kube-scheduler)" --leader-elect=false --profiling=false \
        --kubeconfig "$(pki_dir "$1")/scheduler.kubeconfig" --kube-api-qps 200 --kube-api-burst 400
}

api_ready() {
    local pki
    pki=$(pki_dir "$1")
    # A time limit per probe: one without has hung for 70 s on a vanished connection.
    curl -sf --max-time 2 --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" \
        "https://$(node_ip "$1"):6443/readyz"
}

control_up() {
    local cluster=$1
    start_etcd "$cluster"
    start_kube-apiserver "$cluster"
    wait_for 60 "the API server of $cluster ($STATE/$cluster/logs/kube-apiserver)" api_ready "$cluster"
    start_kube-controller-manager "$cluster"
    start_kube-scheduler "$cluster"
}
