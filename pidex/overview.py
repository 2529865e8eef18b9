"""What who runs a server sees of it: the audit, storage and jobs, upstreams and whether they answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pidex.accounts import Accounts
from pidex.catalogue import (
    admissions,
    audit,
    files,
    indexes,
    intents,
    journal,
    places,
    scans,
    snapshots,
    upstreams,
)
from pidex.catalogue.audit import SEARCHED, Entry
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Forbidden, Unauthenticated
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import PlaceState, Principal
from pidex.core.names import normalize
from pidex.core.permissions import Action
from pidex.mirror import Mirror

__all__ = ["EXPORTED", "ROWS", "SEARCHED", "Entry", "Overview", "State", "Uploader", "UpstreamState"]

#: Rows of the audit on a page, and in an export.
ROWS, EXPORTED = 100, 100_000
#: Who may do any of these is told who brought a file.
CHANGES = (Action.UPLOAD, Action.YANK, Action.DELETE, Action.MANAGE, Action.ADMIN)
#: Rows that are fetched at once for an export.
STEP = 2_000
#: Files in the data directory, by what they hold.
FILES = {"catalogue": "catalogue.db", "search": "search.db", "cache": "cache.db"}


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far an index is. `finished`: when the last scan came to rest, in microseconds since 1970."""

    name: str
    listed: bool
    finished: int | None
    files: int
    pending: int
    refused: int
    uploads: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of a file system that holds one of our folders."""

    path: str
    free: int
    total: int


class Scrubbed(Protocol):
    """How far the scrub is, which reads every byte once in some days (`verify.scrub.State`).

    Times in Unix seconds, 0 and None: not yet. `cursor`: the SHA-256 up to which this round has read.
    """

    @property
    def began(self) -> float: ...
    @property
    def cursor(self) -> str: ...
    @property
    def files(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def finished(self) -> float | None: ...
    @property
    def damaged(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Uploader:
    """Who brought a file, and how: 'upload', 'folder', 'git', 'ftp' or 'promotion'."""

    by: str
    how: str


@dataclass(frozen=True, slots=True)
class State:
    """A server at this moment. Sizes in bytes, `snapshots` as (Unix seconds, why, size), newest first.

    `load`: of the machine, over 1, 5 and 15 minutes. `aside`: damaged files that were put aside; `wrong`:
    mirrored ones that were not what their upstream had announced.
    """

    load: tuple[float, float, float]
    cores: int
    disks: tuple[Disk, ...]
    sizes: Mapping[str, int]
    snapshots: tuple[tuple[float, str, int], ...]
    serial: int
    indexes: tuple[IndexState, ...]
    mirrored: tuple[int, int, int, int]
    aside: int
    wrong: int
    scrub: Scrubbed | None = None

    @property
    def pending(self) -> int:
        """Files that are still to be read, and uploads under way."""
        return sum(each.pending + each.uploads for each in self.indexes)

    @property
    def scrubbed(self) -> float:
        """How much of this round is done, from 0 to 1: hashes are spread evenly, and read in their order."""
        head = self.scrub.cursor[:8] if self.scrub else ""
        return int(head, 16) / 16 ** len(head) if head else 0.0


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream. `failing`: what was said when it did not answer just now, as this process knows it.

    Times in Unix seconds. `names`: of its stored list.
    """

    name: str
    url: str
    kind: str
    used_by: tuple[str, ...]
    failing: str
    names: int
    listed: float | None
    used: float | None
    files: int
    bytes: int


class Overview:
    """Questions about a server. Safe to use from threads; all are for administrators."""

    def __init__(  # noqa: PLR0917  the parts, in the order of the layers
        self,
        catalogue: Catalogue,
        storage: Storage,
        mirror: Mirror,
        accounts: Accounts,
        clock: Clock,
        data: Path,
        *,
        aside: Callable[[], int] = lambda: 0,
        scrub: Callable[[], Scrubbed] | None = None,
    ) -> None:
        self._catalogue, self._storage, self._mirror, self._scrub = catalogue, storage, mirror, scrub
        self._accounts, self._clock, self._data, self._aside = accounts, clock, data, aside

    def require(self, by: Principal) -> None:
        """Raise `Unauthenticated` or `Forbidden` for who does not administer the server."""
        if self._accounts.allows(by, Action.ADMIN, None):
            return
        if by.name is None:
            raise Unauthenticated("Sign in as an administrator of the server.")
        raise Forbidden("That is for administrators of the server: `pidex grant add NAME admin`.")

    def audit(
        self,
        wanted: Mapping[str, str],
        *,
        since: int = 0,
        until: int | None = None,
        before: int | None = None,
        limit: int = ROWS,
        by: Principal,
    ) -> Sequence[Entry]:
        """Rows of the audit, newest first (`catalogue.audit.search`)."""
        self.require(by)
        with self._catalogue.read() as conn:
            return audit.search(conn, wanted, since=since, until=until, before=before, limit=limit)

    def export(
        self, wanted: Mapping[str, str], *, since: int = 0, until: int | None = None, by: Principal
    ) -> Iterator[Entry]:
        """The newest rows that fit, newest first, at most `EXPORTED`."""
        before: int | None = None
        for _ in range(EXPORTED // STEP):
            rows = self.audit(wanted, since=since, until=until, before=before, limit=STEP, by=by)
            yield from rows
            if len(rows) < STEP:
                return
            before = rows[-1].id

    def state(self, *, by: Principal) -> State:
        """How the server is."""
        self.require(by)
        with self._catalogue.read() as conn:
            states = []
            for each in indexes.list(conn):
                unfinished = places.list_unfinished(conn, each.id)
                refused = sum(place.state is PlaceState.REFUSED for place in unfinished)
                scan = scans.find(conn, each.id)
                under_way = len(intents.list(conn, each.id))
                states.append(
                    IndexState(
                        each.name, scan.listed, scan.finished, scan.files, len(unfinished) - refused, refused,
                        under_way,
                    )
                )  # fmt: skip
            serial = journal.serial(conn)
        kept = snapshots.list(snapshots.folder_of(self._data / FILES["catalogue"]))
        return State(
            load=os.getloadavg(),
            cores=os.cpu_count() or 1,
            disks=self._disks(),
            sizes={name: self._size(file) for name, file in FILES.items()},
            snapshots=tuple((each.taken, each.why, each.size) for each in kept),
            serial=serial,
            indexes=tuple(states),
            mirrored=self._mirror.store.totals(),
            aside=self._aside(),
            wrong=self._mirror.totals().wrong,
            scrub=self._scrub() if self._scrub else None,
        )

    def uploaders(self, index: str, project: str, *, by: Principal) -> Mapping[str, Uploader]:
        """Who brought the own files of a project, by casefolded file name.

        Empty for who may not change the project: names of people are not for everybody.
        """
        project = normalize(project)
        if not any(self._accounts.allows(by, action, index, project) for action in CHANGES):
            return {}
        with self._catalogue.read() as conn:
            here = indexes.find(conn, index)
            if here is None:
                return {}
            keys = [file.filename.casefold() for file in files.list_project(conn, here.id, project)]
            found = admissions.find_many(conn, here.id, keys)
        return {key: Uploader(each.by, each.how) for key, each in found.items()}

    def upstreams(self, *, by: Principal) -> Sequence[UpstreamState]:
        """The upstreams, who uses them, and whether they answer."""
        self.require(by)
        with self._catalogue.read() as conn:
            found, every = upstreams.list(conn), indexes.list(conn)
        lists = {each.upstream: each for each in self._mirror.store.lists()}
        failing, held = self._mirror.failing(), dict[str, tuple[int, int]]()
        for file in self._mirror.list_files():
            count, size = held.get(file.upstream, (0, 0))
            held[file.upstream] = count + 1, size + file.size
        states = []
        for each in found:
            settings, name = each.settings, each.settings.name
            known = lists.get(name)
            states.append(
                UpstreamState(
                    name,
                    settings.url,
                    settings.kind,
                    tuple(index.name for index in every if name in index.upstreams),
                    failing.get(name, ""),
                    known.names if known else 0,
                    known.fetched if known else None,
                    known.used if known else None,
                    *held.get(name, (0, 0)),
                )
            )
        return states

    def _disks(self) -> tuple[Disk, ...]:
        """Each file system once, by the first folder of ours on it."""
        seen: dict[int, Disk] = {}
        for path in (str(self._data), *map(str, self._storage.roots.values())):
            try:
                device, usage = os.stat(path).st_dev, shutil.disk_usage(path)
            except OSError:
                continue
            seen.setdefault(device, Disk(path, usage.free, usage.total))
        return tuple(seen.values())

    def _size(self, file: str) -> int:
        size = 0
        for ending in ("", "-wal"):
            try:
                size += os.stat(self._data / (file + ending)).st_size
            except OSError:
                continue
        return size
