"""One transaction's worth of file names: what they stand for now, and everything that is written of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pidex.catalogue import (
    admissions,
    contents,
    files,
    indexes,
    journal,
    origins,
    places,
    projects,
    tombstones,
)
from pidex.catalogue.engine import Connection
from pidex.core import listing, names
from pidex.core.errors import Changing, NotFound
from pidex.core.folder import Key, Source, elect, filename_key, pause, same
from pidex.core.interfaces import Storage
from pidex.core.model import (
    Admission,
    Entry,
    Facts,
    File,
    PackageType,
    Place,
    PlaceState,
    Principal,
    Shelf,
    Stat,
)

#: Files of which one batch speaks in the log, for each thing that can happen to them.
LOGGED_FILES = 20


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of a batch.

    `places`: those that were written, as they are now. `changed`: paths whose file is no longer the one that
    was looked into: look again. `unread`: (file name, sha256) that should be listed from kept bytes which
    nobody has read since the catalogue was emptied. `listed`, `replaced`, `unlisted`: file names. `alarms`:
    sentences about names that others have too.
    """

    places: tuple[Place, ...] = ()
    changed: tuple[Key, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    listed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    def log(self, log: logging.Logger, *, quiet: bool) -> None:
        """Write the lines of it; `quiet`: only warnings."""
        for level, line in self.lines():
            if level > logging.INFO or not quiet:
                log.log(level, line)

    def lines(self) -> Iterator[tuple[int, str]]:
        """The log's lines of it, with their levels: a line a file, up to a number."""
        refused = [place for place in self.places if place.state is PlaceState.REFUSED]
        pending = [place for place in self.places if place.state is PlaceState.PENDING and place.looks == 1]
        for level, text, what in (
            (logging.INFO, "listed: {}", self.listed),
            (logging.INFO, "no longer listed: {}", self.unlisted),
            (logging.WARNING, "has other bytes than before, which are served from now on: {}", self.replaced),
            (logging.WARNING, "refused: {}", [f"{place.path}: {place.reason}" for place in refused]),
            (logging.WARNING, "{}", self.alarms),
            (logging.INFO, "not whole yet: {}", [f"{place.path}: {place.reason}" for place in pending]),
        ):
            for one in what[:LOGGED_FILES]:
                yield level, text.format(one)
            if len(what) > LOGGED_FILES:
                yield level, text.format(f"and {len(what) - LOGGED_FILES} more files")


class Batch:
    """What the catalogue says of a batch's file names, and what is to be written of them."""

    def __init__(
        self,
        conn: Connection,
        index: str | indexes.Index,
        keys: Collection[str],
        storage: Storage,
        *,
        now: float,
        by: Principal,
        how: str = "folder",
    ) -> None:
        self._conn = conn
        self._storage = storage
        self._now = now
        self._by, self._how = by.name or "anonymous", how
        self._index = index_of(conn, index) if isinstance(index, str) else index
        #: Names that are ours from now on, and nobody's or an upstream's before.
        self.claimed: Sequence[str] = ()
        number, ordered = self._index.id, sorted(keys)
        self._places: dict[str, dict[Key, Place]] = {
            key: {(place.root, place.path): place for place in there}
            for key, there in places.find_by_keys(conn, number, ordered).items()
        }
        self._admissions = admissions.find_many(conn, number, ordered)
        self._files = files.find_by_keys(conn, number, ordered)
        self._tombstones = tombstones.find_many(conn, number, ordered)
        hashes = {place.sha256 for there in self._places.values() for place in there.values() if place.sha256}
        hashes |= {admission.sha256 for admission in self._admissions.values()}
        self._facts = dict(contents.find_many(conn, sorted(hashes)))
        self._unread_before: set[Key] = set()
        self._arrived: dict[Key, Place] = {}
        self._inodes: dict[int, list[Key]] = {}
        for there in self._places.values():
            for where, place in there.items():
                self._inodes.setdefault(place.stat.inode, []).append(where)
        self._gone: Collection[Key] = ()
        self._read: Mapping[tuple[str, PackageType], Facts] = {}
        self._rows: dict[str, File | None] = {}
        self._admitted: list[Admission] = []
        self._superseded: list[Admission] = []
        self._changed: list[Key] = []
        self._unread: list[tuple[str, str]] = []

    def arrive(
        self,
        fresh: Iterable[Place],
        gone: Collection[Key],
        facts: Mapping[tuple[str, PackageType], Facts],
    ) -> None:
        """Put what was looked at in the place of what was known, and count the looks at what is not whole."""
        self._gone, self._read = gone, facts
        self._facts.update(facts)
        for root, path in gone:
            self._places.get(filename_key(path), {}).pop((root, path), None)
        for place in fresh:
            key = (place.root, place.path)
            there = self._places.setdefault(place.key, {})
            before = there.get(key)
            arrived = place
            if before is not None and before.state is PlaceState.UNREAD:
                self._unread_before.add(key)
            if place.state is PlaceState.PENDING:
                looks = 1
                if before is not None and before.state is PlaceState.PENDING:
                    looks += before.looks
                arrived = replace(place, looks=looks, next_look=self._now + pause(looks, 0.0))
            there[key] = self._arrived[key] = arrived
            self._inodes.setdefault(place.stat.inode, []).append(key)

    def good(self, key: str) -> Stat | None:
        """The stat of the kept bytes of a name's admission, where the election depends on them."""
        admission = self._admissions.get(key)
        there = self._places.get(key, {}).values()
        if admission is None or not there or key in self._tombstones:
            return None
        if any(place.state is PlaceState.WHOLE and place.sha256 == admission.sha256 for place in there):
            return None
        row = self._files.get(key)
        if row is not None and row.sha256 == admission.sha256 and row.shelf is Shelf.KEPT:
            kept = self._storage.kept(admission.sha256)
            if kept is not None and same(kept, row.stat):
                return kept
        return self._storage.sound(admission.sha256)

    def settle(self, key: str, *, first: bool) -> None:
        """Elect what a name stands for, and note the row, the admission and the stats that follow."""
        admission, row, stone = self._admissions.get(key), self._files.get(key), self._tombstones.get(key)
        good = self.good(key)
        election = elect(
            self._places.get(key, {}).values(),
            admission,
            good=good is not None,
            held=row is not None and admission is not None and row.sha256 == admission.sha256,
            mutability=self._index.mutability,
            burnt=stone.reason or "deleted" if stone is not None else None,
        )
        if election.place is None or election.sha256 is None:
            self._rows[key] = None
        elif election.source is Source.PLACE:
            self._take(key, election.place, election.sha256, first=first)
        elif election.source is Source.KEPT and admission is not None and good is not None:
            self._stay(key, election.place, admission, good)

    def _take(self, key: str, place: Place, sha256: str, *, first: bool) -> None:
        """List what lies at a place, with a second name where one can be made."""
        where = (place.root, place.path)
        admission = self._admissions.get(key)
        kind = kind_of(place.filename)
        facts = self._facts.get((sha256, kind)) if kind is not None else None
        former = admission.sha256 if admission is not None else None
        try:
            if facts is None:
                raise Changing("what was read out of it is lost")
            kept = self._storage.keep(Entry(*where, place.stat), sha256, instead_of=former)
        except Changing:
            # The row stays as it was: whatever lies there now is looked at next.
            self._changed.append(where)
            self._arrived.pop(where, None)
            return
        if kept is not None and kept.inode == place.stat.inode and kept != place.stat:
            self._restat(place.stat, kept)
            place = self._places[key][where]
        if admission is None or admission.sha256 != sha256:
            if admission is not None:
                self._superseded.append(admission)
            admission = self._admission(place, facts, first=first and where in self._unread_before)
            self._admitted.append(admission)
        shelf, stat = (Shelf.FOLDER, place.stat) if kept is None else (Shelf.KEPT, kept)
        self._rows[key] = listing.listed(place, facts, admission, shelf, stat)

    def _restat(self, before: Stat, after: Stat) -> None:
        """A second name moved the ctime of an inode: that of every path of the batch that leads to it."""
        for where in self._inodes.get(before.inode, ()):
            there = self._places[filename_key(where[1])]
            if where in there and there[where].stat == before:
                there[where] = self._arrived[where] = replace(there[where], stat=after)

    def _stay(self, key: str, place: Place, admission: Admission, good: Stat) -> None:
        """The last good version stays: its bytes are the kept ones, its name is that of the first place."""
        row, kind = self._files.get(key), kind_of(place.filename)
        facts = self._facts.get((admission.sha256, kind)) if kind is not None else None
        if facts is not None:
            self._rows[key] = listing.listed(place, facts, admission, Shelf.KEPT, good)
        elif row is None or row.sha256 != admission.sha256:
            self._unread.append((place.filename, admission.sha256))

    def _admission(self, place: Place, facts: Facts, *, first: bool) -> Admission:
        """A new admission. Bytes that the name had before get back the time they were first seen."""
        now = int(self._now * 1_000_000)
        first_seen, source = now, "seen" if self._how == "folder" else "upload"
        if place.key in self._admissions:
            for former in admissions.list_superseded(self._conn, self._index.id, place.key):
                if former.sha256 == facts.sha256:
                    first_seen, source = former.first_seen, former.source
        elif first:
            first_seen, source = min(max(place.stat.mtime_ns // 1000, 0), now), "mtime"
        return Admission(place.filename, facts.sha256, facts.size, first_seen, source, self._by, self._how)

    def write(self) -> None:
        """Write places, contents, admissions, files, journal and projects."""
        conn, number, now = self._conn, self._index.id, int(self._now * 1_000_000)
        places.delete_many(conn, number, self._gone)
        places.upsert_many(conn, number, self._arrived.values())
        contents.put_many(conn, [(facts, kind) for (_, kind), facts in self._read.items()])
        admissions.supersede(conn, number, self._superseded, replaced=now, by=self._by, how=self._how)
        admissions.put_many(conn, number, self._admitted)
        changes = {key: file for key, file in self._rows.items() if file != self._files.get(key)}
        if not changes:
            return
        touched = {file.project for file in [*changes.values(), *map(self._files.get, changes)] if file}
        told = listing.journal(self._files, changes, files.releases(conn, number, touched))
        files.replace_many(conn, number, changes)
        came = {file.project for key, file in changes.items() if file and key not in self._files}
        if came:
            self.claimed = origins.claim_many(conn, number, came, at=now, by=self._by)
        journal.record_many(conn, number, [journal.Event(*change) for change in told], at=now, by=self._by)
        projects.refresh(conn, number, touched)

    def lists(self, key: str, sha256: str) -> bool:
        """Whether the name stands for these bytes once this is written."""
        row = self._rows.get(key)
        return row is not None and row.sha256 == sha256

    def adoption(self, changed: Sequence[Key], alarms: Sequence[str] = ()) -> Adoption:
        """What to tell the caller."""
        listed, replaced, unlisted = [], [], []
        for key, file in self._rows.items():
            before = self._files.get(key)
            if file is None:
                unlisted += [before.filename] if before is not None else []
            elif before is None:
                listed.append(file.filename)
            elif before.sha256 != file.sha256:
                replaced.append(file.filename)
        return Adoption(
            places=tuple(self._arrived.values()),
            changed=tuple(dict.fromkeys([*changed, *self._changed])),
            unread=tuple(self._unread),
            listed=tuple(listed),
            replaced=tuple(replaced),
            unlisted=tuple(unlisted),
            alarms=tuple(alarms),
        )


def index_of(conn: Connection, index: str) -> indexes.Index:
    """The index of a name. Raises `NotFound`."""
    found = indexes.find(conn, index)
    if found is None:
        raise NotFound(f"There is no index {index!r}.")
    return found


def kind_of(path: str) -> PackageType | None:
    """What kind of package a path's name says; None where it says none."""
    kind = names.extension(path)
    return None if kind is None else kind.packagetype
