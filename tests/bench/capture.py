#!/usr/bin/env python3
"""How long a capture of many objects takes, beside plain paged GETs of the same lists.

    tests/bench/capture.py [OBJECTS [ROUNDS]]      10000 and 5 by default

Needs the testbed (tests/testbed/testbed up; eval "$(tests/testbed/testbed env)") and FERRY_BIN, a release build.
Prints the best and the medians of its rounds, raw and Ferry in turn, and Ferry's peak memory. Nothing but Python's own
library, so that the raw figure is that of the server and the wire.

Raw is counted twice. "Lists" are the lists of the namespace alone, known in advance. "All" is every document
that a capture needs, read by one who knows nothing in advance: first the two of discovery, then with those lists
the namespace, the cluster-wide kinds of the surface and the ClusterRoleBindings. The second is what Ferry does.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
FERRY = os.environ["FERRY_BIN"]
KUBECTL = [os.environ["FERRY_TESTBED_KUBECTL"], "--context", "a"]
NAMESPACE = f"bench-capture-{os.getpid()}"
local = threading.local()


def kubectl(*args):
    return subprocess.run([*KUBECTL, *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def server(folder):
    """The server's URL, and a TLS context with the administrator's certificate."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    files = {}
    for name, text in [
        ("ca", cluster["certificate-authority-data"]),
        ("cert", user["client-certificate-data"]),
        ("key", user["client-key-data"]),
    ]:
        files[name] = os.path.join(folder, name)
        with open(files[name], "wb") as file:
            file.write(base64.b64decode(text))
    context = ssl.create_default_context(cafile=files["ca"])
    context.load_cert_chain(files["cert"], files["key"])
    return urllib.parse.urlparse(cluster["server"]), context


DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def call(target, method, path, body=None, accept="application/json"):
    """One request on this thread's connection; the body of the answer."""
    url, context = target
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPSConnection(url.hostname, url.port, context=context)
    headers = {"Accept": accept, "Content-Type": "application/json"}
    local.connection.request(method, path, body=body, headers=headers)
    answer = local.connection.getresponse()
    data = answer.read()
    assert answer.status < 300, (method, path, data)
    return data


def make(target):
    """ConfigMaps of a kilobyte."""

    def one(number):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m-{number}"}, "data": {"text": "x" * 900}}
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?fieldManager=bench"
        call(target, "POST", path, json.dumps(body))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(COUNT)))


SURFACE = """namespaces nodes customresourcedefinitions.apiextensions.k8s.io gatewayclasses.gateway.networking.k8s.io
ingressclasses.networking.k8s.io runtimeclasses.node.k8s.io clusterserviceversions.operators.coreos.com
clusterresourcequotas.quota.openshift.io priorityclasses.scheduling.k8s.io volumesnapshotclasses.snapshot.storage.k8s.io
csidrivers.storage.k8s.io csinodes.storage.k8s.io storageclasses.storage.k8s.io volumeattributesclasses.storage.k8s.io
securitycontextconstraints.security.openshift.io clusterrolebindings.rbac.authorization.k8s.io""".split()


def lists():
    """Paths of what Ferry lists: every namespaced kind with get and list, at its preferred version, but S-0 and
    S-1; and the cluster-wide kinds of the surface (cluster/survey.rs) with the ClusterRoleBindings."""
    table = kubectl("api-resources", "--verbs=list,get", "--no-headers")
    inside, wide = [], []
    for line in table.splitlines():
        words = line.split()
        plural, version, namespaced = words[0], words[-3], words[-2] == "true"
        group = version.rpartition("/")[0]
        root = f"/apis/{version}" if group else f"/api/{version}"
        if f"{plural}.{group}".rstrip(".") in SURFACE:
            wide.append(f"{root}/{plural}")
        if namespaced and plural not in ("events", "leases", "csistoragecapacities"):
            inside.append(f"{root}/namespaces/{NAMESPACE}/{plural}")
    return inside, wide


def pages(target, path):
    """A list in pages of 500, bodies thrown away: bytes read."""
    token, size = "", 0
    while True:
        body = call(target, "GET", f"{path}?limit=500{token}")
        size += len(body)
        found = re.search(rb'"continue":"([^"]+)"', body[:2000])
        if not found:
            return size
        token = "&continue=" + urllib.parse.quote(found[1].decode())


def raw(target, inside, wide):
    """Eight requests at once: seconds and bytes of the namespace's lists, and of all."""
    began = time.time()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        inner = sum(pool.map(lambda path: pages(target, path), inside))
    only, began = time.time() - began, time.time()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        served = sum(pool.map(lambda path: len(call(target, "GET", path, accept=DISCOVERY)), ["/api", "/apis"]))
        namespace = pool.submit(call, target, "GET", f"/api/v1/namespaces/{NAMESPACE}")
        size = served + sum(pool.map(lambda path: pages(target, path), inside + wide)) + len(namespace.result())
    return only, inner, time.time() - began, size


def ferry():
    """Seconds from the first question to the whole capture, the processor's among them, until it is saved too,
    and peak memory in MiB. Opening the store, slow on purpose (scrypt), comes before the first question."""
    command = [FERRY, "capture", "--from", "a", "-n", NAMESPACE, "--objects-only", "--output", "json"]
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    asked = whole = (0, 0)

    def now():
        with open(f"/proc/{process.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return time.time(), (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    for line in process.stderr:
        event = json.loads(line)
        match event.get("event"), event.get("stage"):
            case "stage-started", "survey":
                asked = now()
            case "stage-finished", "capture":
                whole = now()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0 and asked[0] and whole[0], status
    taken, busy = whole[0] - asked[0], whole[1] - asked[1]
    return taken, busy, time.time() - began, usage.ru_maxrss / 1024


def main():
    with tempfile.TemporaryDirectory() as folder:
        target = server(folder)
        os.environ.update(FERRY_PASSWORD="bench", FERRY_STORE=os.path.join(folder, "store"))
        subprocess.run([FERRY, "store", "init"], check=True, stdout=subprocess.DEVNULL)
        kubectl("create", "namespace", NAMESPACE)
        try:
            make(target)
            inside, wide = lists()
            rounds = [(*raw(target, inside, wide), *ferry()) for _ in range(ROUNDS)]
        finally:
            kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    print(f"{COUNT} objects, {len(inside)} lists of the namespace, all {len(inside) + len(wide) + 3} documents")
    for name, of in ("best", min), ("medians", statistics.median):
        only, inner, every, size, taken, busy, saved, peak = (of(column) for column in zip(*rounds))
        print(f"{name} of {ROUNDS} rounds")
        print(f"  raw, the lists {inner / 1e6:.0f} MB     {only:.2f} s")
        print(f"  raw, all {size / 1e6:.0f} MB           {every:.2f} s")
        print(f"  ferry capture, whole    {taken:.2f} s   {taken / every:.2f} times all, {taken / only:.2f} times the lists")
        print(f"    of its own processor  {busy:.2f} s")
        print(f"  with opening a store and saving in it  {saved:.2f} s")
        print(f"  peak memory             {peak:.0f} MiB")


main()
