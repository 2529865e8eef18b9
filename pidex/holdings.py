"""What a bucket holds: manifests of what was admitted, rebuilding by them, clearing away what nobody has."""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from pidex import __version__
from pidex.accounts import Accounts
from pidex.catalogue import admissions, audit, branches, garbage, indexes, journal, tombstones
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import names
from pidex.core.errors import BadRequest, Conflict, Forbidden, NotFound, PidexError, Unauthenticated
from pidex.core.folder import BUCKET
from pidex.core.interfaces import Clock
from pidex.core.model import DEFAULT_INDEX, Admission, Principal
from pidex.core.permissions import Action

if TYPE_CHECKING:
    from pidex.backends.objects.storage import Objects  # an extra

#: Where manifests are, and how their names say when they were written.
MANIFESTS, STAMP, ENDING = "manifests/", "%Y%m%dT%H%M%SZ", ".jsonl.gz"
FORMAT = 1
#: An object without a name is deleted so long after that was seen first, in seconds.
GRACE_SECONDS = 86_400.0
#: What was deleted or replaced can be brought back for so long, in seconds.
KEPT_SECONDS = 7 * 86_400.0
#: Objects deleted for one claim, and the seconds that this may take; after `ABANDONED_SECONDS` others go on.
CLAIMED, CLAIM_SECONDS, ABANDONED_SECONDS = 200, 120.0, 900.0
#: Packs of a branch in one line of a manifest.
PACKS_A_LINE = 100
#: Admissions written in one transaction.
BATCH = 2_000
#: Bytes of a manifest that are unpacked at once, and of its longest line.
STEP_BYTES, LONGEST_LINE_BYTES = 64 * 1024, 64 * 1024
HEX = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Survey:
    """The bucket beside the catalogue. `missing`: files and packs that are not there; `surplus`: nobody's."""

    objects: int
    bytes: int
    missing: tuple[str, ...]
    surplus: int
    surplus_bytes: int
    packs: int
    pack_bytes: int
    surplus_packs: int
    surplus_pack_bytes: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """`marked`: objects newly seen to have no name; `dropped`: deleted for good; `waiting`: still to be."""

    marked: int
    dropped: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a manifest gave back. `there`: files that were known; `missing`: what the bucket does not have.

    `branches`: of git, each with its whole history.
    """

    manifest: str
    files: int
    there: int
    burnt: int
    missing: tuple[str, ...]
    branches: int


class Holdings:
    """Looks after the bucket. Any number of processes may, at the same time; for administrators."""

    def __init__(self, catalogue: Catalogue, objects: Objects, accounts: Accounts, clock: Clock) -> None:
        self._catalogue, self._objects = catalogue, objects
        self._accounts, self._clock = accounts, clock

    # --- manifests ------------------------------------------------------------------------------------------

    def due(self, seconds: float) -> bool:
        """Whether the newest manifest is older than that, or there is none."""
        written = [at for at in map(_written, self._objects.names(MANIFESTS)) if at is not None]
        return not written or self._clock() >= max(written) + seconds

    def write_manifest(self, *, keep: int = 7, over: bool = False, by: Principal) -> str:
        """Write which files each index has, and which names are burnt, into the bucket; its name there.

        With the bytes beside it that is enough to serve them again (`rebuild`). The newest `keep` stay.
        Raises `Conflict` where the newest one is of another catalogue, or of a later state of this one;
        `over`: all the same.
        """
        self._administers(by)
        if not over:
            self._ours(by)
        name = datetime.fromtimestamp(self._clock(), UTC).strftime(f"{MANIFESTS}{STAMP}{ENDING}")
        with tempfile.TemporaryFile() as file:
            with gzip.open(file, "wb", compresslevel=6) as packed, self._catalogue.read() as conn:
                for line in self._lines(conn):
                    packed.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._objects.store.put(name, file)
        old = [each for each in self._objects.names(MANIFESTS) if _written(each) is not None]
        self._objects.unlink(old[: -max(keep, 1)])
        return name

    def list_manifests(self, *, by: Principal) -> Sequence[str]:
        """The manifests in the bucket, oldest first."""
        self._administers(by)
        return [each for each in self._objects.names(MANIFESTS) if _written(each) is not None]

    def _lines(self, conn: Connection) -> Iterator[dict[str, object]]:
        """What a manifest says, line by line."""
        head = {"format": FORMAT, "program": __version__, "taken": self._clock()}
        yield {**head, "serial": journal.serial(conn), "catalogue": indexes.born(conn)}
        for index in indexes.list(conn):
            if not self._lies_here(index):
                continue
            yield {"index": index.name, "mutability": index.mutability}
            yield from self._history(conn, index)
            for each in admissions.list(conn, index.id):
                yield {"in": index.name, **{field: getattr(each, field) for field in Admission.__slots__}}
            for stone in tombstones.list(conn, index.id):
                yield {"burnt": index.name, **asdict(stone)}

    @staticmethod
    def _history(conn: Connection, index: indexes.Index) -> Iterator[dict[str, object]]:
        """Lines about the branch of an index. Who knows nothing of branches reads the index in them."""
        branch = branches.find(conn, index.id)
        if branch is None:
            return
        head = {"index": index.name, "mutability": index.mutability, "tip": branch.tip}
        brought = [*map(list, branches.list_brought(conn, index.id))]
        for start in range(0, max(len(brought), 1), PACKS_A_LINE):
            yield {**head, "enabled": branch.enabled, "packs": brought[start : start + PACKS_A_LINE]}

    def _ours(self, by: Principal) -> bool:
        """Whether there is a manifest. Raises `Conflict` where the newest is not of this catalogue.

        A catalogue that was lost and made anew, or put back as it was earlier, knows nothing of what came
        since: to it that is nobody's.
        """
        every = self.list_manifests(by=by)
        if not every:
            return False
        head = next(self._read(every[-1]))
        with self._catalogue.read() as conn:
            born, serial = indexes.born(conn), journal.serial(conn)
        if head.get("catalogue") != born or head.get("serial", 0) > serial:
            raise Conflict(
                f"{every[-1]} in the bucket was written by another catalogue, or a later state of this one:"
                " `pidex bucket rebuild` admits what it names. Until then nothing is cleared away. Where what"
                " it names may go, `pidex bucket manifest --over` writes a new one."
            )
        return True

    def rebuild(self, name: str | None = None, *, dry_run: bool = False, by: Principal) -> Rebuilt:
        """Admit what a manifest (the newest) says, where the bucket has the bytes and the name is free.

        Indexes that are not there are made. What is known already stays as it is, burnt names stay burnt.
        The next scan reads the files, and lists them as they were. Raises `NotFound` and `BadRequest`.
        """
        self._administers(by)
        every = self.list_manifests(by=by)
        if name is None and not every:
            raise NotFound(f"There is no manifest in {self._objects.store.url}.")
        chosen = every[-1] if name is None else name
        lines = islice(self._read(chosen), 1, None)
        there = {sha256: size for shard in _shards() for sha256, size in self._objects.list_objects(shard)}
        files = burnt = known = 0
        missing: list[str] = []
        histories: dict[str, _History] = {}
        at, who = int(self._clock() * 1_000_000), by.name or "anonymous"
        while batch := [*islice(lines, BATCH)]:
            with self._catalogue.write() as conn:
                for line in batch:
                    if "burnt" in line:
                        burnt += self._bury(conn, line, write=not dry_run)
                    elif "index" in line:
                        self._index(conn, line, write=not dry_run)
                        _remember(histories, line, chosen)
                    else:
                        found = self._admission(line, chosen)
                        if there.get(found.sha256) != found.size:
                            missing.append(found.filename)
                        elif self._admit(conn, str(line["in"]), found, write=not dry_run):
                            files += 1
                        else:
                            known += 1
        led = self._lead(histories, missing, write=not dry_run)
        if not dry_run:
            with self._catalogue.write() as conn:
                after = {"manifest": chosen, "files": files, "missing": len(missing), "burnt": burnt}
                after |= {"branches": led}
                audit.record(conn, by._replace(name=who), "bucket.rebuild", at=at, after=after)
            if every and chosen == every[-1]:
                self.write_manifest(over=True, by=by)  # from here on this catalogue knows of all there is
        return Rebuilt(chosen, files, known, burnt, tuple(missing), led)

    def _lead(self, histories: Mapping[str, _History], missing: list[str], *, write: bool) -> int:
        """Have the branches stand where they stood whose packs are all there, and that are not known.

        How many there are; the packs that the others lack go to `missing`.
        """
        there, led = dict(self._objects.packs.list()), 0
        for name, (tip, enabled, brought) in histories.items():
            gone = [_pack_of(name, each.sha256) for each in brought if there.get(each.sha256) != each.size]
            missing += gone
            with self._catalogue.write() as conn:
                here = indexes.find(conn, name)
                known = here is not None and branches.find(conn, here.id) is not None
                if write and here is not None and not known and not gone:
                    branches.put_back(conn, here.id, tip, brought, enabled=enabled)
            led += not known and not gone
        return led

    def _read(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a manifest as they come, its head first. Raises `NotFound`, and `BadRequest`."""
        number = 0
        try:
            for line in _lines(self._objects.store.read(name)):
                found, number = json.loads(line), number + 1
                if number == 1 and found["format"] != FORMAT:
                    raise BadRequest(f"{name} was written by a newer pidex ({found.get('program')}).")
                yield found
            if not number:
                raise EOFError
        except FileNotFoundError:
            raise NotFound(f"There is no {name} in {self._objects.store.url}.") from None
        except (zlib.error, EOFError, ValueError, LookupError, TypeError):
            raise BadRequest(f"{name} is no manifest, or is damaged. Name an older one.") from None

    @staticmethod
    def _admission(line: dict[str, Any], name: str) -> Admission:
        try:
            found = Admission(**{field: line[field] for field in Admission.__slots__})
            names.parse(found.filename)
            return found
        except (LookupError, TypeError, PidexError):
            raise BadRequest(f"{name} has a line that is no file's: {str(line)[:200]}.") from None

    def _index(self, conn: Connection, line: dict[str, Any], *, write: bool) -> None:
        name = str(line["index"])
        if write and indexes.find(conn, name) is None:
            number = indexes.ensure(conn, name, self._clock(), str(line["mutability"]))
            indexes.set_folders(conn, number, [BUCKET])

    @staticmethod
    def _admit(conn: Connection, index: str, admission: Admission, *, write: bool) -> bool:
        """Whether a file was not known."""
        here = indexes.find(conn, index)
        if here is not None and admissions.is_known(conn, here.id, admission.key):
            return False
        if write and here is not None:
            admissions.put(conn, here.id, admission)
        return True

    @staticmethod
    def _bury(conn: Connection, line: dict[str, Any], *, write: bool) -> bool:
        here = indexes.find(conn, str(line["burnt"]))
        if here is None or admissions.is_known(conn, here.id, str(line["filename"]).casefold()):
            return False
        if write:
            fields = {name: line[name] for name in tombstones.Tombstone.__dataclass_fields__}
            tombstones.put(conn, here.id, tombstones.Tombstone(**fields))
        return True

    # --- what nobody has ------------------------------------------------------------------------------------

    def survey(self, *, by: Principal) -> Survey:
        """Compare the bucket's listing with the catalogue; reads no bytes."""
        self._administers(by)
        totals: Counter[str] = Counter()
        missing: list[str] = []
        packs = dict(self._objects.packs.list())
        with self._catalogue.read() as conn:
            here = [index.id for index in indexes.list(conn) if self._lies_here(index)]
            wanted_packs = [
                (index.name, pack)
                for index in indexes.list(conn)
                for pack in branches.list_packs(conn, index.id)
            ]
        for digit in HEX:
            with self._catalogue.read() as conn:
                wanted = garbage.members(conn, here, digit, _following(digit))
            there = dict(chain.from_iterable(self._objects.list_objects(digit + each) for each in HEX))
            surplus = there.keys() - {sha256 for sha256, _, _ in wanted}
            totals.update(objects=len(there), bytes=sum(there.values()), surplus=len(surplus))
            totals.update(surplus_bytes=sum(there[sha256] for sha256 in surplus))
            missing += [name for sha256, name, size in wanted if there.get(sha256) != size]
        missing += {
            _pack_of(name, pack.sha256) for name, pack in wanted_packs if packs.get(pack.sha256) != pack.size
        }
        others = packs.keys() - {pack.sha256 for _, pack in wanted_packs}
        return Survey(
            totals["objects"], totals["bytes"], tuple(sorted(missing)), totals["surplus"],
            totals["surplus_bytes"], len(packs), sum(packs.values()), len(others),
            sum(packs[sha256] for sha256 in others),
        )  # fmt: skip

    def collect(
        self,
        *,
        grace: float = GRACE_SECONDS,
        stopped: Callable[[], bool] = lambda: False,
        by: Principal,
    ) -> Cleared:
        """Note objects that nobody has, and delete those of which that was noted `grace` seconds ago.

        Packs that lead to no branch (the index is gone, the push was cut) stay for seven days, whatever
        `grace` says: a push takes less, and has what it brings stay (`Branches.store`). What is on its way
        has a name by its intent before anybody counts on its bytes; what was deleted or replaced keeps its
        own for seven days. A claim is committed before the first object goes, and nobody gives a claimed
        object a name: an upload of the same bytes waits, and sends them again.
        Raises `Conflict` as `write_manifest`.
        """
        self._administers(by)
        if not self._ours(by):
            self.write_manifest(by=by)
        marked = sum(self._mark(digit) for digit in HEX if not stopped()) + self._mark_packs()
        dropped = 0
        for kind, seconds in ((garbage.BLOBS, grace), (garbage.PACKS, max(grace, KEPT_SECONDS))):
            while not stopped() and (count := self._drop(kind, seconds)):
                dropped += count
        with self._catalogue.read() as conn:
            waiting = sum(len(garbage.marks(conn, *kind)) for kind in (garbage.BLOBS, garbage.PACKS))
        return Cleared(marked, dropped, waiting)

    def _mark(self, digit: str) -> int:
        """Note what has no name among the objects whose hash begins with a digit; how many are new."""
        since, following = self._since(), _following(digit)
        there = {sha256 for second in HEX for sha256, _ in self._objects.list_objects(digit + second)}
        with self._catalogue.write() as conn:
            named = garbage.named(conn, digit, following, since=since)
            noted = garbage.marks(conn, digit, following)
            fresh = there - named - noted.keys()
            garbage.unmark(conn, noted.keys() & named)
            garbage.mark(conn, fresh, at=self._now())
        return len(fresh)

    def _mark_packs(self) -> int:
        """Note the packs that lead to no branch; how many are new."""
        there = {garbage.pack(pack.sha256) for pack in self._objects.packs.list()}
        with self._catalogue.write() as conn:
            named = {garbage.pack(sha256) for sha256 in branches.named(conn)}
            noted = garbage.marks(conn, *garbage.PACKS).keys()
            garbage.unmark(conn, noted & named)
            garbage.mark(conn, there - named - noted, at=self._now())
        return len(there - named - noted)

    def _drop(self, kind: garbage.Kind, grace: float) -> int:
        """Delete some of what has been nobody's for long; how many."""
        now = self._now()
        with self._catalogue.write() as conn:
            claimed = garbage.claim(
                conn,
                kind,
                marked=now - int(grace * 1e6),
                begun=now - int(ABANDONED_SECONDS * 1e6),
                since=self._since(),
                at=now,
                limit=CLAIMED,
            )
        end, gone = monotonic() + CLAIM_SECONDS, list[str]()
        drop = self._objects.packs.drop if kind is garbage.PACKS else self._objects.drop
        try:
            for noted in claimed:
                if monotonic() >= end:
                    break  # the claim is about to be another's
                drop([garbage.hash_of(noted)])
                gone.append(noted)
        finally:
            with self._catalogue.write() as conn:
                garbage.unmark(conn, gone)
        return len(gone)

    def _lies_here(self, index: indexes.Index) -> bool:
        """Whether the files of an index are in the bucket."""
        return BUCKET in index.folders or (index.name == DEFAULT_INDEX and 0 in self._objects.roots)

    def _since(self) -> int:
        return int((self._clock() - KEPT_SECONDS) * 1e6)

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _administers(self, by: Principal) -> None:
        if self._accounts.allows(by, Action.ADMIN, None):
            return
        if by.name is None:
            raise Unauthenticated("Sign in to administer this server.")
        raise Forbidden(f"{by.name} may not look after the bucket: that takes the role admin on every index.")


#: A branch as a manifest has it: where it stood, whether it was to be had, and what led there.
_History = tuple[str | None, bool, list[branches.Brought]]


def _remember(histories: dict[str, _History], line: dict[str, Any], manifest: str) -> None:
    """Take what a line says of the branch of its index, if it does."""
    if "packs" not in line:
        return
    try:
        brought = [branches.Brought(*each) for each in line["packs"]]
        history = histories.setdefault(str(line["index"]), (line["tip"], bool(line["enabled"]), []))
        history[2].extend(brought)
    except (LookupError, TypeError):
        raise BadRequest(f"{manifest} has a line that is no branch's: {str(line)[:200]}.") from None


def _pack_of(index: str, sha256: str) -> str:
    """How a pack that is missing is told of."""
    return f"the pack {sha256} of {index}.git"


def _written(name: str) -> float | None:
    """When a manifest was written, by its name; None for what is none."""
    with suppress(ValueError):
        return datetime.strptime(name, f"{MANIFESTS}{STAMP}{ENDING}").replace(tzinfo=UTC).timestamp()
    return None


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of what was packed by gzip. Raises `EOFError` where its end is missing."""
    unpacker, left = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
    for block in blocks:
        packed = block
        while packed:
            left += unpacker.decompress(packed, STEP_BYTES)
            packed = unpacker.unconsumed_tail
            *lines, left = left.split(b"\n")
            yield from lines
            if len(left) > LONGEST_LINE_BYTES:
                raise ValueError("a line without an end")
    *lines, left = (left + unpacker.flush()).split(b"\n")
    yield from lines
    if not unpacker.eof or left:
        raise EOFError


def _shards() -> Iterator[str]:
    return (one + two for one in HEX for two in HEX)


def _following(digit: str) -> str:
    """What is greater than all hashes that begin with a digit, and not than any other one that is."""
    return "g" if digit == "f" else HEX[HEX.index(digit) + 1]
