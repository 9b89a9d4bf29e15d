#!/usr/bin/env python3
"""The repository engine beside restic, rustic, kopia, tar and rsync: one run, the same data, the same machine.

    tests/bench/data.py [--tree go,share,big,small] [--tool NAME,...] [--store FOLDER|s3] [--rounds N]

Needs root, FERRY_BIN (a release build), and Debian's restic, rsync, zstd and e2fsprogs; kopia, today's restic and rustic
come from `tests/testbed/testbed build peers rustic`. The tools take turns in each round. Printed is the best wall clock
time, the least processor time (user and system) and the highest peak of memory of one process, of all rounds.

The same for all: zstd's quickest level where the tool compresses, trees in the page cache, repositories in memory, so
that neither the disk nor who else uses it decides (`--store` names another folder), and restores into a new ext4, as a
new claim is one, until they are flushed. Not the same is what the names say: `restic 0.14`, Debian's, does not verify
what it uploads; today's does, as Ferry does; kopia never does. `kopia` is set as Velero sets it, without compression;
`tuned` is the best that a peer's options gave here. `ferry data restore` reads everything back and compares it; restic
does so in the column `proven` (`--verify`).

`--store s3` starts a MinIO and talks to it through a relay that holds every byte back for half of `--latency` in each
direction: not every kernel has netem.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers
import trees

STEPS = ["full", "scan", "restore", "proven", "change"]
# Of the file system that is restored to; sparse.
TARGET = "12G"


def main():
    args = arguments()
    # So that a benchmark that is stopped leaves nothing mounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    work = pathlib.Path(tempfile.mkdtemp(prefix="ferry-bench-", dir=args.work))
    memory = pathlib.Path(tempfile.mkdtemp(prefix="ferry-bench-", dir=args.memory))
    store = None
    try:
        store = peers.open_store(args.store or str(memory / "stores"), memory, args.latency)
        for tree in args.tree.split(","):
            bench(tree, args, work, memory, store)
    finally:
        if store:
            store.close()
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", default="go,share,big,small", help="which trees; go, share, big, small")
    parser.add_argument("--tool", default="", help="which tools; all by default")
    parser.add_argument("--store", default="", help="a folder, or s3; in memory by default")
    parser.add_argument("--latency", type=int, default=20, help="of the way to s3 and back, in ms")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--mib", type=int, default=1024, help="size of the trees that are copies")
    parser.add_argument("--work", default="/var/tmp", help="where trees are made")
    parser.add_argument("--memory", default="/dev/shm", help="a file system in memory")
    parser.add_argument("--json", default="", help="append the figures to this file")
    return parser.parse_args()


def bench(tree, args, work, memory, store):
    source = work / "source" / tree
    entries, size = trees.make(tree, source, args.mib << 20)
    tools = peers.tools(store, work, [name for name in args.tool.split(",") if name])
    print(f"\n{tree}: {entries} entries, {size >> 20} MiB, repositories in {store}\n", flush=True)
    figures = {tool.name: {} for tool in tools}
    # The same places each time, so that all tools see the same kind of tree before and after it.
    turn = 0
    changed = trees.change(tree, source, turn)
    touch(memory, 3 * size)
    for _ in range(args.rounds):
        for tool in tools:
            tool.reset()
            for step in STEPS[:-1]:
                record(figures, tool, step, source, memory)
            before, turn = tool.size(), turn + 1
            trees.change(tree, source, turn)
            record(figures, tool, "change", source, memory)
            figures[tool.name].setdefault("size", []).append((before, tool.size() - before))
            tool.remove()
    table(figures, changed)
    if args.json:
        with open(args.json, "a") as out:
            json.dump({"tree": tree, "store": str(store), "bytes": size, "figures": figures}, out)
            out.write("\n")
    shutil.rmtree(source)


def touch(memory, size):
    """Uses memory and gives it back: a virtual machine gets it when it is first used, and slowly; the first tool of a
    run would wait for what all others have."""
    piece = bytes(64 << 20)
    with tempfile.TemporaryFile(dir=memory) as file:
        for _ in range(size // len(piece) + 1):
            file.write(piece)


def record(figures, tool, step, source, memory):
    with target(memory, step in ("restore", "proven")) as mounted:
        command = tool.command(step, source, mounted)
        if command is not None:
            os.sync()
            figures[tool.name].setdefault(step, []).append(measure(command, tool.environment))


@contextlib.contextmanager
def target(memory, wanted):
    """A new ext4, if one is wanted. A folder whose files were just deleted would be slow: ext4 does not like to give
    an inode away again for some time."""
    if not wanted:
        yield None
        return
    image, mounted = memory / "target.img", memory / "target"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["truncate", "-s", TARGET, image], **quiet)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", image], **quiet)
    mounted.mkdir(exist_ok=True)
    # Left alone, the new file system would write its tables in the background of the measurement.
    subprocess.run(["mount", "-o", "loop,noinit_itable", image, mounted], **quiet)
    (mounted / "lost+found").rmdir()
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], **quiet)
        image.unlink()


def measure(command, environment):
    """Wall, processor seconds and peak memory in MiB of a command and all it starts."""
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        child = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            # Stopped: what it started must not go on writing to what is about to be removed.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            sys.exit(f"{command} failed ({child.returncode}):\n{log.read().decode(errors='replace')[-3000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best(samples):
    """Wall, processor time, memory: the least of the first two, the most of the last."""
    return min(s[0] for s in samples), min(s[1] for s in samples), max(s[2] for s in samples)


def table(figures, changed):
    print("seconds: wall / processor; in brackets, as a multiple of Ferry's. MiB: peak memory, repository, added")
    print(f"by the change ({changed})\n")
    print("| tool | " + " | ".join(STEPS) + " | memory | repository | added |")
    print("| --- |" + " --- |" * (len(STEPS) + 3))
    base = {step: best(samples) for step, samples in figures.get("ferry", {}).items() if step != "size"}
    # Ferry's restore proves itself: that is what a proven one is to be compared with.
    if "restore" in base:
        base["proven"] = base["restore"]
    for name, steps in figures.items():
        cells = [cell(steps.get(step), base.get(step)) for step in STEPS]
        memory = max((best(steps[step])[2] for step in STEPS if step in steps), default=0)
        cells.append(f"{memory:.0f}")
        sizes = steps.get("size")
        cells += [f"{sizes[0][0] / 2**20:.0f}", f"{sizes[0][1] / 2**20:.1f}"] if sizes else ["", ""]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def cell(samples, base):
    if not samples:
        return ""
    wall, cpu, _ = best(samples)
    text = f"{wall:.2f} / {cpu:.2f}"
    return text if not base else f"{text} ({wall / base[0]:.1f}, {cpu / base[1]:.1f})"


if __name__ == "__main__":
    main()
