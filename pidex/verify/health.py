"""Whether a server can do its work: what is there, what can be written, and what was found damaged."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from pidex.backends.quarantine import Quarantine
from pidex.catalogue import indexes, places, scans
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import PidexError
from pidex.core.folder import roots_of
from pidex.core.interfaces import Clock, Storage
from pidex.core.sentences import said
from pidex.verify import scrub

#: What was found is told again for so long, in seconds: whoever asks often costs nothing.
REMEMBERED_SECONDS = 2.0
#: The folder of damaged files in the data directory, or in that which nodes have in common.
QUARANTINE = "quarantine"
#: Folders that were not scanned for so many intervals, or seconds, are followed by nobody.
LATE_INTERVALS, LATE_SECONDS = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing. `state`: 'ok', 'warn' (it works, and somebody should look) or 'fail' (not ready)."""

    name: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """All of them; `ready` where none fails."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.state != "fail" for check in self.checks)


class Health:
    """Asks everything that serving needs. `reserve`: bytes that have to be free. Thread-safe.

    `shared`: where damaged files are put aside, the data directory unless nodes have that in common.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        data: Path,
        *,
        clock: Clock,
        reserve: int,
        scan_interval: float,
        shared: Path | None = None,
    ) -> None:
        self._catalogue, self._storage, self._data, self._clock = catalogue, storage, data, clock
        self._reserve = reserve
        self._late = max(LATE_INTERVALS * scan_interval, LATE_SECONDS)
        self._quarantine = Quarantine((shared or data) / QUARANTINE)
        self._lock = threading.Lock()
        self._told: tuple[float, Readiness] | None = None

    def readiness(self) -> Readiness:
        """What is found now, or was a moment ago. May block on the disk."""
        with self._lock:
            if self._told is None or monotonic() >= self._told[0] + REMEMBERED_SECONDS:
                checks: tuple[Callable[[], Check], ...] = (
                    self._reads, self._folders, self._space, self._writes, self._bytes,
                )  # fmt: skip
                self._told = (monotonic(), Readiness(tuple(check() for check in checks)))
            return self._told[1]

    def _reads(self) -> Check:
        """The catalogue can be read, and somebody follows the folders."""
        late = (self._clock() - self._late) * 1_000_000
        try:
            with self._catalogue.read() as conn:
                for index in indexes.list(conn):
                    if not roots_of(self._storage.roots, index.name, index.id):
                        continue
                    scan = scans.find(conn, index.id)
                    if (
                        scan.finished is not None
                        and scan.finished < late
                        and not places.count_unread(conn, index.id)
                    ):
                        return Check(
                            "reconciler",
                            "fail",
                            said("The folders of %(index)s are not followed: see the log.", index=index.name),
                        )
        except PidexError as error:
            return Check("catalogue", "fail", str(error))
        except Exception as error:
            return Check(
                "catalogue",
                "fail",
                said("The catalogue cannot be understood: %(error)s.", error=type(error).__name__),
            )
        return Check("catalogue", "ok")

    def _folders(self) -> Check:
        for folder in [*self._storage.folders.values()]:
            if not os.path.isdir(folder) or not os.access(folder, os.R_OK | os.X_OK):
                return Check(
                    "folders",
                    "fail",
                    said("The folder %(folder)s is missing or cannot be read.", folder=folder),
                )
        return Check("folders", "ok")

    def _space(self) -> Check:
        """The data directory, and each folder that takes files, have the reserve."""
        taking = [path for root, path in self._storage.folders.items() if self._storage.refusal(root) is None]
        for folder in [str(self._data), *taking]:
            try:
                found = os.statvfs(folder)
            except OSError as error:
                return Check("space", "fail", f"{folder}: {error.strerror}.")
            if found.f_bavail * found.f_frsize < self._reserve:
                return Check(
                    "space",
                    "fail",
                    said(
                        "Less than %(room)s MiB are free for %(folder)s: free some.",
                        room=self._reserve // 1024**2,
                        folder=folder,
                    ),
                )
        return Check("space", "ok")

    def _writes(self) -> Check:
        try:
            with tempfile.TemporaryFile(dir=self._data) as file:
                file.write(b"!")
                file.flush()
        except OSError as error:
            return Check(
                "disk",
                "fail",
                said("%(path)s cannot be written: %(reason)s.", path=self._data, reason=error.strerror),
            )
        return Check("disk", "ok")

    def _bytes(self) -> Check:
        """What the scrub found: it is out of the way, and somebody should look."""
        state, aside = scrub.read(self._data / scrub.NAME), self._quarantine.count()
        if not aside and not state.damaged:
            return Check("scrub", "ok")
        reason = said(
            "%(number)s damaged files are in %(folder)s: look at their notes, then remove them.",
            number=aside,
            folder=self._quarantine.folder,
        )
        if state.damaged:
            reason = said("%(what)s The last: %(damage)s", what=reason, damage=state.damaged[-1])
        return Check("scrub", "warn", reason)
