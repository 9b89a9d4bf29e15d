#!/usr/bin/env python3
"""How long a database stands still in a cutover, foretold, by the journal, and as its clients see it.

    tests/bench/cutover.py [--size MIB] [--syncs N] [--rate TPS] [--spread] [--keep FOLDER]

Needs the testbed (tests/testbed/testbed up; eval "$(tests/testbed/testbed env)"), the shop's images in its registry
(examples/shop/images/build.sh --push), FERRY_BIN, a release build, and FERRY_MOVER_IMAGE, made of it (tests/run.sh
shows how).

PostgreSQL with a data folder of about a GiB; pgbench writes through its Service the whole time, beside a client that
notes each commit when it was answered and not before. Some syncs, before each and before the cutover one row in a
hundred is updated, then the cutover. A client on B tries to write from the beginning: what lies between the last commit
on A and the first on B is what a user sees. `--spread` lets pgbench write all over the table and not only to the
hundredth that changes.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

FERRY = os.environ["FERRY_BIN"]
KUBECTL = os.environ["FERRY_TESTBED_KUBECTL"]
NAME = f"bench-cutover-{os.getpid()}"
PASSWORD = "bench-password"
# A row with its header, and its part of the index.
ROW = 330

DATABASE = f"""
apiVersion: v1
kind: Secret
metadata: {{name: login}}
stringData: {{password: {PASSWORD}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data:
  shop.conf: |
    max_wal_size = 192MB
    min_wal_size = 96MB
---
apiVersion: v1
kind: Service
metadata: {{name: postgres}}
spec: {{selector: {{app: postgres}}, ports: [{{port: 5432}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: postgres}}
spec:
  serviceName: postgres
  selector: {{matchLabels: {{app: postgres}}}}
  template:
    metadata: {{labels: {{app: postgres}}}}
    spec:
      securityContext: {{runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: OnRootMismatch}}
      containers:
      - name: postgres
        image: registry-a.testbed:5000/shop/postgres:15
        command: [/entrypoint.sh]
        env:
        - {{name: PGDATA, value: /var/lib/postgresql/data/pgdata}}
        - {{name: POSTGRES_PASSWORD_FILE, value: /etc/login/password}}
        - {{name: SHOP_USER, value: shop}}
        - {{name: SHOP_DATABASE, value: shop}}
        - {{name: SHOP_PASSWORD, valueFrom: {{secretKeyRef: {{name: login, key: password}}}}}}
        readinessProbe: {{exec: {{command: [pg_isready, -q, -h, 127.0.0.1]}}, periodSeconds: 1, timeoutSeconds: 5}}
        # SIGTERM alone would wait for clients to leave.
        lifecycle: {{preStop: {{exec: {{command: [kill, -INT, '1']}}}}}}
        volumeMounts:
        - {{name: data, mountPath: /var/lib/postgresql/data}}
        - {{name: login, mountPath: /etc/login}}
        - {{name: settings, mountPath: /etc/postgresql}}
      volumes:
      - {{name: login, secret: {{secretName: login}}}}
      - {{name: settings, configMap: {{name: settings}}}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{storageClassName: cow, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 3Gi}}}}}}
"""

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: client
    image: registry-CLUSTER.testbed:5000/shop/postgres:15
    env:
    - {name: PGHOST, value: postgres.SPACE.svc}
    - {name: PGUSER, value: shop}
    - {name: PGDATABASE, value: shop}
    - {name: PGPASSWORD, value: LOGIN}
    - {name: PGCONNECT_TIMEOUT, value: '1'}
    command: [sh, -c, 'SCRIPT']
"""
PROBE = """while :; do psql -qtAc "INSERT INTO log (source) VALUES (\\$\\$probe\\$\\$) RETURNING n" 2>/dev/null || sleep 0.1; done"""
LOAD = r"""printf "%s\n" "\\set id random(1, HOT)" "BEGIN;" "UPDATE account SET balance = balance + 1 WHERE id = :id;" \
"INSERT INTO log (source) VALUES (\$\$load\$\$);" "COMMIT;" >/tmp/load.sql; exec pgbench -n -f /tmp/load.sql -c 4 -R RATE -T 7200"""

RECIPE = f"""
apiVersion: ferry.dev/v1alpha1
kind: Recipe
metadata: {{name: bench}}
transforms:
- registry: {{map: {{registry-a.testbed:5000: registry-b.testbed:5000}}}}
- storageClass: {{map: {{cow: fast}}}}
"""


def kubectl(context, *args, text=None, check=True):
    done = subprocess.run([KUBECTL, "--context", context, *args], input=text, text=True, capture_output=True)
    if check and done.returncode:
        sys.exit(f"kubectl {' '.join(args)}: {done.stderr}")
    return done.stdout


def sql(context, text):
    return kubectl(context, "-n", NAME, "exec", "postgres-0", "--", "env", f"PGPASSWORD={PASSWORD}", "psql", "-h",
                   "127.0.0.1", "-U", "shop", "-qtAc", text).strip()


def client(context, name, script):
    pod = CLIENT.replace("SCRIPT", script.replace("'", "''")).replace("NAME", name)
    pod = pod.replace("CLUSTER", context).replace("SPACE", NAME).replace("LOGIN", PASSWORD)
    kubectl(context, "-n", f"{NAME}-clients", "apply", "-f", "-", text=pod)


def log(context, name, *args):
    return kubectl(context, "-n", f"{NAME}-clients", "logs", name, *args)


def commits(context):
    """What the client noted: numbers, and when."""
    found = {}
    for line in log(context, "probe", "--timestamps").splitlines():
        stamp, _, number = line.partition(" ")
        if number.strip().isdigit():
            found[int(number)] = moment(stamp)
    return found


def moment(stamp):
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    at = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp()
    return at + float(f"0.{fraction or 0}")


def ferry(*args, kept=None):
    """Its JSON, and what it told on the way with the time it did."""
    process = subprocess.Popen([FERRY, *args, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = []

    def listen():
        for line in process.stderr:
            told.append((time.time(), line.rstrip()))

    listener = threading.Thread(target=listen)
    listener.start()
    out = process.stdout.read()
    listener.join()
    if kept:
        kept.write_text("".join(f"{at:.3f} {line}\n" for at, line in told))
    if process.wait():
        sys.exit(f"ferry {' '.join(args)}: {process.returncode}\n{out}" + "\n".join(line for _, line in told[-20:]))
    return json.loads(out)


def timeline(records):
    """Seconds from the first hold on A to the beginning and the end of each kind of step, and per object."""
    begun = min(moment(one["time"]) for one in records if one.get("action") == "quiesce")
    spans = collections.OrderedDict()
    for one in records:
        at = moment(one["time"]) - begun
        if at < 0 or "step" not in one:
            continue
        name = (one["action"], f'{one["object"]["kind"]} {one["object"]["name"]}')
        first, _, ready = spans.get(name, (at, at, None))
        spans[name] = (first, at, at if one["entry"] == "ready" else ready)
    return spans


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=860, help="MiB of the table and its index; a log of 160 comes on top")
    parser.add_argument("--syncs", type=int, default=3)
    parser.add_argument("--rate", type=int, default=50, help="transactions of pgbench in a second")
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for what Ferry told, with times")
    return parser.parse_args()


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        kept = args.keep or folder
        kept.mkdir(parents=True, exist_ok=True)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE)
        os.environ.update(FERRY_PASSWORD="bench", FERRY_STORE=f"s3://{os.environ['FERRY_TESTBED_S3_BUCKET']}/{NAME}",
                          AWS_ENDPOINT_URL=os.environ["FERRY_TESTBED_S3_ENDPOINT"])
        ferry("store", "init")
        for context in "a", "b":
            for space in NAME, f"{NAME}-clients":
                stack.callback(kubectl, context, "delete", "namespace", space, "--wait=false", check=False)
        for context, space in ("a", NAME), ("a", f"{NAME}-clients"), ("b", f"{NAME}-clients"):
            kubectl(context, "create", "namespace", space)
        bench(args, recipe, kept)


def bench(args, recipe, kept):
    kubectl("a", "-n", NAME, "apply", "-f", "-", text=DATABASE)
    kubectl("a", "-n", NAME, "rollout", "status", "statefulset/postgres", "--timeout=120s")
    rows = args.size * (1 << 20) // ROW
    # What hardly shrinks, as most of what takes room in databases does.
    sql("a", "CREATE TABLE log (n bigserial PRIMARY KEY, source text, at timestamptz DEFAULT clock_timestamp())")
    sql("a", f"CREATE TABLE account AS SELECT id, 0 AS balance, sha512(id::text::bytea) || sha512((-id)::text::bytea) "
             f"|| sha512((id + 0.5)::text::bytea) || sha512((id + 0.25)::text::bytea) AS filler "
             f"FROM generate_series(1, {rows}) AS id")
    sql("a", "ALTER TABLE account ADD PRIMARY KEY (id)")
    # Else the first vacuum would write to every page between the syncs.
    sql("a", "VACUUM (FREEZE, ANALYZE) account")
    sql("a", "ALTER TABLE account SET (autovacuum_enabled = false)")
    size = kubectl("a", "-n", NAME, "exec", "postgres-0", "--", "du", "-sm", "/var/lib/postgresql/data")
    hot = rows if args.spread else rows // 100
    client("a", "probe", PROBE)
    client("b", "probe", PROBE)
    client("a", "load", LOAD.replace("HOT", str(hot)).replace("RATE", str(args.rate)))
    for pod in "probe", "load":
        kubectl("a", "-n", f"{NAME}-clients", "wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=60s")
    print(f"PostgreSQL with {int(size.split()[0])} MiB, {rows} rows; load {os.getloadavg()[0]:.1f}")

    ends = ["--from", "a", "--to", "b", "-n", NAME, "-r", str(recipe), "--yes"]
    change = f"UPDATE account SET balance = balance + 1 WHERE id <= {rows // 100}"
    for number in range(args.syncs):
        sql("a", change)
        sync = ferry("sync", *ends, kept=kept / f"sync-{number}")
        print(f"sync {number + 1}: {sync['sync']['changed'] / (1 << 20):.1f} MiB in {sync['sync']['seconds']:.1f} s; "
              f"foretells {sync['forecast']['seconds']:.1f} s of data")
    sql("a", change)
    before = time.time() - time.monotonic()
    over = ferry("cutover", *ends, kept=kept / "cutover")
    records = ferry("runs", "logs", over["run"])
    (kept / "journal").write_text(json.dumps(records, indent=1))
    report(over, records)
    stepped = time.time() - time.monotonic() - before
    if abs(stepped) > 0.1:
        print(f"the machine's clock was set by {stepped:+.1f} s meanwhile: measure again")


def report(over, records):
    for (action, name), (first, last, ready) in timeline(records).items():
        print(f"  {first:6.1f} {last:6.1f}  {action:9} {name}{'' if ready is None else ' ready'}")
    before = commits("a")
    while True:
        after = commits("b")
        if after:
            break
        time.sleep(0.5)
    arrived = {int(one) for one in sql("b", "SELECT n FROM log WHERE source = $$probe$$").split()}
    lost = [number for number in before if number not in arrived]
    answered = next((int(line.split(":")[1].split("/")[0]) for line in log("a", "load").splitlines()
                     if line.startswith("number of transactions actually")), None)
    loaded = int(sql("b", "SELECT count(*) FROM log WHERE source = $$load$$"))
    saved = [one["saved"]["added"] for one in records if one.get("saved")]
    expected = over["expected"]
    print(f"foretold {expected['seconds']:.1f} s: {expected['data']:.1f} s of data, {expected['pods']:.1f} s of pods")
    print(f"stood still {over['downtime']:.1f} s by the journal, {min(after.values()) - max(before.values()):.1f} s "
          f"from the last commit on A to the first on B; {sum(saved) / (1 << 20):.1f} MiB sent")
    print(f"commits on A {len(before)} of the client, lost {len(lost)}; of pgbench {answered}, on B {loaded}")
    if lost or answered is None or loaded < answered:
        sys.exit("commits were lost")


main()
