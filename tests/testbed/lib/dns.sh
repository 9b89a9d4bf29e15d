# The cluster DNS service: CoreDNS as a process on the node, behind the usual
# Service "kube-dns" in kube-system, so pods see what they see everywhere.
# shellcheck shell=bash

start_coredns() {
    local dir=$STATE/$1
    # Names outside the cluster: there is no way out, so they do not exist; an
    # error instead would make every resolver ask again. The registry and the
    # host are named for pods that talk to them.
    cat >"$dir/Corefile" <<COREFILE
(common) {
    bind $(node_ip "$1")
    errors
}
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
    import common
    cache 5
    ready $(node_ip "$1"):8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig $(pki_dir "$1")/coredns.kubeconfig
        pods insecure
        ttl 5
    }
}
testbed:53 {
    import common
    hosts {
        $HOST_IP host.testbed registry-$1.testbed s3.testbed
    }
}
.:53 {
    import common
    template ANY ANY {
        rcode NXDOMAIN
    }
}
COREFILE
    daemon_start "$1" coredns "$(tool coredns)" -conf "$dir/Corefile"
}

dns_ready() { curl -sf --max-time 2 "http://$(node_ip "$1"):8181/ready"; }
