"""Backups taken while clients work, put back elsewhere, and held against what was acknowledged before."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from bench.ports import free_port
from bench.wheels import wheel
from faults.check import everything
from faults.client import MULTIPART, ask, form
from faults.lanes import Lanes
from faults.load import API
from faults.server import Broken, Server, environment

#: Clients that upload, and seconds that they work before a backup and while it is taken.
CLIENTS, BEFORE_SECONDS = 3, 0.5
#: Between two uploads of a client, in seconds: a hundred rounds shall not fill the disk.
PAUSE_SECONDS = 0.05


class Load(Lanes):
    """Clients that upload wheels and delete some; what was acknowledged, and when."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(CLIENTS)
        self._port, self._seed = port, seed
        self.added: dict[str, tuple[float, str]] = {}
        self.deleted: dict[str, float] = {}
        self._lock = threading.Lock()

    def work(self, lane: int) -> None:
        chance, count = random.Random(f"{self._seed}-{lane}"), 0
        mine: list[tuple[str, str]] = []
        while not self.stopped.is_set():
            count += 1
            project, version = f"load-{lane}", f"{self._seed % 10_000}.{count}"
            filename, data = wheel(project, version, chance.randbytes(chance.randrange(5_000)))
            kind = {"Content-Type": MULTIPART}
            answer = asyncio.run(ask(self._port, "POST", "/legacy/", kind, form(filename, data)))
            if answer.status == 200:
                with self._lock:
                    self.added[filename] = (time.time(), hashlib.sha256(data).hexdigest())
                mine.append((filename, project))
            time.sleep(PAUSE_SECONDS)
            if mine and chance.random() < 0.45:
                filename, project = mine.pop(chance.randrange(len(mine)))
                path = f"{API}/{project}/files/{filename}"
                if asyncio.run(ask(self._port, "DELETE", path, {})).status in (200, 204):
                    with self._lock:
                        self.deleted[filename] = time.time()


def run(rounds: int, seed: int, seconds: float = 1e9) -> dict[str, object]:
    """So many backups under load, or as begin within `seconds`, each restored elsewhere and compared.

    Raises `Broken`.
    """
    end = time.monotonic() + seconds
    base = Path(tempfile.mkdtemp(prefix="pidex-rescue-"))
    (base / "packages").mkdir()
    port = free_port()
    command = [
        sys.executable, "-m", "pidex", "serve", str(base / "packages"), "-p", str(port), "--workers", "2",
        "--guard", "",
    ]  # fmt: skip
    server = Server("pidex", command, port, base / "log", environ=environment())
    counts: Counter[str] = Counter()
    added: dict[str, tuple[float, str]] = {}
    deleted: dict[str, float] = {}
    server.start()
    try:
        for number in range(rounds):
            if time.monotonic() > end:
                break
            with Load(port, seed + number) as load:
                time.sleep(BEFORE_SECONDS)
                began = time.time()
                _pidex("backup", str(base / "backups"), str(base / "packages"), "--keep", "3")
                ended = time.time()
            added |= load.added
            deleted |= load.deleted
            found = _restored(base, number)
            counts.update(
                _held(found, added, deleted, began, ended, where=f"seed {seed}, round {number}: {base}")
            )
            counts["backups"] += 1
    finally:
        server.kill()
    shutil.rmtree(base)
    return {**dict(sorted(counts.items())), "seed": seed, "lost": 0, "with other bytes": 0, "came back": 0}


def _restored(base: Path, number: int) -> dict[str, str]:
    """Put the newest backup back elsewhere, verify all of it, and serve it: what it lists."""
    place = base / f"restored-{number}"
    _pidex("restore", str(base / "backups"), str(place / "packages"), "--data", str(place / "data"))
    _pidex("verify", "--deep", str(place / "packages"), "--data", str(place / "data"))
    port = free_port()
    command = [
        sys.executable, "-m", "pidex", "serve", str(place / "packages"), "--data", str(place / "data"),
        "-p", str(port),
    ]  # fmt: skip
    server = Server("restored", command, port, place / "log", environ=environment())
    server.start()
    try:
        return everything(port)
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


def _held(
    found: dict[str, str],
    added: dict[str, tuple[float, str]],
    deleted: dict[str, float],
    began: float,
    ended: float,
    *,
    where: str,
) -> dict[str, int]:
    """Hold what is there to what was acknowledged before the backup began, and not after it ended."""
    for filename, (at, sha256) in added.items():
        gone = deleted.get(filename)
        if filename in found and found[filename] != sha256:
            raise Broken(f"{where}: {filename} has other bytes")
        if at < began and (gone is None or gone > ended) and filename not in found:
            raise Broken(f"{where}: {filename} was acknowledged before the backup, and is not in it")
        if gone is not None and gone < began and filename in found:
            raise Broken(f"{where}: {filename} was deleted before the backup, and is in it")
    unknown = set(found) - set(added)
    if unknown:
        raise Broken(f"{where}: nobody sent {sorted(unknown)[:3]}")
    return {"files compared": len(found)}


def _pidex(*words: str) -> str:
    """A command; what it printed. Raises `Broken` where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pidex", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    if done.returncode:
        raise Broken(f"pidex {' '.join(words)}: exit code {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout
