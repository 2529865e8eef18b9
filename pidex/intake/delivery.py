"""Files that are sent: staged, checked, announced, linked into place and admitted, or not there at all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from pidex.catalogue import admissions, deliveries, indexes, intents, places
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import uploads
from pidex.core.errors import Busy, Changing, FileExists, Forbidden, InvalidFile, TooLarge
from pidex.core.folder import Key
from pidex.core.interfaces import Clock, Inspector, Staged, Storage
from pidex.core.model import (
    Admission,
    Distribution,
    Entry,
    Facts,
    PackageType,
    Place,
    PlaceState,
    Principal,
)
from pidex.core.names import canonical_version
from pidex.core.uploads import Form, UploadPolicy
from pidex.intake import standing
from pidex.intake.batch import Batch, index_of

#: How long an upload waits for another one of the same name, in seconds, and how often it looks.
WAIT_SECONDS, LOOK_SECONDS = 10.0, 0.02
#: What a client is told to wait, in seconds, where trying again helps.
RETRY_SECONDS = 2
#: Warnings that one answer gives.
MOST_WARNINGS = 20


class Stage:
    """A file on its way into an index: what is written is hashed in the same pass. Close it, always."""

    def __init__(self, index: str, file: Staged, limit: int = 0) -> None:
        self.index = index
        self.file = file
        self._limit = limit
        self._hashes: dict[str, hashlib._Hash | hashlib.blake2b] = {
            "sha256": hashlib.sha256(),
            "blake2_256": hashlib.blake2b(digest_size=32),
            "md5": hashlib.md5(usedforsecurity=False),
        }

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.file.size

    def write(self, data: bytes) -> None:
        """Append; blocks on the disk. Raises `TooLarge` or `StorageFull`."""
        if self._limit and self.file.size + len(data) > self._limit:
            raise TooLarge(f"File too large. Limit is {self._limit / (1 << 20):g} MiB.")
        self.file.write(data)
        for hashed in self._hashes.values():
            hashed.update(data)

    def digests(self) -> Mapping[str, str]:
        """Of what was written, in hexadecimal: 'sha256', 'blake2_256', 'md5'."""
        return {name: hashed.hexdigest() for name, hashed in self._hashes.items()}

    def close(self) -> None:
        """Let go of the file: it is gone unless it was received. Any number of times."""
        self.file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Receipt:
    """`status` is 'stored', 'replaced' or 'identical' (it was there already); `warnings` are sentences."""

    status: str
    filename: str
    project: str
    version: str
    sha256: str
    blake2b_256: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """What came in by `receive` up to `mark`, and the paths of what is coming at this moment."""

    mark: int
    places: tuple[Place, ...] = ()
    coming: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Parcel:
    """All that `Intake.receive` was given."""

    index: str
    stage: Stage
    filename: str
    form: Form | None
    signature: bytes | None
    overwrite: bool
    how: str
    by: Principal


@dataclass(frozen=True, slots=True)
class _Sound:
    """A parcel that was looked into."""

    facts: Facts
    warnings: tuple[str, ...]


class _Underway(Exception):
    """Another upload of the same name has announced itself, and not ended."""


class Deliveries:
    """The steps from a staged file to a listed one. Each may be the last before a kill."""

    def __init__(
        self, catalogue: Catalogue, storage: Storage, clock: Clock, inspector: Inspector | None
    ) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._inspector = inspector

    def policy(self, index: str) -> UploadPolicy:
        with self._catalogue.read() as conn:
            return uploads.policy_of(index_of(conn, index).policy)

    def stage(self, index: str, *, size_hint: int = 0, limit: int = 0) -> Stage:
        reasons = []
        for root in range(len(self._storage.roots)):
            reason = self._storage.refusal(root)
            if reason is None:
                return Stage(index, self._storage.stage(root, size_hint=size_hint), limit)
            reasons.append(reason)
        raise Forbidden(f"Nothing can be uploaded here. {'; '.join(reasons) or 'there is no folder'}.")

    def check_project(self, index: str, project: str) -> None:
        with self._catalogue.read() as conn:
            standing.check_status(conn, index_of(conn, index), project)

    def receive(self, parcel: Parcel) -> Receipt:
        """The whole way, in order of the checks' cost; see `Intake.receive`."""
        stage, policy = parcel.stage, self.policy(parcel.index)
        distribution = uploads.check_filename(parcel.filename, parcel.form, policy)
        uploads.check_size(stage.size, policy, distribution.project)
        if parcel.form is not None:
            uploads.check_digests(parcel.form, stage.digests())
        sound: _Sound | None = None
        end = time.monotonic() + WAIT_SECONDS
        while True:
            with self._catalogue.read() as conn:
                judgement = self._judge(conn, parcel, distribution, policy)
            if judgement.identical:
                return _receipt("identical", parcel, distribution, ())
            if sound is None:
                sound = self._inspect(parcel, distribution, policy)
                stage.file.sync()
            try:
                return self._store(parcel, distribution, policy, sound)
            except _Underway:
                if time.monotonic() >= end:
                    raise Busy(
                        f"Another upload of {parcel.filename} is under way. Try again in a moment.",
                        retry_after=RETRY_SECONDS,
                    ) from None
                time.sleep(LOOK_SECONDS)

    # --- the steps -----------------------------------------------------------------------------------------

    def _judge(
        self, conn: Connection, parcel: Parcel, distribution: Distribution, policy: UploadPolicy
    ) -> standing.Judgement:
        return standing.judge(
            conn,
            index_of(conn, parcel.index),
            distribution,
            sha256=parcel.stage.digests()["sha256"],
            one_sdist=policy.one_sdist,
            overwrite=parcel.overwrite,
        )

    def _inspect(self, parcel: Parcel, distribution: Distribution, policy: UploadPolicy) -> _Sound:
        """Look into the file in a limited child (rows 5, 20 to 24). Raises `InvalidFile` or `BadRequest`."""
        if self._inspector is None:
            raise RuntimeError("nobody is there to look into files")
        staged = parcel.stage.file
        entry = Entry(staged.root, parcel.filename, staged.stat())
        check = "whole" if policy.framing == "off" else "strict"
        look = self._inspector.examine(staged.fileno(), entry, check)
        if look.state is PlaceState.UNREAD:
            raise Busy(
                f"{parcel.filename} cannot be looked into now: {look.reason}. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        facts = look.facts
        if look.state is not PlaceState.WHOLE or facts is None:
            raise InvalidFile(f"Invalid distribution file. {_sentence(look.reason or 'it is not whole')}")
        if facts.sha256 != parcel.stage.digests()["sha256"]:
            raise Changing(f"{parcel.filename} changed while it was received. Send it again.")
        warnings = _framed(facts, policy) + _agreeing(facts, distribution, policy)
        return _Sound(replace(facts, framing=None), warnings[:MOST_WARNINGS])

    def _store(
        self, parcel: Parcel, distribution: Distribution, policy: UploadPolicy, sound: _Sound
    ) -> Receipt:
        """Announce, place, admit. Undone where a step fails."""
        judgement, intent = self._announce(parcel, distribution, policy)
        if intent is None:
            return _receipt("identical", parcel, distribution, ())
        try:
            self._place(parcel, intent, replacing=judgement.replaces is not None)
            self._sign(parcel, intent)
            self._admit(parcel, distribution, sound.facts, intent)
        except BaseException:
            self._undo(parcel, intent)
            raise
        status = "stored" if judgement.replaces is None else "replaced"
        return _receipt(status, parcel, distribution, sound.warnings)

    def _announce(
        self, parcel: Parcel, distribution: Distribution, policy: UploadPolicy
    ) -> tuple[standing.Judgement, intents.Intent | None]:
        """Commit what is about to happen: from here on nobody else takes the name. None: it is there already.

        Raises `_Underway` where somebody else has it.
        """
        stage = parcel.stage
        with self._catalogue.write() as conn:
            judgement = self._judge(conn, parcel, distribution, policy)
            if judgement.identical:
                return judgement, None
            number = index_of(conn, parcel.index).id
            if intents.find(conn, number, parcel.filename.casefold()) is not None:
                raise _Underway
            root, path = judgement.replaces or (stage.file.root, parcel.filename)
            if root != stage.file.root:
                reason = self._storage.refusal(root) or "it lies in another folder than uploads go to"
                raise Forbidden(f"{parcel.filename} cannot be replaced: {reason}.")
            intent = intents.Intent(
                parcel.filename,
                root,
                path,
                stage.digests()["sha256"],
                stage.size,
                parcel.by.name or "anonymous",
                int(self._clock() * 1_000_000),
            )
            intents.put(conn, number, intent)
        return judgement, intent

    def _place(self, parcel: Parcel, intent: intents.Intent, *, replacing: bool) -> None:
        """Give the file its name in the folder."""
        put = self._storage.replace if replacing else self._storage.put
        try:
            put(parcel.stage.file, intent.root, intent.path)
        except FileExistsError:
            if self._storage.stat(intent.root, intent.path) is None:
                raise FileExists(
                    f"File already exists ({intent.path!r}): something that is no file has its name in the "
                    "folder. Move it away there."
                ) from None
            raise Busy(
                f"A file {intent.path} has come into the folder just now and is being read. Try again.",
                retry_after=RETRY_SECONDS,
            ) from None

    def _sign(self, parcel: Parcel, intent: intents.Intent) -> None:
        """Keep the signature beside the file: never listed, and of no meaning without it."""
        if parcel.signature is not None:
            beside = self._storage.stage(intent.root, size_hint=len(parcel.signature))
            try:
                beside.write(parcel.signature)
                beside.sync()
                self._storage.replace(beside, intent.root, f"{intent.path}.asc")
            finally:
                beside.discard()

    def _admit(
        self, parcel: Parcel, distribution: Distribution, facts: Facts, intent: intents.Intent
    ) -> None:
        """One transaction: it is a member of the index, listed, and no longer on its way."""
        staged, kind, now = parcel.stage.file, distribution.packagetype, self._clock()
        with self._catalogue.write() as conn:
            here = index_of(conn, parcel.index)
            fresh = standing.is_new(conn, here, distribution.project)
            batch = Batch(
                conn, parcel.index, {intent.key}, self._storage, now=now, by=parcel.by, how=parcel.how
            )
            place = Place(intent.root, intent.path, staged.stat(), PlaceState.WHOLE, facts.sha256)
            batch.arrive([place], (), {(facts.sha256, kind): facts})
            batch.settle(intent.key, first=False)
            if not batch.lists(intent.key, facts.sha256):
                raise Changing(
                    f"{intent.path} was changed in the folder while it was received. Send it again.",
                    retry_after=RETRY_SECONDS,
                )
            batch.write()
            intents.done(conn, here.id, intent.key)
            standing.note(conn, here, intent, parcel.by, distribution, how=parcel.how, fresh=fresh, now=now)

    def _undo(self, parcel: Parcel, intent: intents.Intent) -> None:
        """Leave nothing behind, as far as that can be done; a start does the rest."""
        there, ours = self._storage.stat(intent.root, intent.path), parcel.stage.file.stat()
        if there is not None and there.inode == ours.inode and there.device == ours.device:
            self._storage.delete(intent.root, intent.path)
        with self._catalogue.write() as conn:
            number = index_of(conn, parcel.index).id
            if intents.find(conn, number, intent.key) == intent:
                intents.done(conn, number, intent.key)

    # --- afterwards ----------------------------------------------------------------------------------------

    def recover(self, index: str, *, older: float = 0.0) -> tuple[int, int]:
        """Finish what lies in its place with its bytes, undo the rest; see `Intake.recover`."""
        now = self._clock()
        with self._catalogue.read() as conn:
            found = [
                intent
                for intent in intents.list(conn, index_of(conn, index).id)
                if intent.at <= (now - older) * 1_000_000
            ]
        finished = 0
        for intent in found:
            whole = self._storage.digest(intent.root, intent.path) == intent.sha256
            with self._catalogue.write() as conn:
                here = index_of(conn, index)
                if intents.find(conn, here.id, intent.key) != intent:
                    continue  # it ended meanwhile
                if whole:
                    finished += 1
                    self._readmit(conn, here, intent, now)
                intents.done(conn, here.id, intent.key)
        return finished, len(found) - finished

    def _readmit(self, conn: Connection, here: indexes.Index, intent: intents.Intent, now: float) -> None:
        """Write what was decided; what is in the file the reconciler reads, as of any file in the folder."""
        by = Principal(intent.by, frozenset({"authenticated"}), via="recovery")
        distribution = uploads.check_filename(intent.filename, None, UploadPolicy())
        former = admissions.find(conn, here.id, intent.key)
        if former is None or former.sha256 != intent.sha256:
            if former is not None:
                admissions.supersede(conn, here.id, [former], replaced=intent.at, by=intent.by, how="upload")
            admissions.put(
                conn,
                here.id,
                Admission(
                    intent.path.rpartition("/")[2], intent.sha256, intent.size, intent.at, "upload",
                    intent.by, "upload",
                ),
            )  # fmt: skip
        fresh = standing.is_new(conn, here, distribution.project)
        standing.note(conn, here, intent, by, distribution, how="upload", fresh=fresh, now=now)

    def received(self, index: str, since: int | None) -> Received:
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            mark = deliveries.mark(conn)
            coming = frozenset((intent.root, intent.path) for intent in intents.list(conn, here.id))
            if since is None or mark <= since:
                return Received(mark, (), coming)
            keys = {filename.casefold() for filename in deliveries.list_since(conn, index, since)}
            found = places.find_by_keys(conn, here.id, sorted(keys))
        return Received(mark, tuple(place for there in found.values() for place in there), coming)


def _receipt(status: str, parcel: Parcel, distribution: Distribution, warnings: tuple[str, ...]) -> Receipt:
    digests = parcel.stage.digests()
    return Receipt(
        status,
        parcel.filename,
        distribution.project,
        distribution.version,
        digests["sha256"],
        digests["blake2_256"],
        warnings,
    )


def _framed(facts: Facts, policy: UploadPolicy) -> tuple[str, ...]:
    """What the strict rules found, as far as the policy lets it pass (ARC-6)."""
    found = facts.framing
    if found is None:
        return ()
    if found.errors and policy.framing == "error":
        raise InvalidFile(f"Invalid distribution file. {_sentence(found.errors[0])}")
    return (*found.errors, *found.warnings)


def _agreeing(facts: Facts, distribution: Distribution, policy: UploadPolicy) -> tuple[str, ...]:
    """The archive's own metadata, checked; the archive decides, the name (and so the form) must agree."""
    kind = distribution.packagetype
    strict = kind in (PackageType.SDIST, PackageType.WHEEL)
    if facts.metadata is None:
        if strict and policy.metadata == "error":
            raise InvalidFile(
                "Invalid distribution file. It holds no metadata (PKG-INFO, METADATA) that names the "
                f"project {distribution.project!r}."
            )
        return ()
    if facts.version is not None and not _same_version(facts.version, distribution.version):
        raise InvalidFile(
            f"Invalid distribution file. Its metadata says version {facts.version!r}, its name "
            f"{distribution.version!r}."
        )
    lenient = policy if strict else replace(policy, metadata="warn", unknown_fields="warn")
    return uploads.check_metadata(facts.metadata, lenient)


def _same_version(one: str, other: str) -> bool:
    return canonical_version(one) == canonical_version(other)


def _sentence(text: str) -> str:
    """A reason as a sentence on one line."""
    line = " ".join(text.split())
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else line + "."
