"""The trees that the benchmarks of the repository engine are about, and what changes in them."""

import os
import pathlib
import random
import shutil
import subprocess

SMALL_FILES, SMALL_SIZE, SMALL_FOLDER = 50_000, 4096, 250
BIG = 2 << 30


def make(name, target, limit):
    """Makes a tree. Returns its number of entries and their bytes."""
    target.mkdir(parents=True)
    {"go": go, "share": share, "big": big, "small": small}[name](target, limit)
    os.sync()
    return count(target)


def go(target, limit):
    """Source code: the Go module cache."""
    cache = subprocess.run(["go", "env", "GOMODCACHE"], check=True, capture_output=True, text=True)
    folder = pathlib.Path(cache.stdout.strip())
    copy([folder / "k8s.io", folder / "github.com", folder / "golang.org"], target, limit)


def share(target, limit):
    """What nothing was tuned on: a Debian system's documents, fonts, libraries and programs."""
    copy([pathlib.Path(one) for one in ("/usr/share", "/usr/lib", "/usr/bin")], target, limit)


def copy(folders, target, limit):
    """Copies folders as they are, until there is enough."""
    total = 0
    for folder in folders:
        for directory, below, files in os.walk(folder):
            below.sort()
            there = target / folder.name / os.path.relpath(directory, folder)
            there.mkdir(parents=True, exist_ok=True)
            for name in sorted(files):
                one = os.path.join(directory, name)
                shutil.copy2(one, there / name, follow_symlinks=False)
                total += os.lstat(one).st_size
            if total >= limit:
                return


def big(target, limit):
    """One file: half of it random, three tenths seen before at another place, the rest text."""
    del limit
    dice = random.Random(1)
    words = [dice.randbytes(dice.randint(2, 5)).hex() for _ in range(4000)]
    with open(target / "big.img", "w+b") as out:
        written = 0
        while written < BIG:
            length = min(dice.randint(1 << 20, 16 << 20), BIG - written)
            kind = dice.random()
            if kind < 0.3 and written > length:
                out.seek(dice.randrange(written - length))
                data = out.read(length)
                out.seek(written)
            elif kind < 0.8:
                data = dice.randbytes(length)
            else:
                text = " ".join(dice.choices(words, k=length // 24)).encode()
                data = (text * (length // len(text) + 1))[:length]
            out.write(data)
            written += length


def small(target, limit):
    """Many small files, a quarter of each random."""
    del limit
    dice = random.Random(2)
    words = [dice.randbytes(3).hex() for _ in range(4000)]
    for number in range(SMALL_FILES):
        folder = target / f"{number // SMALL_FOLDER:03}"
        if number % SMALL_FOLDER == 0:
            folder.mkdir()
        text = " ".join(dice.choices(words, k=SMALL_SIZE // 7)).encode()
        (folder / f"file-{number:05}").write_bytes((dice.randbytes(SMALL_SIZE // 4) + text)[:SMALL_SIZE])


def change(name, target, turn):
    """What a day does to a tree: 20 x 1 MiB overwritten in a big file, the ends of one file in a hundred otherwise.
    The places are the same each time, what is written there is not."""
    places, dice = random.Random(3), random.Random(100 + turn)
    if name == "big":
        with open(target / "big.img", "r+b") as out:
            for _ in range(20):
                out.seek(places.randrange(BIG - (1 << 20)))
                out.write(dice.randbytes(1 << 20))
        return "20 x 1 MiB overwritten"
    files = [path for path in sorted(files_below(target)) if not os.path.islink(path)]
    for number in places.sample(range(len(files)), len(files) // 100):
        with open(files[number], "r+b") as out:
            out.seek(max(0, os.fstat(out.fileno()).st_size - 200))
            out.write(dice.randbytes(200))
    return f"{len(files) // 100} files end differently"


def files_below(target):
    for directory, _, names in os.walk(target):
        for name in names:
            yield os.path.join(directory, name)


def count(target):
    entries = size = 0
    for directory, below, files in os.walk(target):
        entries += len(below) + len(files)
        for name in files:
            size += os.lstat(os.path.join(directory, name)).st_size
    return entries, size
