"""The one door by which a file enters an index: what was looked into is adopted, what is gone is unlisted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from pidex.catalogue import admissions, contents, files, indexes, journal, places, projects, tombstones
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import listing, names
from pidex.core.errors import BadName, Changing, NotFound
from pidex.core.folder import Key, Source, elect, expired, filename_key, pause, same
from pidex.core.interfaces import Clock, Inspector, Storage
from pidex.core.model import (
    OPERATOR,
    Admission,
    Entry,
    Facts,
    File,
    Look,
    PackageType,
    Place,
    PlaceState,
    Principal,
    Shelf,
    Stat,
)

#: Files adopted in one transaction; other writers wait for it.
BATCH_FILES = 200
#: Looks under way beside those that run, so that no child is idle while a batch is written: files and bytes.
AHEAD_FILES, AHEAD_BYTES = 32, 4 * 1024 * 1024
#: Files of which one batch speaks in the log, for each thing that can happen to them.
LOGGED_FILES = 20
#: Replaced and deleted files stay restorable so long, in seconds, and within so many bytes.
KEPT_SECONDS, KEPT_BYTES = 7 * 86_400.0, 20 * 1024**3
#: What is said of a file that changed while it was read.
CHANGING_CODE, CHANGING_REASON = "changing", "it changed while it was being read"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of a batch.

    `places`: those that were written, as they are now. `changed`: paths whose file is no longer the one that
    was looked into: look again. `unread`: (file name, sha256) that should be listed from kept bytes which
    nobody has read since the catalogue was emptied. `listed`, `replaced`, `unlisted`: file names.
    """

    places: tuple[Place, ...] = ()
    changed: tuple[Key, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    listed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    def lines(self) -> Iterator[tuple[int, str]]:
        """The log's lines of it, with their levels: a line a file, up to a number."""
        refused = [place for place in self.places if place.state is PlaceState.REFUSED]
        pending = [place for place in self.places if place.state is PlaceState.PENDING and place.looks == 1]
        for level, text, what in (
            (logging.INFO, "listed: {}", self.listed),
            (logging.INFO, "no longer listed: {}", self.unlisted),
            (logging.WARNING, "has other bytes than before, which are served from now on: {}", self.replaced),
            (logging.WARNING, "refused: {}", [f"{place.path}: {place.reason}" for place in refused]),
            (logging.INFO, "not whole yet: {}", [f"{place.path}: {place.reason}" for place in pending]),
        ):
            for one in what[:LOGGED_FILES]:
                yield level, text.format(one)
            if len(what) > LOGGED_FILES:
                yield level, text.format(f"and {len(what) - LOGGED_FILES} more files")


class Inspection:
    """Looks into files in threads, each waiting for one child of the inspector."""

    def __init__(
        self, inspector: Inspector, storage: Storage, *, check: str, threads: int, wake: Callable[[], None]
    ) -> None:
        self._inspector = inspector
        self._storage = storage
        self._check = check
        self._threads = max(1, threads)
        self._wake = wake
        self._results: SimpleQueue[tuple[Look, float]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="look")
        self._files = self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another file may be started: a few small ones beside those that run, so no child idles."""
        return self._files < self._threads or (self._files < AHEAD_FILES and self._bytes < AHEAD_BYTES)

    def start(self, entry: Entry, sha256: str | None = None) -> None:
        """Look into a file; `sha256`: into these kept bytes, under the entry's name."""
        self._files += 1
        self._bytes += entry.stat.size
        self._pool.submit(self._look, entry, sha256)

    def ended(self) -> Iterator[tuple[Look, float]]:
        """The looks that ended since the last time, with the seconds that each took."""
        while True:
            try:
                look, took = self._results.get_nowait()
            except Empty:
                return
            self._files -= 1
            self._bytes -= look.entry.stat.size
            yield look, took

    def close(self) -> None:
        """End when the looks under way do."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, entry: Entry, sha256: str | None) -> None:
        start = time.monotonic()
        try:
            names.parse(entry.path.rpartition("/")[2])
            if sha256 is not None:
                path = self._storage.kept_path(sha256)
            else:
                path = self._storage.path(entry.root, entry.path)
            look = self._inspector.inspect(path, entry, self._check)
        except BadName as error:
            look = Look(entry, PlaceState.REFUSED, code=error.code, reason=str(error))
        except Exception as error:
            # An inspector does not raise; one that does must not cost a file its look.
            logging.getLogger(__name__).exception("%s could not be looked into", entry.path)
            look = Look(entry, PlaceState.UNREAD, code="sandbox", reason=str(error))
        self._results.put((look, time.monotonic() - start))
        self._wake()


class Intake:
    """Adopts files into an index, a batch in one transaction, so that a reader sees all of it or nothing."""

    def __init__(self, catalogue: Catalogue, storage: Storage, clock: Clock) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock

    def announce(self, index: str, entries: Iterable[Entry]) -> None:
        """Note files that the first listing found and nobody has read: the pages of their projects wait."""
        fresh = [Place(entry.root, entry.path, entry.stat, PlaceState.UNREAD) for entry in entries]
        with self._catalogue.write() as conn:
            places.upsert_many(conn, _index(conn, index).id, fresh)

    def forget(self, index: str, paths: Collection[Key], *, by: Principal = OPERATOR) -> Adoption:
        """Forget paths at which nothing lies any more. A name without a place is not listed.

        Its admission stays: a file that comes back keeps the time it was first seen.
        """
        return self.adopt(index, (), gone=paths, by=by)

    def adopt(
        self,
        index: str,
        looks: Sequence[Look],
        *,
        gone: Collection[Key] = (),
        kept: Collection[tuple[str, Facts]] = (),
        first: bool = False,
        by: Principal = OPERATOR,
    ) -> Adoption:
        """Write the outcome of looks, and what follows for the names they are about, in one transaction.

        A file that moved on since its look is left out and named in `changed`. `gone`: paths to forget in
        the same transaction, so that a file that was moved is never missing. `kept`: file names with what
        was read out of their kept bytes. `first`: the index was never scanned to its end, so that files
        which `announce` noted are as old as their mtime says.
        """
        facts = {
            (facts.sha256, kind): facts
            for filename, facts in [*kept, *((look.entry.path, look.facts) for look in looks)]
            if facts is not None and (kind := _kind(filename)) is not None
        }
        keys = {filename_key(filename) for filename, _ in kept} | {filename_key(path) for _, path in gone}
        keys |= {filename_key(look.entry.path) for look in looks}
        if not keys:
            return Adoption()
        fresh, changed = self._still_there(looks)
        if gone or any(look.state is not PlaceState.WHOLE for look in looks):
            # Kept bytes may have to be hashed: here, where nobody waits. The storage remembers the result.
            with self._catalogue.read() as conn:
                batch = _Batch(conn, index, keys, self._storage, now=self._clock(), by=by)
            batch.arrive(fresh, gone, facts)
            for key in sorted(keys):
                batch.good(key)
        with self._catalogue.write() as conn:
            batch = _Batch(conn, index, keys, self._storage, now=self._clock(), by=by)
            batch.arrive(fresh, gone, facts)
            for key in sorted(keys):
                batch.settle(key, first=first)
            batch.write()
        return batch.adoption(changed)

    def prune(self) -> int:
        """Drop the kept bytes of files that no index lists any more, after their time; how many."""
        with self._catalogue.read() as conn:
            listed = files.sha256s(conn)
        drop = expired(
            self._storage.list_kept(), listed, now=self._clock(), seconds=KEPT_SECONDS, most_bytes=KEPT_BYTES
        )
        self._storage.release(drop)
        return len(drop)

    def _still_there(self, looks: Sequence[Look]) -> tuple[list[Place], list[Key]]:
        """The places that looks make. A whole file that is another one by now is left out."""
        found, changed = [], []
        for look in looks:
            entry = look.entry
            stat = self._storage.stat(entry.root, entry.path)
            if stat is None or (look.state is PlaceState.WHOLE and not same(stat, entry.stat)):
                changed.append((entry.root, entry.path))
            elif look.state is PlaceState.WHOLE and look.facts is not None:
                found.append(Place(*entry, look.state, look.facts.sha256))
            elif look.state is PlaceState.REFUSED:
                found.append(Place(*entry, look.state, code=look.code, reason=look.reason))
            else:
                code, reason = look.code or CHANGING_CODE, look.reason or CHANGING_REASON
                found.append(Place(*entry, PlaceState.PENDING, code=code, reason=reason))
        return found, changed


class _Batch:
    """What the catalogue says of a batch's file names, and what is to be written of them."""

    def __init__(
        self,
        conn: Connection,
        index: str,
        keys: Collection[str],
        storage: Storage,
        *,
        now: float,
        by: Principal,
    ) -> None:
        self._conn = conn
        self._storage = storage
        self._now = now
        self._by = by.name or "anonymous"
        self._index = _index(conn, index)
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
        kind = _kind(place.filename)
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
            place = self._places[key][where] = self._arrived[where] = replace(place, stat=kept)
        if admission is None or admission.sha256 != sha256:
            if admission is not None:
                self._superseded.append(admission)
            admission = self._admission(place, facts, first=first and where in self._unread_before)
            self._admitted.append(admission)
        shelf, stat = (Shelf.FOLDER, place.stat) if kept is None else (Shelf.KEPT, kept)
        self._rows[key] = listing.listed(place, facts, admission, shelf, stat)

    def _stay(self, key: str, place: Place, admission: Admission, good: Stat) -> None:
        """The last good version stays: its bytes are the kept ones, its name is that of the first place."""
        row, kind = self._files.get(key), _kind(place.filename)
        facts = self._facts.get((admission.sha256, kind)) if kind is not None else None
        if facts is not None:
            self._rows[key] = listing.listed(place, facts, admission, Shelf.KEPT, good)
        elif row is None or row.sha256 != admission.sha256:
            self._unread.append((place.filename, admission.sha256))

    def _admission(self, place: Place, facts: Facts, *, first: bool) -> Admission:
        """A new admission. Bytes that the name had before get back the time they were first seen."""
        now = int(self._now * 1_000_000)
        first_seen, source = now, "seen"
        if place.key in self._admissions:
            for former in admissions.list_superseded(self._conn, self._index.id, place.key):
                if former.sha256 == facts.sha256:
                    first_seen, source = former.first_seen, former.source
        elif first:
            first_seen, source = min(max(place.stat.mtime_ns // 1000, 0), now), "mtime"
        return Admission(place.filename, facts.sha256, facts.size, first_seen, source, self._by, "folder")

    def write(self) -> None:
        """Write places, contents, admissions, files, journal and projects."""
        conn, number, now = self._conn, self._index.id, int(self._now * 1_000_000)
        places.delete_many(conn, number, self._gone)
        places.upsert_many(conn, number, self._arrived.values())
        contents.put_many(conn, [(facts, kind) for (_, kind), facts in self._read.items()])
        admissions.supersede(conn, number, self._superseded, replaced=now, by=self._by, how="folder")
        admissions.put_many(conn, number, self._admitted)
        changes = {key: file for key, file in self._rows.items() if file != self._files.get(key)}
        if not changes:
            return
        touched = {file.project for file in [*changes.values(), *map(self._files.get, changes)] if file}
        told = listing.journal(self._files, changes, files.releases(conn, number, touched))
        files.replace_many(conn, number, changes)
        journal.record_many(conn, number, [journal.Event(*change) for change in told], at=now, by=self._by)
        projects.refresh(conn, number, touched)

    def adoption(self, changed: Sequence[Key]) -> Adoption:
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
        )


def _index(conn: Connection, index: str) -> indexes.Index:
    found = indexes.find(conn, index)
    if found is None:
        raise NotFound(f"There is no index {index!r}.")
    return found


def _kind(path: str) -> PackageType | None:
    kind = names.extension(path)
    return None if kind is None else kind.packagetype
