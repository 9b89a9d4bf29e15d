#!/usr/bin/env python3
"""A whole backup and a whole restore on two clusters, beside Velero's file-system backup, to the same S3 server.

    tests/bench/velero.py [ROUNDS]      1 by default

Needs the testbed (tests/testbed/testbed up; eval "$(tests/testbed/testbed env)"), Velero
(tests/testbed/testbed build velero), FERRY_BIN, a release build, and FERRY_MOVER_IMAGE.

One namespace on A with a claim of 50,000 files of 4 KiB and one of 1 GiB, all random, and a pod that mounts both.
Counted is from the command to its end: Velero's backup until it says Completed, Ferry's capture with every byte in the
store; Velero's restore on B until it says Completed, Ferry's plan and apply until every byte is read back and proven.
What arrived is compared with what was there, outside of the time. Velero is installed as `velero install` does it, with
its own defaults, and removed afterwards; the images of both are on the nodes before. What was stored stays in the bucket.

"Floor" is what machine and server take of a backup at least: as many random bytes, from memory, sent by curl, four
objects of 16 MiB at a time, and nothing else.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
FERRY = os.environ["FERRY_BIN"]
KUBECTL = os.environ["FERRY_TESTBED_KUBECTL"]
TESTBED = os.environ["FERRY_TESTBED"]
ENDPOINT = os.environ["FERRY_TESTBED_S3_ENDPOINT"]
BUCKET = os.environ["FERRY_TESTBED_S3_BUCKET"]
VELERO = os.environ["FERRY_TESTBED_VELERO"]
RUN = f"bench-velero-{os.getpid()}"
SMALL, BIG, OBJECT = 50_000 * 4096, 1 << 30, 16 << 20

APPLICATION = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {RUN}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: small, namespace: {RUN}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: cow, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: big, namespace: {RUN}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: cow, resources: {{requests: {{storage: 2Gi}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, namespace: {RUN}}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: {os.environ["FERRY_TESTBED_REGISTRY"]}/library/busybox:1
        command: [sleep, infinity]
        volumeMounts: [{{name: small, mountPath: /small}}, {{name: big, mountPath: /big}}]
      volumes:
      - {{name: small, persistentVolumeClaim: {{claimName: small}}}}
      - {{name: big, persistentVolumeClaim: {{claimName: big}}}}
"""
FILL = """
for d in $(seq 100); do mkdir /small/$d; for f in $(seq 500); do head -c 4096 /dev/urandom >/small/$d/$f; done; done
head -c 1073741824 /dev/urandom >/big/file
sync
"""
# Velero leaves a folder of its own, .velero, in every volume that it restores.
FILES = "find small big -type f ! -path '*/.velero/*'"
DIGEST = f"cd /; {FILES} | sort | xargs cat | sha256sum; {FILES} | wc -l"
RECIPE = f"""apiVersion: ferry.dev/v1alpha1
kind: Recipe
metadata: {{name: bench}}
transforms:
- namespace: {{map: {{{RUN}: {RUN}-by-ferry}}}}
"""


def run(*command, text=None, environment=None, fine=(0,)):
    done = subprocess.run(
        command,
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode not in fine:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(context, *args, text=None):
    return run(KUBECTL, "--context", context, *args, text=text)


def wait(what, seconds, true):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            sys.exit(f"no {what} within {seconds} s")
        time.sleep(1)


def timed(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def velero(context, *args):
    return run(os.path.join(VELERO, "velero"), "--kubecontext", context, *args)


def pull(context):
    """Brings Ferry's image to the node, where Velero's is since its node agent runs."""
    image = ["--image", os.environ["FERRY_MOVER_IMAGE"], "--restart=Never", "--command"]
    kubectl(context, "-n", "default", "run", RUN, *image, "--", "/ferry", "--version")
    kubectl(context, "-n", "default", "wait", f"pod/{RUN}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    kubectl(context, "-n", "default", "delete", "pod", RUN)


def same_class():
    """Velero maps no classes without a ConfigMap for it, so B gets one of A's name."""
    found = json.loads(kubectl("b", "get", "storageclass", "fast", "-o", "json"))
    found["metadata"] = {"name": "cow", "labels": {"run": RUN}}
    kubectl("b", "apply", "-f", "-", text=json.dumps(found))


def phase(context, kind, name):
    got = subprocess.run([KUBECTL, "--context", context, "-n", "velero", "get", kind, name, "-o",
                          "jsonpath={.status.phase}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return got.stdout


def by_velero(number):
    name = f"{RUN}-{number}"
    backup = timed(lambda: velero("a", "backup", "create", name, "--include-namespaces", RUN,
                                  "--default-volumes-to-fs-backup", "--wait"))
    completed("a", "backups.velero.io", name)
    wait("backup on b", 180, lambda: phase("b", "backups.velero.io", name) == "Completed")
    restore = timed(lambda: velero("b", "restore", "create", name, "--from-backup", name, "--namespace-mappings",
                                   f"{RUN}:{RUN}-by-velero", "--wait"))
    completed("b", "restores.velero.io", name)
    return backup, restore, digest("b", f"{RUN}-by-velero")


def completed(context, kind, name):
    if phase(context, kind, name) != "Completed":
        sys.exit(velero(context, kind.split(".")[0].rstrip("s"), "describe", name, "--details"))


def by_ferry(number, folder):
    store = {
        "FERRY_STORE": f"s3://{BUCKET}/{RUN}-ferry-{number}",
        "FERRY_PASSWORD": "bench",
        "AWS_ENDPOINT_URL": ENDPOINT,
    }
    recipe, plan = os.path.join(folder, "recipe.yaml"), os.path.join(folder, "plan")
    with open(recipe, "w") as file:
        file.write(RECIPE)
    # A plan that has changes to show exits with 2, as diffs do.
    ferry = lambda *args: run(FERRY, *args, environment=store, fine=(0, 2) if args[0] == "plan" else (0,))
    ferry("store", "init")
    backup = timed(lambda: ferry("capture", "--from", "a", "-n", RUN))

    def restore():
        ferry("plan", "latest", "--to", "b", "-r", recipe, "--out", plan)
        ferry("apply", plan, "--yes")

    return backup, timed(restore), digest("b", f"{RUN}-by-ferry")


def floor():
    """Seconds in which the server takes as many bytes."""
    keys = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        names = [str(number) for number in range((SMALL + BIG) // OBJECT)]
        for name in names:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(os.urandom(OBJECT))
        send = ["curl", "-sf", "-o", "/dev/null", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", keys]
        send += ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        send += ["-T", f"{folder}/{{}}", f"{ENDPOINT}/{BUCKET}/{RUN}-floor/{{}}"]
        return timed(lambda: run("xargs", "-P", "4", "-I{}", *send, text="\n".join(names)))


def digest(context, namespace):
    kubectl(context, "-n", namespace, "rollout", "status", "deployment/app", "--timeout=180s")
    return kubectl(context, "-n", namespace, "exec", "deploy/app", "-c", "app", "--", "sh", "-c", DIGEST)


def remove(context, *namespaces):
    kubectl(context, "delete", "namespace", "--ignore-not-found", "--timeout=180s", *namespaces)


def clean(folder):
    remove("a", RUN)
    remove("b", f"{RUN}-by-velero", f"{RUN}-by-ferry")
    kubectl("b", "delete", "storageclass", "-l", f"run={RUN}")
    for context in ["a", "b"]:
        run(TESTBED, "velero-remove", context)
    shutil.rmtree(folder)


def main():
    folder = tempfile.mkdtemp(prefix="ferry-bench-velero-")
    try:
        kubectl("a", "apply", "-f", "-", text=APPLICATION)
        for context in ["a", "b"]:
            run(TESTBED, "velero", context, RUN)
            pull(context)
        same_class()
        kubectl("a", "-n", RUN, "rollout", "status", "deployment/app", "--timeout=180s")
        kubectl("a", "-n", RUN, "exec", "deploy/app", "--", "sh", "-ec", FILL)
        wanted = digest("a", RUN)
        measured = {"velero": [], "ferry": []}
        for number in range(ROUNDS):
            for who, move in [("ferry", lambda: by_ferry(number, folder)), ("velero", lambda: by_velero(number))]:
                *times, got = move()
                if got != wanted:
                    sys.exit(f"{who} brought other bytes: {got} instead of {wanted}")
                measured[who].append(times)
                remove("b", f"{RUN}-by-{who}")
        for at, what in enumerate(["backup", "restore"]):
            medians = {who: statistics.median(times[at] for times in runs) for who, runs in measured.items()}
            print(f"{what:8} velero {medians['velero']:6.1f} s   ferry {medians['ferry']:6.1f} s   "
                  f"{medians['velero'] / medians['ferry']:.1f} times")
        print(f"floor    {floor():.1f} s")
    finally:
        clean(folder)


main()
