"""Ferry and its peers, each as commands for the same steps, and the stores they write to."""

import os
import pathlib
import shutil
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "benchmark"
KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1"}


def unit(name):
    """A binary of the testbed's; the newest that was built."""
    cache = os.environ.get("FERRY_TESTBED_CACHE") or os.path.expanduser("~/.cache/ferry-testbed")
    found = sorted(pathlib.Path(cache, "bin").glob(f"*/{name}"), key=os.path.getmtime)
    if not found:
        built_by = name if name in ("minio", "rustic") else "peers"
        raise SystemExit(f"there is no {name}: tests/testbed/testbed build {built_by}")
    return str(found[-1])


class Folder:
    """Repositories in folders."""

    remote = False

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)

    def __str__(self):
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.path], capture_output=True, text=True)
        return f"a folder ({kind.stdout.strip()})"

    def folder(self, name):
        return self.path / name

    def make(self, name):
        pass

    def remove(self, name):
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def close(self):
        if self.made:
            shutil.rmtree(self.path, ignore_errors=True)


class Bucket:
    """Repositories in a bucket each of a MinIO, behind a relay that makes it far away."""

    remote = True

    def __init__(self, work, latency):
        self.path, self.latency = pathlib.Path(work) / "minio", latency
        self.path.mkdir()
        self.environment = {**os.environ, "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"], "MINIO_BROWSER": "off"}
        self.environment |= {"MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"], "MINIO_UPDATE": "off"}
        near, far = free_port(), free_port()
        self.near, self.address = f"127.0.0.1:{near}", f"127.0.0.1:{far}"
        server = [unit("minio"), "server", "--quiet", "--address", self.near, str(self.path)]
        self.processes = [
            subprocess.Popen(server, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
            subprocess.Popen([unit("relay"), self.address, self.near, f"{latency}ms"]),
        ]
        ready = ["curl", "-sf", "--max-time", "2", f"http://{self.address}/minio/health/ready"]
        while subprocess.run(ready, check=False).returncode:
            time.sleep(0.1)

    def __str__(self):
        return f"MinIO, {self.latency} ms away"

    def folder(self, name):
        return self.path / name

    def make(self, name):
        self.request("PUT", name)

    def remove(self, name):
        self.request("DELETE", name, "x-minio-force-delete: true")

    def request(self, method, name, *headers):
        """Makes or removes a bucket."""
        key = f"{KEYS['AWS_ACCESS_KEY_ID']}:{KEYS['AWS_SECRET_ACCESS_KEY']}"
        command = ["curl", "-s", "-o", "/dev/null", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", key]
        for header in headers:
            command += ["-H", header]
        subprocess.run([*command, f"http://{self.near}/{name}"], check=True)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def open_store(where, work, latency):
    return Bucket(work, latency) if where == "s3" else Folder(where)


def durable(command, target):
    """A restore and the flush of what it wrote; Ferry's own ends with it."""
    return ["bash", "-c", '"$@" && sync -f "$0"', str(target), *command]


class Tool:
    """One tool with one set of options and a repository of its own."""

    def __init__(self, name, store, work):
        self.name, self.store, self.work = name, store, work
        # What a bucket may be called.
        self.folder = name.replace(" ", "-").replace(".", "")
        self.state = work / "state" / self.folder
        self.environment = {**os.environ, "HOME": str(self.state)}
        if store.remote:
            self.environment |= KEYS

    def reset(self):
        """A new repository, and nothing remembered of the old one."""
        self.remove()
        self.state.mkdir(parents=True)
        self.store.make(self.folder)
        self.init()

    def remove(self):
        shutil.rmtree(self.state, ignore_errors=True)
        self.store.remove(self.folder)

    def init(self):
        pass

    def forget_cache(self):
        """Whoever restores is another machine."""

    def path(self):
        return self.store.folder(self.folder)

    def size(self):
        """Bytes of the repository."""
        return sum(one.stat().st_size for one in self.path().rglob("*") if one.is_file())

    def run(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command}: {done.stderr}{done.stdout}")

    def command(self, step, source, target):
        if step == "proven":
            return self.proven(target)
        if step == "restore":
            self.forget_cache()
            return durable(self.restore(source, target), target)
        return self.save(source, step == "full")

    def proven(self, target):
        """A restore that is read back and compared, where there is one."""
        del target


class Ferry(Tool):
    def __init__(self, store, work):
        super().__init__("ferry", store, work)
        self.binary = os.environ["FERRY_BIN"]
        self.environment["FERRY_PASSWORD"] = PASSWORD
        if store.remote:
            self.environment |= {"AWS_ENDPOINT_URL": f"http://{store.address}", "FERRY_STORE": "s3://ferry/x"}
        else:
            self.environment["FERRY_STORE"] = str(self.path())

    def init(self):
        self.run(self.binary, "store", "init")

    def save(self, source, _):
        return [self.binary, "data", "save", str(source)]

    def restore(self, _, target):
        return [self.binary, "data", "restore", "latest", str(target)]


class Restic(Tool):
    def __init__(self, name, binary, options, store, work, can_prove=True):
        super().__init__(name, store, work)
        self.binary, self.options, self.can_prove = binary, options, can_prove
        self.environment["RESTIC_PASSWORD"] = PASSWORD
        self.environment["RESTIC_CACHE_DIR"] = str(self.state / "cache")
        where = f"s3:http://{store.address}/{self.folder}" if store.remote else str(self.path())
        self.environment["RESTIC_REPOSITORY"] = where

    def init(self):
        self.run(self.binary, "init", "--repository-version", "2")

    def forget_cache(self):
        shutil.rmtree(self.state / "cache", ignore_errors=True)

    def save(self, source, _):
        return [self.binary, *self.options, "backup", "--quiet", str(source)]

    def restore(self, _, target):
        return [self.binary, *self.connections(), "restore", "latest", "--quiet", "--target", str(target)]

    def proven(self, target):
        self.forget_cache()
        return durable([*self.restore(None, target), "--verify"], target) if self.can_prove else None

    def connections(self):
        return [one for one in self.options if one.startswith("--option")]


class Rustic(Tool):
    """rustic's library, which keeps no cache here and verifies what it writes, as Ferry does."""

    def __init__(self, store, work):
        super().__init__("rustic", store, work)
        self.binary = unit("rustic")
        self.environment["RUSTIC_PASSWORD"] = PASSWORD

    def init(self):
        self.run(self.binary, "init", str(self.path()))

    def save(self, source, _):
        return [self.binary, "backup", str(self.path()), str(source)]

    def restore(self, _, target):
        return [self.binary, "restore", str(self.path()), "latest", str(target)]


class Kopia(Tool):
    def __init__(self, name, options, store, work):
        super().__init__(name, store, work)
        self.binary, self.options = unit("kopia"), options
        self.environment |= {
            "KOPIA_PASSWORD": PASSWORD,
            "KOPIA_CONFIG_PATH": str(self.state / "config"),
            "KOPIA_CACHE_DIRECTORY": str(self.state / "cache"),
            "KOPIA_LOG_DIR": str(self.state / "log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
            "KOPIA_AUTO_MAINTENANCE": "false",
        }

    def where(self):
        if not self.store.remote:
            return ["filesystem", f"--path={self.path()}"]
        keys = [f"--access-key={KEYS['AWS_ACCESS_KEY_ID']}", f"--secret-access-key={KEYS['AWS_SECRET_ACCESS_KEY']}"]
        return ["s3", f"--bucket={self.folder}", f"--endpoint={self.store.address}", "--disable-tls", *keys]

    def init(self):
        if not self.store.remote:
            self.path().mkdir()
        splitter = self.options.get("splitter")
        extra = [f"--object-splitter={splitter}"] if splitter else []
        self.run(self.binary, "repository", "create", *self.where(), *extra)
        policy = [f"--compression={self.options.get('compression', 'none')}"]
        # So that files are not left out because of ignore files in them.
        self.run(self.binary, "policy", "set", "--global", "--clear-dot-ignore", *policy)

    def forget_cache(self):
        if self.store.remote:
            self.run(self.binary, "repository", "disconnect")
            shutil.rmtree(self.state / "cache", ignore_errors=True)
            self.run(self.binary, "repository", "connect", *self.where())

    def parallel(self):
        count = self.options.get("parallel")
        return [f"--parallel={count}"] if count else []

    def save(self, source, _):
        return [self.binary, "--no-progress", "--log-level=warning", "snapshot", "create", *self.parallel(), str(source)]

    def restore(self, source, target):
        return [self.binary, "--no-progress", "--log-level=warning", "restore", *self.parallel(), str(source), str(target)]


class Tar(Tool):
    """An archive: no encryption, no increments, nothing kept apart."""

    def init(self):
        self.path().mkdir()

    def save(self, source, full):
        archive = self.path() / "archive.tar.zst"
        line = 'tar -C "$1" -cf - . | zstd -q -1 -T2 -f -o "$2"'
        return ["bash", "-o", "pipefail", "-c", line, "tar", str(source), str(archive)] if full else None

    def restore(self, _, target):
        line = 'zstd -q -dc "$1" | tar -C "$2" -xf -'
        return ["bash", "-o", "pipefail", "-c", line, "tar", str(self.path() / "archive.tar.zst"), str(target)]


class Rsync(Tool):
    """A mirror: no encryption, no compression, one state only."""

    FLAGS = ["-aHAXS", "--numeric-ids"]

    def init(self):
        self.path().mkdir()

    def save(self, source, _):
        return ["rsync", *self.FLAGS, "--delete", f"{source}/", f"{self.path()}/"]

    def restore(self, _, target):
        return ["rsync", *self.FLAGS, f"{self.path()}/", f"{target}/"]


def tools(store, work, wanted):
    """Ferry first; the peers as they come and as they are best."""
    quick = ["--compression", "fastest"]
    connections = "--option=s3.connections=16" if store.remote else "--option=local.connections=4"
    tuned = [*quick, "--pack-size", "64", "--read-concurrency", "4", connections]
    debian, newest = "/usr/bin/restic", unit("restic")
    best = {"splitter": "DYNAMIC-1M-BUZHASH", "compression": "zstd-fastest", "parallel": 8}
    every = [
        Ferry(store, work),
        Restic("restic 0.14", debian, [], store, work, can_prove=False),
        Restic("restic 0.19", newest, quick, store, work),
        Restic("restic 0.19 tuned", newest, tuned, store, work),
        Kopia("kopia", {}, store, work),
        Kopia("kopia tuned", best, store, work),
    ]
    if not store.remote:
        every += [Rustic(store, work), Tar("tar", store, work), Rsync("rsync", store, work)]
    return [tool for tool in every if not wanted or tool.name in wanted]
