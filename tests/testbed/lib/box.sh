# A box: the process, mount and (for a cluster) network namespaces that a set of
# daemons lives in, held open by one init process.
#
# Why: killing the init is the teardown. The kernel then ends every process in
# the box, pods and containerd's shims included, and drops every mount, veth and
# nftables rule made in it; nothing has to be found and undone one by one. It
# also gives each cluster its own /run, /var/lib and /var/log, so two kubelets
# and two containerds use their standard paths side by side.
# shellcheck shell=bash

box_dir() { echo "$STATE/$1"; }

# box_pid BOX: the init's process id on the host, nothing when it does not run.
box_pid() {
    local pid start
    { read -r pid start <"$(box_dir "$1")/init"; } 2>/dev/null || return 0
    # A process id alone may be somebody else's by now.
    if [ "$(process_start "$pid")" = "$start" ]; then echo "$pid"; fi
}
process_start() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null || true; }

# box_start BOX [--net]
box_start() {
    local box=$1 dir init pid flags=(--pid --mount --fork --mount-proc --propagation slave)
    dir=$(box_dir "$box")
    [ -z "$(box_pid "$box")" ] || return 0
    [ "${2:-}" = --net ] && flags+=(--net)
    init=$(tool pause)
    mkdir -p "$dir"/{lib,log,hostpath,daemon,logs}
    mkdir -p /tmp/hostpath_pv
    # The host's name servers cannot be reached from a cluster; its own can.
    [ "${2:-}" != --net ] || echo "nameserver $(node_ip "$box")" >"$dir/resolv.conf"
    [ -e "$dir/resolv.conf" ] || : >"$dir/resolv.conf"
    rm -f "$dir/ready" "$dir"/daemon/*
    # The daemons must not hold the command's lock, so descriptor 9 is closed.
    setsid unshare "${flags[@]}" -- bash -euc '
        mount --make-rshared /
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir /run/lock /run/netns
        mount --bind "$1/lib" /var/lib
        mount --bind "$1/log" /var/log
        mount --bind "$1/hostpath" /tmp/hostpath_pv
        # Where it is a link, it leads into the directory that was just replaced.
        resolv=$(readlink -m /etc/resolv.conf)
        mkdir -p "${resolv%/*}"
        [ -e "$resolv" ] || : >"$resolv"
        mount --bind "$1/resolv.conf" "$resolv"
        ip link set lo up
        touch "$1/ready"
        exec "$2"' box "$dir" "$init" </dev/null >"$dir/logs/init" 2>&1 9>&- &
    wait_for 10 "the namespaces of $box ($dir/logs/init)" test -e "$dir/ready"
    # unshare waits for its child; the child is the init.
    pid=$(pgrep -P $! || true)
    [ -n "$pid" ] || die "the namespaces of $box could not be made: $(cat "$dir/logs/init")"
    echo "$pid $(process_start "$pid")" >"$dir/init"
    disown
}

# box_enter BOX COMMAND...: runs a command in the box.
box_enter() {
    local pid
    pid=$(box_pid "$1")
    [ -n "$pid" ] || die "$1 does not run"
    nsenter --target "$pid" --mount --net --pid -- "${@:2}"
}

# daemon_start BOX NAME COMMAND...: starts it in the box unless it runs there.
# Its output goes to logs/NAME, its process id (the box's count) to daemon/NAME.
# The caller's environment stays outside: a KUBECONFIG or a proxy of theirs is not the cluster's.
daemon_start() {
    local box=$1 name=$2 dir
    dir=$(box_dir "$box")
    shift 2
    box_enter "$box" bash -euc '
        dir=$1 name=$2; shift 2
        if [ -f "$dir/daemon/$name" ] && kill -0 "$(cat "$dir/daemon/$name")" 2>/dev/null; then exit 0; fi
        setsid env -i PATH="$PATH" HOME="$HOME" "$@" </dev/null >>"$dir/logs/$name" 2>&1 9>&- &
        echo $! >"$dir/daemon/$name"' daemon "$dir" "$name" "$@"
}

# daemon_stop BOX NAME SIGNAL: ends it by that signal, and if it does not end in 5 s, for good.
daemon_stop() {
    local file
    file=$(box_dir "$1")/daemon/$2
    [ -f "$file" ] || die "$1 has no process \"$2\"; it has: $(ls "$(box_dir "$1")/daemon")"
    box_enter "$1" bash -c 'pid=$(cat "$1"); kill -s "$2" "$pid" 2>/dev/null || exit 0
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.1; done
        kill -KILL "$pid"' stop "$file" "$3"
    rm -f "$file"
}

# daemons_dead BOX: the names of the daemons that ended without being asked to.
daemons_dead() {
    local dir
    dir=$(box_dir "$1")
    box_enter "$1" bash -c 'cd "$1/daemon"; for f in *; do [ ! -f "$f" ] || kill -0 "$(cat "$f")" 2>/dev/null || echo "$f"; done' \
        dead "$dir"
}

# box_kill BOX: ends everything in it, by the init's recorded process id.
box_kill() {
    local pid
    pid=$(box_pid "$1")
    if [ -n "$pid" ]; then
        kill -KILL "$pid"
        wait_for 20 "the end of $1" bash -c "! kill -0 $pid"
    fi
    rm -f "$(box_dir "$1")/init"
}
