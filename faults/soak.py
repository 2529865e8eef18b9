"""A mixed load for minutes: no error, memory and descriptors at rest, the write-ahead log bounded."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urljoin

from bench.wheels import wheel
from faults import check, growth
from faults.client import MULTIPART, ask, form
from faults.load import API, JSON
from faults.server import Broken, Server, pidex, under_test
from tests.upstreams import LocalUpstream

#: Projects that the load goes round in, and seconds between two looks at memory.
PROJECTS, LOOK_SECONDS = 40, 2.0
#: Clients at a time, and seconds between what each of them does: while caches fill, and while it is measured.
FILLING, MEASURED = (12, 0.0), (4, 0.15)
#: From how many minutes on a soak is a long one: the first are the warm-up, before which so many files lie
#: there in so many projects: more than there are names remembered in any cache.
LONG_MINUTES, WARM_MINUTES, WARM_FILES, WARM_PROJECTS = 5.0, 10.0, 17_000, 170
#: Of a soak at most this is warm-up.
WARM_SHARE = 0.5
#: Projects of the upstream, and files of each of them; and projects of one file that nobody has asked for.
FAR_PROJECTS, FAR_FILES, NEW_PROJECTS = 600, 20, 6_000
#: MiB for finished pages in each worker: as much as the pages of a soak can fill.
PAGE_CACHE = 8
#: Looks of which the least counts: what is in use for a moment is no growth.
WINDOW = 10
#: Looks of which one is printed.
TOLD_LOOKS = 30
#: Bytes of the write-ahead log at most; descriptors at any time, and those that the load may leave open.
WAL_BYTES, MOST_DESCRIPTORS, MORE_DESCRIPTORS = 64 << 20, 900, 24
#: Seconds without load before descriptors are counted, and what is noise of memory that grows, in MiB.
REST_SECONDS, MORE_MIB = 10.0, 2.0


class Soak:
    """The load, and what was measured beside it."""

    def __init__(self, server: Server, data: Path, new: list[str], seed: int, *, warm: int) -> None:
        self.server, self.data, self.new, self.warm = server, data, new, warm
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.looks: list[growth.Look] = []
        self.wal = self.version = 0
        self.grown = ""
        assert server.process is not None
        self.processes = growth.serving(server.process.pid)

    async def run(self, seconds: float, clients: int, pause: float) -> None:
        """Load and look, for so many seconds."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end, pause) for _ in range(clients)), self._look(end))

    def look(self) -> growth.Look:
        """What the server takes now. Raises `Broken` where a worker has ended."""
        return growth.look(self.processes, time.monotonic())

    async def _client(self, end: float, pause: float) -> None:
        while time.monotonic() < end:
            project = f"soak{self.chance.randrange(PROJECTS)}"
            dice = self.chance.random()
            if dice < 0.1:
                await self._upload(project)
            elif dice < 0.16:
                await self._delete(project)
            elif dice < 0.18:
                await self._get("/simple/", {200})
            elif dice < 0.21:
                await self._get(f"/simple/nobody-has-{self.chance.randrange(1 << 30)}/", {404})
            elif dice < 0.24:
                await self._miss()
            elif self.warm and dice < 0.6:
                await self._install(f"warm{self.chance.randrange(self.warm)}")
            else:
                await self._install(project)
            if pause:
                await asyncio.sleep(pause)

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
            url = urljoin(page, self.chance.choice(files)["url"])
            await self._get(f"{url}.metadata", {200, 404})
            await self._get(url, {200, 404})  # 404: deleted meanwhile
            self.counts["installs"] += 1

    async def _miss(self) -> None:
        """A project that only the upstream has, and that nobody has asked for yet while there are any."""
        project = self.new.pop() if self.new else f"far{self.chance.randrange(FAR_PROJECTS)}"
        await self._install(project)
        self.counts["mirrored"] += 1

    async def _look(self, end: float) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            self.looks.append(self.look())
            self.wal = max(self.wal, check.wal_bytes(self.data))
            if len(self.looks) % TOLD_LOOKS == 0:
                sizes = " ".join(f"{each:.1f}" for each in self.looks[-1].resident.values())
                print(
                    f"  {sizes} MiB, {self.looks[-1].descriptors} descriptors, {dict(self.counts)}",
                    flush=True,
                )

    def memory(self) -> dict[str, object]:
        """How memory went; `grown` says where it grew."""
        if not self.looks:
            return {}
        rows = growth.calm(self.looks, WINDOW)
        by_process = [
            growth.slope([(each.at, each.resident[pid]) for each in rows]) for pid in rows[0].resident
        ]
        of_all, error = growth.slope([(each.at, each.total) for each in rows])
        mean = growth.thirds([each.total for each in rows])
        found: dict[str, object] = {
            "memory_mib": round(rows[-1].total, 1),
            "slope_mib_hour": f"{of_all:.1f} ± {error:.1f}",
            "slopes of main process and workers": " and ".join(f"{one:.1f}" for one, _ in by_process),
            "means of thirds": " and ".join(f"{each:.1f}" for each in mean),
            "of it not of files": f"{rows[0].anonymous:.1f} to {rows[-1].anonymous:.1f}",
        }
        if of_all * (rows[-1].at - rows[0].at) / 3600 > MORE_MIB:
            self.grown = f"memory grows: {found} {[round(each.total, 1) for each in rows]}"
        return found


def fill(folder: Path) -> None:
    """So many wheels, each of a version of its own."""
    for number in range(WARM_FILES):
        filename, data = wheel(f"warm{number % WARM_PROJECTS}", f"1.{number}")
        (folder / filename).write_bytes(data)


def stock(upstream: LocalUpstream, *, long: bool) -> list[str]:
    """What the upstream has; the names of projects that are new to the server."""
    for number in range(FAR_PROJECTS * (FAR_FILES if long else 1)):
        upstream.add(wheel(f"far{number % FAR_PROJECTS}", f"1.{number}"))
    new = [f"far-new{number}" for number in range(NEW_PROJECTS if long else 0)]
    for name in new:
        upstream.add(wheel(name, "1.0", b"far" * 1_000))
    return new


def own(port: int) -> dict[str, str]:
    """What the index lists and the upstream does not have."""
    found = check.everything(port)
    return {name: digest for name, digest in found.items() if not name.startswith("far")}


def warm_up(soak: Soak, seconds: float) -> None:
    """Fill caches: list and read everything, then as many clients as there are, with every kind of act."""
    end = time.monotonic() + seconds
    for _ in range(3):  # of two workers each has most by then
        for number in range(FAR_PROJECTS):
            check.get(soak.server.port, f"/simple/far{number}/", {"Accept": JSON})
        check.everything(soak.server.port)
    asyncio.run(soak.run(max(0.0, end - time.monotonic()), *FILLING))
    if tops := growth.thirds([each.total for each in soak.looks]):
        print(f"warm, by thirds: {', '.join(f'{each:.1f}' for each in tops)} MiB", flush=True)


def run(minutes: float, seed: int) -> dict[str, object]:
    """The load for so many minutes; the figures. Raises `Broken`."""
    base = Path(tempfile.mkdtemp(prefix="pidex-soak-"))
    folder, data = base / "packages", base / "data"
    folder.mkdir()
    long = minutes >= LONG_MINUTES
    warming = min(WARM_MINUTES, minutes * WARM_SHARE)
    with LocalUpstream() as upstream:
        options = ("--upstream", upstream.url, "--page-cache", str(PAGE_CACHE))
        server = pidex(folder, data, base / "log", *options)
        new = stock(upstream, long=long)
        if long:
            fill(folder)
        with under_test(server, base, seed):
            server.start()
            while long and len(own(server.port)) < WARM_FILES:
                pass  # each look waits for pages that are not ready
            soak = Soak(server, data, new, seed, warm=WARM_PROJECTS if long else 0)
            if long:
                warm_up(soak, warming * 60)
            figures = _measured(soak, minutes - (warming if long else 0), long=long)
            figures = {"minutes": minutes, "seed": seed, "errors": 0} | figures
            if server.tracebacks():
                raise Broken(f"tracebacks in the log: {server.tail()}")
            check.at_rest(folder, data, own(server.port))
            check.verified(folder, data, deep=True)
            if soak.grown:  # last: all else is to be known of such a run, too
                raise Broken(f"{soak.grown}; all else held: {figures}")
    return figures


def _measured(soak: Soak, minutes: float, *, long: bool) -> dict[str, object]:
    """Load that counts, and what it left. Raises `Broken`."""
    time.sleep(REST_SECONDS if long else 0)
    before, soak.looks, soak.counts = soak.look().descriptors, [], Counter()
    clients, pause = MEASURED
    asyncio.run(soak.run(minutes * 60, clients, pause if long else 0.0))
    most = max((each.descriptors for each in soak.looks), default=0)
    time.sleep(REST_SECONDS if long else 0)
    after = soak.look().descriptors
    asked = sum(soak.counts[kind] for kind in ("reads", "uploads", "deletions"))
    figures: dict[str, object] = {
        "of them measured": round(minutes, 1),
        "requests a second": round(asked / (minutes * 60)),
        **(soak.memory() if long else {}),
        "descriptors at rest": f"{before} before and {after} after it",
        "descriptors at most": most,
        "wal_kib": soak.wal >> 10,
        **soak.counts,
    }
    if long and after > before + MORE_DESCRIPTORS:
        raise Broken(f"{before} descriptors became {after}: {figures}")
    if most > MOST_DESCRIPTORS:
        raise Broken(f"{most} descriptors are open: {figures}")
    if soak.wal > WAL_BYTES:
        raise Broken(f"the write-ahead log grew to {soak.wal:,} bytes: {figures}")
    return figures
