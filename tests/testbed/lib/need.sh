# What the machine must have, said before anything is started.
# shellcheck shell=bash

# Each command and the Debian package it comes from.
PACKAGES='containerd:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins
busybox:busybox-static ip:iproute2 nft:nftables conntrack:conntrack mkfs.btrfs:btrfs-progs
mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs openssl:openssl gcc:gcc curl:curl jq:jq losetup:mount
nsenter:util-linux pgrep:procps /usr/include/stdlib.h:libc6-dev'

need_root() { [ "$(id -u)" = 0 ] || die "needs root: it makes namespaces, mounts and loop devices"; }

need_packages() {
    local pair missing=()
    for pair in $PACKAGES; do
        command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null ||
        die "missing ${missing[*]} (Debian's names) and there is no apt-get to install them with"
    say "installing ${missing[*]}"
    # A service started by a package would sit on the paths and ports we use.
    local policy=/usr/sbin/policy-rc.d made=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1
    fi
    local status=0
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
        >"$STATE.apt.log" 2>&1 || status=$?
    [ $made = 0 ] || rm -f $policy
    [ $status = 0 ] || die "apt-get could not install ${missing[*]}; its output is in $STATE.apt.log"
    rm -f "$STATE.apt.log"
}

need_go() {
    command -v go >/dev/null || die "no \"go\" in PATH: a Go toolchain of 1.26 or newer is needed"
    local minor
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 26 ] || die "$(go env GOVERSION) is too old: 1.26 or newer is needed"
}

# need_machine: the kernel's part.
need_machine() {
    need_root
    local fs
    for fs in overlay btrfs xfs ext4; do
        grep -qw "$fs" /proc/filesystems || modprobe "$fs" 2>/dev/null || die "the kernel has no $fs filesystem"
    done
    [ -e /dev/loop-control ] || modprobe loop 2>/dev/null || die "no loop devices: /dev/loop-control is missing"
    [ -d /sys/fs/cgroup ] || die "no control groups are mounted on /sys/fs/cgroup"
    nft list ruleset >/dev/null 2>&1 || die "nftables does not work in this kernel (nft list ruleset failed)"
    case $STATE/ in
    /run/* | /var/lib/* | /var/log/* | /tmp/hostpath_pv/*)
        die "FERRY_TESTBED_STATE=$STATE lies under a directory that each cluster replaces by its own" ;;
    esac
    [ ${#STATE} -le 60 ] || die "FERRY_TESTBED_STATE is ${#STATE} bytes long, at most 60: sockets lie under it"
}

# need_free_address: nothing but us may use the addresses; called while down.
need_free_address() {
    local other
    other=$(ip -o -4 addr show to "10.$NET.0.0/16" | awk '{print $2, $4}' | grep -v "^$PREFIX" || true)
    [ -z "$other" ] || die "10.$NET.0.0/16 is in use by $other: choose another FERRY_TESTBED_NET"
}

need_free_port() {
    local owner
    owner=$(ss -Hltnp "sport = :$1" | awk '$4 ~ /^(0\.0\.0\.0|\*|\[::\]|'"$HOST_IP"'):/ {print $6}')
    [ -z "$owner" ] || die "port $1 is taken on $HOST_IP by $owner"
}
