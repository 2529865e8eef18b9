"""What the processes of a server take while it works, and how fast that grows."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.server import Broken, family

_FIELD = re.compile(r"^(VmRSS|RssAnon):\s+(\d+) kB", re.MULTILINE)
#: What the command of a worker has; others come and go, look into archives or wait for the others' end.
_WORKER = b"multiprocessing.spawn"
#: Seconds for which a child may look like its parent, until it is another program.
FORK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at a moment, in seconds: MiB by process, of them not of files, and open descriptors."""

    at: float
    resident: dict[int, float]
    anonymous: float
    descriptors: int

    @property
    def total(self) -> float:
        """MiB of all processes; what they share counts for each."""
        return sum(self.resident.values())


def serving(main: int) -> list[int]:
    """The main process and its workers."""
    found = _workers(main)
    time.sleep(FORK_SECONDS)
    return [main, *(found & _workers(main))]


def _workers(main: int) -> set[int]:
    found = set()
    for pid, _ in family(main)[1:]:
        with contextlib.suppress(OSError):
            if _WORKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def look(processes: Sequence[int], at: float) -> Look:
    """At processes. Raises `Broken` where one has ended."""
    resident, anonymous, descriptors = {}, 0.0, 0
    for pid in processes:
        place = Path(f"/proc/{pid}")
        try:
            found = dict(_FIELD.findall((place / "status").read_text()))
            resident[pid] = int(found["VmRSS"]) / 1024
            anonymous += int(found["RssAnon"]) / 1024
            descriptors += len(os.listdir(place / "fd"))
        except (OSError, KeyError):
            raise Broken(f"the process {pid} has ended") from None
    return Look(at, resident, anonymous, descriptors)


def calm(looks: Sequence[Look], window: int) -> list[Look]:
    """Of each so many looks the one with the least memory: what is in use for a moment is no growth."""
    return [min(looks[at : at + window], key=lambda each: each.total) for at in range(0, len(looks), window)]


def slope(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of (seconds, MiB) by least squares: MiB an hour, and its standard error. Zeroes for less than three."""
    if len(rows) < 3:
        return 0.0, 0.0
    middle = statistics.fmean(at for at, _ in rows)
    mean = statistics.fmean(size for _, size in rows)
    over = sum((at - middle) ** 2 for at, _ in rows)
    found = sum((at - middle) * (size - mean) for at, size in rows) / over
    beside = sum((size - mean - found * (at - middle)) ** 2 for at, size in rows)
    return 3600 * found, 3600 * (beside / (len(rows) - 2) / over) ** 0.5


def thirds(sizes: Sequence[float]) -> list[float]:
    """The means of the first, second and last third; fewer where there are fewer sizes."""
    step = max(1, -(-len(sizes) // 3))
    return [statistics.fmean(sizes[at : at + step]) for at in range(0, len(sizes), step)]
