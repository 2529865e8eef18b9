"""What the processes of a server take while it works, and how fast that grows."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.server import Broken, family

_FIELD = re.compile(r"^(VmRSS|RssAnon):\s+(\d+) kB", re.MULTILINE)
#: What Python starts beside the processes that serve: it looks into archives, or waits for the others' end.
_OTHERS = (b"-I", b"from multiprocessing.resource_tracker")


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


def look(main: int, at: float) -> Look:
    """At the main process and its workers; not at children that come and go."""
    resident, anonymous, descriptors = {}, 0.0, 0
    for pid, _ in family(main):
        with contextlib.suppress(OSError):
            place = Path(f"/proc/{pid}")
            command = (place / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(other) for word in command for other in _OTHERS):
                continue
            found = dict(_FIELD.findall((place / "status").read_text()))
            resident[pid] = int(found["VmRSS"]) / 1024
            anonymous += int(found["RssAnon"]) / 1024
            descriptors += len(os.listdir(place / "fd"))
    return Look(at, resident, anonymous, descriptors)


def calm(looks: Sequence[Look], window: int) -> list[Look]:
    """Of each so many looks the one with the least memory: what is in use for a moment is no growth.

    Raises `Broken` where a process came or went.
    """
    if len({frozenset(each.resident) for each in looks}) > 1:
        raise Broken("a process came or went")
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
