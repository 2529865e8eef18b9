"""A full disk: reading goes on, uploads are refused in words, nothing stays, and it recovers by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.wheels import wheel
from faults import check
from faults.client import MULTIPART, Answer, ask, form
from faults.history import History, State
from faults.power import _do
from faults.server import Broken, pidex, under_test
from pidex.backends import ballast

#: The file system in MiB; what uploads leave free of it is 64.
DISK_MIB = 112
#: Seconds in which an upload has to succeed again once there is space.
RECOVERY_SECONDS = 5.0
#: Seconds in which the server has to have its ballast.
BALLAST_SECONDS = 60.0


def impossible() -> str | None:
    """Why no small disk can be made here, or None."""
    return None if os.geteuid() == 0 and shutil.which("mount") else "mounting needs root"


def _send(port: int, sample: tuple[str, bytes]) -> Answer:
    return asyncio.run(ask(port, "POST", "/legacy/", {"Content-Type": MULTIPART}, form(*sample)))


def _fill(place: Path, keep: int) -> Path:
    """A file that leaves `keep` bytes of the disk free."""
    path = place / "filler"
    with path.open("wb") as file, contextlib.suppress(OSError):
        found = os.statvfs(place)
        os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - keep))
    with path.open("ab") as file, contextlib.suppress(OSError):
        while not keep:
            os.write(file.fileno(), b"x" * 4096)
    return path


def _await_ballast(data: Path) -> None:
    """What the server keeps for a full disk is taken again some seconds after there is room."""
    end = time.monotonic() + BALLAST_SECONDS
    while not (data / ballast.NAME).exists():
        if time.monotonic() > end:
            raise Broken(f"no ballast {BALLAST_SECONDS:g} s after there was room for it")
        time.sleep(0.05)


def _delete_while_full(port: int, path: str, keep: int) -> None:
    """What makes room can be written, by the room that was kept for it: a moment after it was asked."""
    began = time.monotonic()
    while (answer := asyncio.run(ask(port, "DELETE", path))).status not in (200, 404):
        if answer.status not in (503, 507) or time.monotonic() - began > RECOVERY_SECONDS:
            raise Broken(f"{keep} bytes free: a deletion answered {answer.status}: {answer.body[:300]!r}")
        time.sleep(0.05)


def run(rounds: int, seed: int) -> dict[str, object]:
    """Fill, read, send, free, send again; the figures. Raises `Broken`."""
    base = Path(tempfile.mkdtemp(prefix="pidex-disk-"))
    place, chance, counts = base / "disk", random.Random(seed), Counter[str]()
    place.mkdir()
    _do("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", place)
    folder = place / "packages"
    folder.mkdir()
    server = pidex(folder, place / "data", base / "log")
    slowest = 0.0
    with under_test(server, base, seed, afterwards=lambda: _do("umount", place)):
        server.start()
        history = History()
        first = wheel("here", "1.0", b"x" * 1000)
        name = history.begin(*first, State.PRESENT)
        if _send(server.port, first).status != 200:
            raise Broken("the set-up failed")
        name.states = {State.PRESENT}
        for turn in range(rounds):
            if _send(server.port, wheel(f"room{turn}", "1.0")).status != 200:
                raise Broken("no room for a small file at the start of a round")
            _await_ballast(place / "data")
            keep = chance.choice((0, 0, 4096, 100_000, 20_000_000))
            filler = _fill(place, keep)
            sample = wheel(f"full{turn}", "1.0", chance.randbytes(chance.choice((10, 100_000, 3_000_000))))
            answer = _send(server.port, sample)
            if answer.status != 507 or b"space" not in answer.body:
                raise Broken(f"{keep} bytes free: an upload answered {answer.status}: {answer.body[:300]!r}")
            counts["uploads refused"] += 1
            for _ in range(5):
                check.settle(server.port, history, [name])
                counts["reads while it is full"] += 2
            _delete_while_full(server.port, f"/-/api/v1/indexes/main/projects/room{turn}", keep)
            counts["deletions while it is full"] += 1
            if left := [path.name for path in folder.iterdir() if path.name != first[0]]:
                raise Broken(f"{keep} bytes free: left in the folder: {left}")
            filler.unlink()
            freed = time.monotonic()
            while (answer := _send(server.port, sample)).status != 200:
                if time.monotonic() - freed > RECOVERY_SECONDS:
                    raise Broken(
                        f"{RECOVERY_SECONDS:g} s after space came back: {answer.status} {answer.body[:300]!r}"
                    )
                time.sleep(0.05)
            slowest = max(slowest, time.monotonic() - freed)
            path = f"/-/api/v1/indexes/main/projects/full{turn}"
            if (gone := asyncio.run(ask(server.port, "DELETE", path))).status != 200:
                raise Broken(f"a deletion answered {gone.status}: {gone.body[:300]!r}")
            counts["recoveries"] += 1
        check.at_rest(folder, place / "data", check.everything(server.port))
        check.catalogue(place / "data", whole=True)
        check.verified(folder, place / "data", deep=True)
        if server.tracebacks():
            raise Broken(f"tracebacks in the log: {server.tail()}")
    return {"rounds": rounds, "slowest_recovery": round(slowest, 2), "seed": seed, **counts}
