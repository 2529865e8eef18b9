"""Files that a push brings and takes away: checked one by one, placed together, listed together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pidex.catalogue import admissions, audit, files, garbage, indexes, intents, journal, tombstones
from pidex.catalogue.engine import Connection
from pidex.core import names, uploads
from pidex.core.errors import Busy, CatalogueError, Changing, FileDeleted, FileExists
from pidex.core.folder import Key, filename_key
from pidex.core.model import Distribution, Facts, PackageType, Place, PlaceState, Principal, Stat
from pidex.core.permissions import OPERATOR_GROUP
from pidex.core.pushes import Kind, Put
from pidex.intake import lock, standing
from pidex.intake.batch import Batch, index_of
from pidex.intake.branches import Branches, Move
from pidex.intake.delivery import Deliveries
from pidex.intake.parcels import Parcel, Stage

#: Files of a push that are listed in one transaction; a larger push is listed in several.
TOGETHER = 500
#: Files sent to a bucket at once.
SENDERS = 4
#: What somebody is told to wait, in seconds, who meets an upload of the same name.
RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Arrival:
    """A package of a push that was staged and looked into. `there`: the index lists these bytes already."""

    put: Put
    stage: Stage
    distribution: Distribution
    facts: Facts
    there: bool = False

    @property
    def sha256(self) -> str:
        return self.facts.sha256


class Arrivals(Deliveries):
    """The steps that `Deliveries` takes for one file, for all files of a push."""

    def folder(self, index: str) -> int:
        """The number of the root that pushes to an index go to. Raises `Forbidden` where none takes files."""
        with self.stage(index) as stage:
            return stage.file.root

    def burnt(self, index: str) -> Mapping[str, tombstones.Tombstone]:
        """The names that were deleted from an index and may not come back, by key."""
        with self._catalogue.read() as conn:
            return {stone.key: stone for stone in tombstones.list(conn, index_of(conn, index).id)}

    def listed(self, index: str, keys: Iterable[str]) -> Mapping[str, str]:
        """Where those of the names lie that the index lists, by key."""
        with self._catalogue.read() as conn:
            found = files.find_by_keys(conn, index_of(conn, index).id, sorted(keys))
        return {key: file.path for key, file in found.items()}

    def serial(self) -> int:
        """The number of the newest change of all."""
        with self._catalogue.read() as conn:
            return journal.serial(conn)

    def examine(self, index: str, put: Put, stage: Stage, *, by: Principal, force: bool = False) -> Arrival:
        """Check a staged package, all but the rights, and look into it. Nothing is changed yet.

        Bytes change where the branch had the name and the index is not immutable; else as with an upload.
        `force`: put what was there before back, whatever is said of it. Raises what `Intake.receive` does.
        """
        policy = self.policy(index)
        parcel = Parcel(index, stage, put.filename, None, None, False, "git", by)
        if force:
            distribution = names.parse(put.filename)
        else:
            distribution = uploads.check_filename(put.filename, None, policy)
            uploads.check_size(stage.size, policy, distribution.project)
        sha256, there = stage.digests()["sha256"], False
        if not force:
            with self._catalogue.read() as conn:
                here = index_of(conn, index)
                there = self._weigh(conn, here, put, distribution, sha256=sha256, one_sdist=policy.one_sdist)
        facts = self._inspect(parcel, distribution, policy).facts
        stage.file.sync()
        return Arrival(put, stage, distribution, facts, there)

    def _weigh(
        self,
        conn: Connection,
        here: indexes.Index,
        put: Put,
        distribution: Distribution,
        *,
        sha256: str,
        one_sdist: bool,
    ) -> bool:
        """Whether the index lists the package already. Raises why it may not."""
        if put.kind is Kind.ADDED:
            lock.check(conn, here, distribution.project, self._mirror)
            judged = standing.judge(
                conn, here, distribution, sha256=sha256, one_sdist=one_sdist, overwrite=False
            )
            return judged.identical
        stone = tombstones.find(conn, here.id, put.key)
        if stone is not None:
            raise FileDeleted(
                f"{put.filename} was deleted by {stone.by}, and its name stays burnt. Fetch first."
            )
        listed = files.find_by_key(conn, here.id, put.key)
        if put.kind is Kind.REPLACED:
            standing.check_status(conn, here, distribution.project)
            former = admissions.find(conn, here.id, put.key)
            if here.mutability == "immutable" and former is not None and former.sha256 != sha256:
                raise FileExists(
                    f"The bytes of a name do not change here: {former.filename} has sha256 {former.sha256}."
                    " Use a new version."
                )
        return listed is not None and listed.sha256 == sha256

    def place(
        self,
        index: str,
        root: int,
        arrivals: Sequence[Arrival],
        gone: Collection[str],
        *,
        by: Principal,
        force: bool = False,
    ) -> None:
        """Place and take away everything, and list it.

        As with one upload: announced first, so that nobody else takes a name or adopts a file that is half
        of something; then placed for good; then admitted. What is left where it raises, the caller puts
        back; what a kill leaves, a start does. Raises `Busy`, `Changing`, `FileExists`, `StorageFull`.
        """
        announced = self._announce_all(index, root, arrivals, by)
        try:
            there = {arrival.put.path: self._put(arrival, root, force=force) for arrival in arrivals}
            for path in gone:
                self._storage.delete(root, path)
            for start in range(0, max(len(arrivals), 1), TOGETHER):
                part = arrivals[start : start + TOGETHER]
                paths = {(root, path) for path in gone} if start == 0 else set()
                if part or paths:
                    with self._catalogue.write() as conn:
                        here = index_of(conn, index)
                        self._admit_push(conn, here, root, part, paths, there=there, by=by, force=force)
        finally:
            self._over(index, announced)

    def send(self, index: str, arrivals: Sequence[Arrival]) -> None:
        """Have the bytes in the bucket, nobody's until `place_with`. Raises `Busy`, `StorageDown`."""
        root = self.folder(index)
        with ThreadPoolExecutor(SENDERS, "pidex-push") as pool:
            for _ in pool.map(lambda each: each.stage.file.sync(each.sha256), arrivals):
                pass
            hashes = {arrival.sha256 for arrival in arrivals}
            with self._catalogue.write() as conn:
                if garbage.dropping(conn, hashes):
                    raise Busy(
                        "The bucket is about to be without some of these bytes. Push again in a moment.",
                        retry_after=RETRY_SECONDS,
                    )
                garbage.unmark(conn, hashes)
            # From here on nobody clears them away for a day: they are looked for once more.
            for _ in pool.map(
                lambda each: self._storage.put(each.stage.file, root, self._path(root, each)), arrivals
            ):
                pass

    def place_with(
        self,
        branch: Branches,
        index: str,
        arrivals: Sequence[Arrival],
        removed: Iterable[str],
        move: Move,
        *,
        by: Principal,
        force: bool = False,
    ) -> None:
        """List and unlist everything in an index of the bucket, and move its branch, in one transaction.

        What comes was sent before (`send`). A kill leaves all of it or nothing. Raises `Busy`, and `Conflict`
        where the branch stands elsewhere.
        """
        root, keys = self.folder(index), {filename_key(path) for path in removed}
        try:
            with self._catalogue.write() as conn:
                here = index_of(conn, index)
                wanted = keys | {arrival.put.key for arrival in arrivals}
                for key in wanted:
                    self._refuse_underway(conn, here.id, key)
                listed = files.find_by_keys(conn, here.id, sorted(wanted))
                paths = {(root, self._path(root, arrival)) for arrival in arrivals}
                gone = {(row.root, row.path) for row in listed.values()} - paths
                self._admit_push(conn, here, root, arrivals, gone, there={}, by=by, force=force)
                admitted = admissions.find_many(conn, here.id, sorted(keys))
                name, at = by.name or "anonymous", int(self._clock() * 1_000_000)
                admissions.supersede(conn, here.id, admitted.values(), replaced=at, by=name, how="git")
                admissions.delete_many(conn, here.id, admitted)
                branch.advance(conn, here.id, move, by=by)
        except CatalogueError:
            if branch.tip(index) != move.new:  # the answer to the commit was lost, or there was none
                raise

    def _path(self, root: int, arrival: Arrival) -> str:
        """Where a package goes: in a folder as in the tree, in the bucket by its hash."""
        if root in self._storage.folders:
            return arrival.put.path
        return self._storage.place(root, arrival.put.filename, arrival.sha256)

    def digest(self, root: int, path: str) -> str | None:
        """The sha256 of what lies at a path now; None where that is no file."""
        return self._storage.digest(root, path)

    def _announce_all(
        self, index: str, root: int, arrivals: Iterable[Arrival], by: Principal
    ) -> list[intents.Intent]:
        now = int(self._clock() * 1_000_000)
        made = [
            intents.Intent(
                arrival.put.filename, root, arrival.put.path, arrival.sha256, arrival.stage.size,
                by.name or "anonymous", now, self._owner,
            )
            for arrival in arrivals
        ]  # fmt: skip
        with self._catalogue.write() as conn:
            number = index_of(conn, index).id
            for intent in made:
                self._refuse_underway(conn, number, intent.key)
                intents.put(conn, number, intent)
        return made

    @staticmethod
    def _refuse_underway(conn: Connection, number: int, key: str) -> None:
        other = intents.find(conn, number, key)
        if other is not None:
            raise Busy(
                f"An upload of {other.filename} is under way. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )

    def _over(self, index: str, announced: Iterable[intents.Intent]) -> None:
        with self._catalogue.write() as conn:
            number = index_of(conn, index).id
            for intent in announced:
                if intents.find(conn, number, intent.key) == intent:
                    intents.done(conn, number, intent.key)

    def _put(self, arrival: Arrival, root: int, *, force: bool) -> Stat | None:
        """Give one file its path. The same bytes there stay as they are: the stat of those, else None."""
        path = arrival.put.path
        self._storage.make_folder(root, path.rpartition("/")[0])
        stat = self._storage.stat(root, path)
        if self._storage.digest(root, path) == arrival.sha256:
            return stat
        if force or arrival.put.kind is Kind.REPLACED:
            self._storage.replace(arrival.stage.file, root, path)
            return None
        try:
            self._storage.put(arrival.stage.file, root, path)
        except FileExistsError:
            raise FileExists(
                f"Something else lies at {path} in the folder, which did not come by git. Move it away there."
            ) from None
        return None

    def _admit_push(
        self,
        conn: Connection,
        here: indexes.Index,
        root: int,
        arrivals: Sequence[Arrival],
        gone: Collection[Key],
        *,
        there: Mapping[str, Stat | None],
        by: Principal,
        force: bool,
    ) -> None:
        """In the caller's transaction: what came is listed, what went is not, what moved is never missing.

        `there`: the stats of files that were not placed, since their bytes lay there. What lies at a path by
        now is not asked: it may be somebody else's.
        """
        now = self._clock()
        keys = {arrival.put.key for arrival in arrivals} | {filename_key(path) for _, path in gone}
        facts: dict[tuple[str, PackageType], Facts] = {}
        found = []
        for arrival in arrivals:
            path = self._path(root, arrival)
            stat = there.get(arrival.put.path) or arrival.stage.file.stat()
            found.append(Place(root, path, stat, PlaceState.WHOLE, arrival.sha256))
            facts[arrival.sha256, arrival.distribution.packagetype] = arrival.facts
        leaving = {key: row.project for key, row in files.find_by_keys(conn, here.id, sorted(keys)).items()}
        batch = Batch(conn, here, keys, self._storage, now=now, by=by, how="git")
        batch.arrive(found, gone, facts)
        for key in sorted(keys):
            batch.settle(key, first=False)
        for arrival in arrivals:
            if not force and not batch.lists(arrival.put.key, arrival.sha256):
                raise _changed(arrival)
        sent = [self._sent(conn, here, arrival, root=root, by=by, now=now) for arrival in arrivals]
        standing.note(conn, here, sent, by, how="git", now=now)
        batch.write()
        came = {arrival.put.key for arrival in arrivals}
        for _, path in sorted(gone):
            if (key := filename_key(path)) not in came and key in leaving:
                audit.record(
                    conn, by, "file.remove", index=here.name, project=leaving[key],
                    subject=path.rpartition("/")[2], after={"how": "git"}, at=int(now * 1_000_000),
                )  # fmt: skip

    @staticmethod
    def _sent(
        conn: Connection, here: indexes.Index, arrival: Arrival, *, root: int, by: Principal, now: float
    ) -> standing.Sent:
        at = int(now * 1_000_000)
        intent = intents.Intent(
            arrival.put.filename, root, arrival.put.path, arrival.sha256, arrival.stage.size,
            by.name or "anonymous", at,
        )  # fmt: skip
        # Who owns the data directory has every right already, and needs none of a project's.
        project = arrival.distribution.project
        fresh = OPERATOR_GROUP not in by.groups and standing.is_new(conn, here, project)
        return standing.Sent(intent, arrival.distribution, fresh)


def _changed(arrival: Arrival) -> Changing:
    return Changing(f"{arrival.put.path} was changed in the folder while it was pushed. Push again.")
