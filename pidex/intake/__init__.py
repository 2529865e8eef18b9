"""The one door by which a file enters an index: stage, inspect, receive, adopt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from pidex.catalogue import files, intents, places
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.folder import Key, expired, filename_key, same
from pidex.core.interfaces import Clock, Inspector, Mirrored, Storage
from pidex.core.model import (
    OPERATOR,
    Entry,
    Facts,
    Look,
    Place,
    PlaceState,
    Principal,
)
from pidex.core.uploads import Form, UploadPolicy
from pidex.intake import lock
from pidex.intake.batch import LOGGED_FILES, Adoption, Batch, index_of, kind_of
from pidex.intake.delivery import Deliveries, Received
from pidex.intake.inspection import Inspection
from pidex.intake.parcels import Parcel, Receipt, Stage
from pidex.intake.receiving import Receiving

__all__ = [
    "BATCH_FILES",
    "LOGGED_FILES",
    "Adoption",
    "Inspection",
    "Intake",
    "Receipt",
    "Received",
    "Receiving",
    "Stage",
]

#: Files adopted in one transaction; other writers wait for it.
BATCH_FILES = 200
#: Unread files written to the catalogue in one transaction.
ANNOUNCED_FILES = 5_000
#: Replaced and deleted files stay restorable so long, in seconds, and within so many bytes.
KEPT_SECONDS, KEPT_BYTES = 7 * 86_400.0, 20 * 1024**3
#: What is said of a file that changed while it was read.
CHANGING_CODE, CHANGING_REASON = "changing", "it changed while it was being read"


class Intake:
    """Admits files into an index: those that lie in the folder, and those that are sent.

    Whatever is written is written in one transaction, so that a reader sees all of it or nothing. `inspector`
    is needed by who calls `receive`. `mirror`: what is held of upstreams, whose names are not to be taken by
    accident; `alarmed` is told how many were, by what lies in the folder. `owner`: 'node:process' on a
    cluster, unlike any other; what a broken connection left open is then settled by this process.
    Thread-safe, and safe beside others in other processes.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        clock: Clock,
        inspector: Inspector | None = None,
        *,
        mirror: Mirrored | None = None,
        alarmed: Callable[[int], None] = lambda _count: None,
        owner: str = "",
    ) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._mirror, self._alarmed = mirror, alarmed
        self._deliveries = Deliveries(catalogue, storage, clock, inspector, mirror, owner)

    # --- files that are sent --------------------------------------------------------------------------------

    def policy(self, index: str) -> UploadPolicy:
        """What uploads to an index are held to."""
        return self._deliveries.policy(index)

    def stage(self, index: str, *, size_hint: int = 0, limit: int = 0) -> Stage:
        """A new file on its way into the index's first folder that takes files: write to it, then `receive`.

        `size_hint`: the bytes that are expected; `limit`: those that are too many, 0 for none. Close it
        whatever happens. Raises `Forbidden` where no folder takes files, saying why, and `StorageFull`.
        """
        return self._deliveries.stage(index, size_hint=size_hint, limit=limit)

    def check_project(self, index: str, project: str) -> None:
        """Raise `Forbidden` where a project takes no new files (STA-1)."""
        self._deliveries.check_project(index, project)

    def receive(
        self,
        index: str,
        stage: Stage,
        filename: str,
        *,
        form: Form | None = None,
        signature: bytes | None = None,
        overwrite: bool = False,
        how: str = "upload",
        claim: bool = False,
        by: Principal,
    ) -> Receipt:
        """Admit a staged file under a name. When this returns, it is stored, listed, and survives a crash.

        `form`: what came with it, checked; the archive decides, the form must agree. `signature`: its
        detached signature, kept beside it as `.asc`. `overwrite`: the caller may replace files where the
        index is volatile. `how`: 'upload', 'git' or 'ftp'. `claim`: a name that an upstream has becomes ours.

        Raises `FileExists`, `FileDeleted`, `InvalidFile`, `BadRequest`, `TooLarge`, `Forbidden`, `Busy`,
        `StorageFull`: then nothing is there that was not before.
        """
        parcel = Parcel(index, stage, filename, form, signature, overwrite, how, by, claim)
        return self._deliveries.receive(parcel)

    def recover(
        self, index: str, *, older: float = 0.0, given_up: Callable[[intents.Intent], bool] | None = None
    ) -> tuple[int, int]:
        """Finish or undo what was being received when its process died; how many of each.

        `older`: only what began so many seconds ago or longer. 0 while no other process of this node
        receives; what another node began is left alone for a minute. `given_up` says instead of that which
        are nobody's any more.
        """
        return self._deliveries.recover(index, older=older, given_up=given_up)

    def received(self, index: str, since: int | None) -> Received:
        """What has come in by `receive` after a mark (None: just the mark of now), and is coming now."""
        return self._deliveries.received(index, since)

    # --- files that lie in the folder -----------------------------------------------------------------------

    def announce(self, index: str, entries: Iterable[Entry]) -> None:
        """Note files that the first listing found and nobody has read: the pages of their projects wait."""
        fresh = [Place(entry.root, entry.path, entry.stat, PlaceState.UNREAD) for entry in entries]
        for start in range(0, len(fresh), ANNOUNCED_FILES):
            with self._catalogue.write() as conn:
                places.upsert_many(conn, index_of(conn, index).id, fresh[start : start + ANNOUNCED_FILES])

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
            if facts is not None and (kind := kind_of(filename)) is not None
        }
        keys = {filename_key(filename) for filename, _ in kept} | {filename_key(path) for _, path in gone}
        keys |= {filename_key(look.entry.path) for look in looks}
        if not keys:
            return Adoption()
        fresh, changed = self._still_there(looks)
        if gone or any(look.state is not PlaceState.WHOLE for look in looks):
            # Kept bytes may have to be hashed: here, where nobody waits. The storage remembers the result.
            with self._catalogue.read() as conn:
                batch = Batch(conn, index, keys, self._storage, now=self._clock(), by=by)
            batch.arrive(fresh, gone, facts)
            for key in sorted(keys):
                batch.good(key)
        with self._catalogue.write() as conn:
            coming = {(intent.root, intent.path) for intent in self._live(conn, index)}
            if coming:
                # Whoever receives these writes them; until then nobody else does.
                changed += [(place.root, place.path) for place in fresh if (place.root, place.path) in coming]
                fresh = [place for place in fresh if (place.root, place.path) not in coming]
            batch = Batch(conn, index, keys, self._storage, now=self._clock(), by=by)
            batch.arrive(fresh, gone, facts)
            for key in sorted(keys):
                batch.settle(key, first=first)
            batch.write()
            at = int(self._clock() * 1_000_000)
            here = index_of(conn, index)
            alarms = lock.alarm(conn, here, batch.claimed, self._mirror, by=by, at=at)
        if alarms:
            self._alarmed(len(alarms))
        return batch.adoption(changed, alarms)

    def prune(self) -> int:
        """Drop the kept bytes of files that no index lists any more, after their time; how many."""
        with self._catalogue.read() as conn:
            listed = files.sha256s(conn)
        drop = expired(
            self._storage.list_kept(), listed, now=self._clock(), seconds=KEPT_SECONDS, most_bytes=KEPT_BYTES
        )
        self._storage.release(drop)
        return len(drop)

    @staticmethod
    def _live(conn: Connection, index: str) -> Sequence[intents.Intent]:
        return intents.list(conn, index_of(conn, index).id)

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
