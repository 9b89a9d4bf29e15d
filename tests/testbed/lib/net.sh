# The network: one bridge on the host, one veth per cluster, routes between them.
# No address translation anywhere: pods are reached, and reach the host and the
# other cluster, by their own addresses. Nothing here leads out of the machine.
# shellcheck shell=bash

bridge_up() {
    ip link show "$PREFIX" >/dev/null 2>&1 && return
    need_free_address
    ip link add "$PREFIX" type bridge
    ip addr add "$HOST_IP/24" dev "$PREFIX"
    ip link set "$PREFIX" up
}

bridge_down() { ip link del "$PREFIX" 2>/dev/null || true; }

# net_up CLUSTER: its node gets an address on the bridge.
net_up() {
    local cluster=$1 veth=$PREFIX-$1 node other number
    node=$(node_ip "$cluster")
    ip link show "$veth" >/dev/null 2>&1 && return
    # The hardware address is fixed: a restarted cluster is then no stale
    # neighbour entry to anyone who still talks to the old one.
    number=$(printf '02:fe:00:00:%02x:%02x' "$NET" "$(node_number "$cluster")")
    ip link add "$veth" type veth peer name eth0 address "$number" netns "$(box_pid "$cluster")"
    ip link set "$veth" master "$PREFIX" up
    box_enter "$cluster" bash -euc '
        ip addr add "$1/24" dev eth0
        ip link set eth0 up
        ip route add default via "$2"
        echo 1 >/proc/sys/net/ipv4/ip_forward' net "$node" "$HOST_IP"
    ip route replace "$(pod_cidr "$cluster")" via "$node"
    for other in a b; do
        [ $other = "$cluster" ] ||
            box_enter "$cluster" ip route replace "$(pod_cidr $other)" via "$(node_ip $other)"
    done
}

net_down() {
    ip route del "$(pod_cidr "$1")" 2>/dev/null || true
    ip link del "$PREFIX-$1" 2>/dev/null || true
}
