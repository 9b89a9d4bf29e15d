#!/usr/bin/env python3
"""How long a capture of many objects takes, beside plain paged GETs of the same lists.

    tests/bench/capture.py [OBJECTS]      10000 by default

Needs the testbed (tests/testbed/testbed up; eval "$(tests/testbed/testbed env)") and FERRY_BIN, a release build.
Prints the medians of five rounds, raw and Ferry in turn, and Ferry's peak memory. Nothing but Python's own
library, so that the raw figure is that of the server and the wire.
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
ROUNDS = 5
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


def call(target, method, path, body=None):
    """One request on this thread's connection; the body of the answer."""
    url, context = target
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPSConnection(url.hostname, url.port, context=context)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
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


def kinds():
    """What Ferry lists: every namespaced kind with get and list, at its preferred version, but S-0 and S-1."""
    table = kubectl("api-resources", "--namespaced", "--verbs=list,get", "--no-headers")
    for line in table.splitlines():
        words = line.split()
        if words[0] not in ("events", "leases", "csistoragecapacities"):
            yield words[-3], words[0]


def raw(target, lists):
    """Pages of 500 of every list, eight lists at once, bodies read and thrown away: seconds and bytes."""

    def pages(kind):
        version, plural = kind
        root = "apis" if "/" in version else "api"
        path, token, size = f"/{root}/{version}/namespaces/{NAMESPACE}/{plural}?limit=500", "", 0
        while True:
            body = call(target, "GET", path + token)
            size += len(body)
            found = re.search(rb'"continue":"([^"]+)"', body[:2000])
            if not found:
                return size
            token = "&continue=" + urllib.parse.quote(found[1].decode())

    began = time.time()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        size = sum(pool.map(pages, lists))
    return time.time() - began, size


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
            lists = list(kinds())
            rounds = [(*raw(target, lists), *ferry()) for _ in range(ROUNDS)]
        finally:
            kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    plain, size, taken, busy, saved, peak = (statistics.median(column) for column in zip(*rounds))
    print(f"{COUNT} objects, {size / 1e6:.0f} MB in {len(lists)} lists, medians of {ROUNDS} rounds")
    print(f"raw paged GETs         {plain:.2f} s")
    print(f"ferry capture, whole   {taken:.2f} s   {taken / plain:.2f} times")
    print(f"  of its own processor {busy:.2f} s")
    print(f"with opening a store and saving in it  {saved:.2f} s")
    print(f"peak memory            {peak:.0f} MiB")


main()
