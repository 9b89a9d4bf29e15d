# The CSI project's conformance tests against our driver, in a box of their own.
# shellcheck shell=bash

sanity() {
    need_machine
    need_packages
    build_units "cowcsi image sanity"
    lock
    local box=t status=0 socket
    cluster_kill $box
    box_start $box
    pool_up $box
    driver $box cowcsi "$DRIVER" sanity "$STATE/$box/pool"
    socket=$(csi_socket "$DRIVER")
    wait_for 10 "the driver's socket ($STATE/$box/logs/cowcsi)" box_enter $box test -S "$socket"
    box_enter $box "$(tool csi-sanity)" --csi.endpoint "unix://$socket" --ginkgo.no-color \
        --csi.mountdir /run/sanity-target --csi.stagingdir /run/sanity-staging || status=$?
    cluster_kill $box
    [ -n "$(box_pid a)$(box_pid b)$(box_pid s)" ] || remove_traces
    [ $status = 0 ] || die "csi-sanity found faults"
}
