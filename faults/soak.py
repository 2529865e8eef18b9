"""A mixed load for minutes: no error, memory and descriptors at rest, the write-ahead log bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urljoin

from bench.wheels import wheel
from faults import check
from faults.client import MULTIPART, ask, form
from faults.load import API, JSON
from faults.server import Broken, Server, family, pidex, under_test

#: Projects that the load goes round in, clients at a time, and seconds between two measurements.
PROJECTS, CLIENTS, LOOK_SECONDS = 40, 4, 2.0
#: Files that lie there in a long form before it begins, in so many projects, which are installed, too: caches
#: of names and pages of the database are as full as they get.
WARM_FILES, WARM_PROJECTS = 9_000, 90
#: Measurements of which the least counts: what is in use for a moment is no growth.
WINDOW = 10
#: Bytes of the write-ahead log at most; descriptors that the second half may add.
WAL_BYTES, MORE_DESCRIPTORS = 64 << 20, 24
#: Descriptors of all processes at any time, and from how many minutes on growth tells anything; what of it is
#: noise, in MiB over half of the time.
MOST_DESCRIPTORS, LONG_MINUTES, MORE_MIB = 600, 5.0, 4.0


class Soak:
    """The load, and what was measured beside it."""

    def __init__(self, server: Server, data: Path, seed: int, *, warm: int = 0) -> None:
        self.server, self.data, self.chance, self.warm = server, data, random.Random(seed), warm
        self.counts: Counter[str] = Counter()
        self.memory: list[tuple[float, float]] = []  # seconds, MiB
        self.open: list[int] = []  # descriptors
        self.wal = 0
        self.version = 0

    async def run(self, seconds: float) -> None:
        """Load and look, for so many seconds."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end) for _ in range(CLIENTS)), self._look(end))

    async def _client(self, end: float) -> None:
        while time.monotonic() < end:
            project = f"soak{self.chance.randrange(PROJECTS)}"
            dice = self.chance.random()
            if dice < 0.1:
                await self._upload(project)
            elif dice < 0.16:
                await self._delete(project)
            elif dice < 0.2:
                await self._get("/simple/", {200})
            elif dice < 0.23:
                await self._get("/simple/nobody-has-this/", {404})
            elif self.warm and dice < 0.4:
                await self._install(f"warm{self.chance.randrange(self.warm)}")
            else:
                await self._install(project)

    async def _get(self, path: str, wanted: set[int]) -> bytes:
        answer = await ask(self.server.port, "GET", path, {"Accept": JSON})
        if answer.status not in wanted:
            raise Broken(f"{path} answered {answer.status}: {answer.body[:200]!r}")
        self.counts["reads"] += 1
        return answer.body if answer.status == 200 else b""

    async def _upload(self, project: str) -> None:
        self.version += 1
        payload = self.chance.randbytes(self.chance.choice((100, 4_000, 300_000)))
        sample = wheel(project, f"1.{self.version}", payload)
        answer = await ask(self.server.port, "POST", "/legacy/", {"Content-Type": MULTIPART}, form(*sample))
        if answer.status != 200:
            raise Broken(f"an upload answered {answer.status}: {answer.body[:200]!r}")
        self.counts["uploads"] += 1

    async def _delete(self, project: str) -> None:
        """The whole project, so that the folder stays small."""
        answer = await ask(self.server.port, "DELETE", f"{API}/{project}")
        if answer.status not in (200, 404):
            raise Broken(f"a deletion answered {answer.status}: {answer.body[:200]!r}")
        self.counts["deletions"] += answer.status == 200

    async def _install(self, project: str) -> None:
        """What an installer asks for."""
        page = f"/simple/{project}/"
        body = await self._get(page, {200, 404})
        files = json.loads(body)["files"] if body else []
        if files:
            url = urljoin(page, files[-1]["url"])  # a worker keeps 256 files open: these are fewer
            await self._get(f"{url}.metadata", {200, 404})
            await self._get(url, {200, 404})  # 404: deleted meanwhile
            self.counts["installs"] += 1

    async def _look(self, end: float) -> None:
        began = time.monotonic()
        while time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            self.memory.append((time.monotonic() - began, self._resident()))
            self.open.append(self._descriptors())
            self.wal = max(self.wal, check.wal_bytes(self.data))

    def _resident(self) -> float:
        """MiB that main process and workers have in memory; not the children that come and go."""
        total = 0
        assert self.server.process is not None
        for pid, _ in family(self.server.process.pid):
            with contextlib.suppress(OSError):
                if b"-I" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def _descriptors(self) -> int:
        """Open descriptors of main process and workers."""
        total = 0
        assert self.server.process is not None
        for pid, _ in family(self.server.process.pid):
            with contextlib.suppress(OSError):
                if b"-I" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    total += len(os.listdir(f"/proc/{pid}/fd"))
        return total

    def slope(self) -> tuple[float, float]:
        """MiB an hour over the second half, and how far that may be off: least squares over the minima."""
        half = self.memory[len(self.memory) // 2 :]
        rows = [min(half[at : at + WINDOW], key=lambda row: row[1]) for at in range(0, len(half), WINDOW)]
        if len(rows) < 3:
            return 0.0, 0.0
        middle = statistics.fmean(at for at, _ in rows)
        mean = statistics.fmean(size for _, size in rows)
        over = sum((at - middle) ** 2 for at, _ in rows)
        slope = sum((at - middle) * (size - mean) for at, size in rows) / over
        beside = sum((size - mean - slope * (at - middle)) ** 2 for at, size in rows)
        return 3600 * slope, 3600 * (beside / (len(rows) - 2) / over) ** 0.5


def fill(folder: Path, files: int) -> None:
    """So many wheels, each of a version of its own."""
    for number in range(files):
        filename, data = wheel(f"warm{number % WARM_PROJECTS}", f"1.{number}")
        (folder / filename).write_bytes(data)


def run(minutes: float, seed: int) -> dict[str, object]:
    """The load for so many minutes; the figures. Raises `Broken`."""
    base = Path(tempfile.mkdtemp(prefix="pidex-soak-"))
    folder = base / "packages"
    folder.mkdir()
    server = pidex(folder, base / "data", base / "log")
    long = minutes >= LONG_MINUTES
    if long:
        fill(folder, WARM_FILES)
    with under_test(server, base, seed):
        server.start()
        while long and len(check.everything(server.port)) < WARM_FILES:
            pass  # each look waits for pages that are not ready
        soak = Soak(server, base / "data", seed, warm=WARM_PROJECTS if long else 0)
        asyncio.run(soak.run(minutes * 60))
        # The first half warms up: threads, pools and caches come to be there.
        half = len(soak.open) // 2
        before, after = max(soak.open[:half], default=0), max(soak.open[half:], default=0)
        slope, error = soak.slope()
        figures: dict[str, object] = {
            "minutes": minutes,
            "seed": seed,
            "memory_mib": round(soak.memory[-1][1], 1) if soak.memory else None,
            "slope_mib_hour": f"{slope:.1f} ± {error:.1f}",
            "descriptors": f"{before} to {after}",
            "wal_kib": soak.wal >> 10,
            **soak.counts,
        }
        if long and after > before + MORE_DESCRIPTORS:
            raise Broken(f"{before} descriptors became {after}: {figures}")
        if long and slope * minutes / 120 > MORE_MIB:
            raise Broken(f"memory grows by {slope:.1f} MiB an hour: {figures} {soak.memory[::WINDOW]}")
        if after > MOST_DESCRIPTORS:
            raise Broken(f"{after} descriptors are open: {figures}")
        if soak.wal > WAL_BYTES:
            raise Broken(f"the write-ahead log grew to {soak.wal:,} bytes: {figures}")
        if server.tracebacks():
            raise Broken(f"tracebacks in the log: {server.tail()}")
        check.at_rest(folder, base / "data", check.everything(server.port))
        check.verified(folder, base / "data", deep=True)
    return figures
