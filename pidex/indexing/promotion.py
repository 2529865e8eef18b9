"""Releases that go from one index to another as they are: files, metadata, yanks, times; all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pidex.catalogue import admissions, audit, contents, files, garbage, indexes, intents, yanks
from pidex.catalogue.engine import Connection
from pidex.core import changes, names, uploads
from pidex.core.errors import BadRequest, Busy, Changing, NotFound
from pidex.core.model import OPERATOR, Admission, Facts, File, PackageType, Place, PlaceState, Principal
from pidex.core.permissions import Action
from pidex.indexing.office import Office, index_of
from pidex.intake import lock, standing
from pidex.intake.batch import Batch

#: How the audit and admissions say that a file came from another index.
HOW = "promotion"
#: What a client is told to wait, in seconds, while another upload has one of the names.
RETRY_SECONDS = 2
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Promoted:
    """What went from one index to another. `there`: files that were there with the same bytes already."""

    project: str
    version: str
    source: str
    target: str
    files: tuple[str, ...]
    there: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Move:
    """One file on its way: its row in the source, what was read out of it, when it was first seen."""

    file: File
    facts: Facts
    admission: Admission
    intent: intents.Intent

    @property
    def key(self) -> str:
        return self.file.filename.casefold()


class Promotion(Office):
    """Promotes releases."""

    def promote(
        self, source: str, target: str, project: str, version: str, *, claim: bool = False, by: Principal
    ) -> Promoted:
        """Have a release of `source` in `target` too, without building anything anew.

        Its own files, each by a hard link where that can be made, with metadata, yanks, and the times at
        which they were first seen. `claim`: a name that an upstream of the target has becomes ours there.

        Needs the right to read there and to upload here. Raises what an upload would (`FileExists`,
        `FileDeleted`, `Forbidden`, ...), and then nothing is in the target that was not before. After a kill
        the next start finishes what had begun.
        """
        if source == target:
            raise BadRequest("A release is promoted from one index to another: name two.")
        if not names.is_name(project):
            raise BadRequest(f"{project[:100]!r} cannot be the name of a project.")
        project = names.normalize(project)
        self._accounts.require(by, Action.READ, source, project)
        self._accounts.require(by, Action.UPLOAD, target, project)
        with self._intake.stage(target) as place:
            root = place.file.root
        with self._catalogue.write() as conn:
            start, here = index_of(conn, source), index_of(conn, target)
            found = self._release(conn, start, project, version)
            moves, there = self._judge(conn, here, found, root, claim=claim, by=by)
            for move in moves:
                intents.put(conn, here.id, move.intent)
            admissions.put_many(conn, here.id, [move.admission for move in moves])
        placed: list[_Move] = []
        try:
            for move in moves:
                self._place(move)
                placed.append(move)
            with self._catalogue.write() as conn:
                self._admit(conn, index_of(conn, source), index_of(conn, target), moves, by)
        except BaseException:
            self._undo(target, moves, placed)
            raise
        version = (moves[0].file if moves else there[0]).version
        return Promoted(
            project, version, source, target,
            tuple(move.file.filename for move in moves), tuple(file.filename for file in there),
        )  # fmt: skip

    @staticmethod
    def _release(conn: Connection, start: indexes.Index, project: str, version: str) -> Sequence[File]:
        wanted = changes.release(version)
        listed = files.list_project(conn, start.id, project, index=start.name)
        found = [file for file in listed if changes.release(file.version) == wanted]
        if not found:
            raise NotFound(
                f"Index {start.name} has no release {project} {version[:80]} of its own. What its bases and "
                "upstreams have is promoted from the index that has it, or uploaded."
            )
        return found

    def _judge(
        self,
        conn: Connection,
        here: indexes.Index,
        found: Sequence[File],
        root: int,
        *,
        claim: bool,
        by: Principal,
    ) -> tuple[list[_Move], list[File]]:
        """What has to be done for each file, and which are there. Raises why one may not come."""
        policy, now = uploads.policy_of(here.policy), self._now()
        moves, there = [], []
        lock.check(conn, here, found[0].project, self._mirror, claim=claim)
        for file in found:
            distribution = names.parse(file.filename)
            judged = standing.judge(
                conn, here, distribution, sha256=file.sha256, one_sdist=policy.one_sdist, overwrite=False
            )
            if judged.identical:
                there.append(file)
                continue
            key = file.filename.casefold()
            if intents.find(conn, here.id, key) is not None:
                raise Busy(f"An upload of {file.filename} is under way.", retry_after=RETRY_SECONDS)
            facts = contents.find(conn, file.sha256, file.packagetype)
            if facts is None:
                raise Busy(f"{file.filename} is still being read.", retry_after=RETRY_SECONDS)
            who = by.name or "anonymous"
            first = admissions.find(conn, index_of(conn, file.index).id, key)
            source = "upload" if first is None else first.source
            admission = Admission(file.filename, file.sha256, file.size, file.upload_time, source, who, HOW)
            if garbage.dropping(conn, [file.sha256]):
                raise Busy(f"The bytes of {file.filename} are being cleared away.", retry_after=RETRY_SECONDS)
            path = self._storage.place(root, file.filename, file.sha256)
            intent = intents.Intent(file.filename, root, path, file.sha256, file.size, who, now)
            moves.append(_Move(file, facts, admission, intent))
        return moves, there

    def _place(self, move: _Move) -> None:
        """Give the bytes their name in the target's folder, with the signature beside them, if any."""
        root, path, file = move.intent.root, move.intent.path, move.file
        if self._storage.sound(file.sha256) is not None:
            self._storage.restore(file.sha256, root, path)
        else:
            self._copy(file, root, path)
        if self._storage.digest(root, path) != file.sha256:
            raise Changing(f"{file.filename} changed while it was promoted. Try again.")
        if file.root not in self._storage.folders:
            self._sign(self._storage.beside(file.root, f"{file.path}.asc"), root, f"{path}.asc")
            return
        signature = self._storage.stat(file.root, f"{file.path}.asc")
        if signature is not None:
            beside = replace(file, path=f"{file.path}.asc", stat=signature, size=signature.size, sha256="")
            with suppress(Changing, OSError):
                self._copy(beside, root, f"{path}.asc")

    def _sign(self, signature: bytes | None, root: int, path: str) -> None:
        if signature is None:
            return
        staged = self._storage.stage(root, size_hint=len(signature))
        try:
            staged.write(signature)
            staged.sync()
            with suppress(FileExistsError):
                self._storage.put(staged, root, path)
        finally:
            staged.discard()

    def _copy(self, file: File, root: int, path: str) -> None:
        staged = self._storage.stage(root, size_hint=file.size)
        try:
            handle = self._storage.open(file)
            try:
                for offset in range(0, file.size, _BLOCK_BYTES):
                    staged.write(handle.read(offset, _BLOCK_BYTES))
                handle.check()
            finally:
                handle.close()
            staged.sync()
            self._storage.put(staged, root, path)
        finally:
            staged.discard()

    def _admit(
        self,
        conn: Connection,
        start: indexes.Index,
        here: indexes.Index,
        moves: Sequence[_Move],
        by: Principal,
    ) -> None:
        """One transaction: all files are listed, with their yanks, or none is."""
        if not moves:
            return
        now = self._clock()
        keys = {move.key for move in moves}
        project = moves[0].file.project
        fresh = standing.is_new(conn, here, project)
        for yank in yanks.list_project(conn, start.id, project):
            releases = {changes.release(move.file.version) for move in moves}
            if yank.target in (releases if yank.scope == "release" else keys):
                yanks.put(conn, here.id, yank)
        batch = Batch(conn, here, keys, self._storage, now=now, by=by, how=HOW)
        there, facts = [], dict[tuple[str, PackageType], Facts]()
        for move in moves:
            stat = self._storage.stat(move.intent.root, move.intent.path)
            if stat is None:
                raise Changing(f"{move.file.filename} was taken away while it was promoted. Try again.")
            there.append(Place(move.intent.root, move.intent.path, stat, PlaceState.WHOLE, move.file.sha256))
            facts[move.file.sha256, move.file.packagetype] = move.facts
        batch.arrive(there, (), facts)
        for move in moves:
            batch.settle(move.key, first=False)
            if not batch.lists(move.key, move.file.sha256):
                raise Changing(f"{move.file.filename} was changed while it was promoted. Try again.")
        batch.write()
        intents.done_many(conn, here.id, keys)
        sent = [
            standing.Sent(move.intent, names.parse(move.file.filename), fresh and number == 0)
            for number, move in enumerate(moves)
        ]
        standing.note(conn, here, sent, by, how=HOW, now=now)
        audit.record(
            conn, by, "release.promote", index=here.name, project=project, subject=moves[0].file.version,
            after={"from": start.name, "files": sorted(move.file.filename for move in moves)},
            at=self._now(),
        )  # fmt: skip

    def _undo(self, target: str, moves: Sequence[_Move], placed: Sequence[_Move]) -> None:
        """Leave nothing behind, as far as that can be done; a start does the rest."""
        for move in placed:
            with suppress(Exception):
                self._storage.delete(move.intent.root, move.intent.path)
                self._storage.delete(move.intent.root, f"{move.intent.path}.asc")
        with self._catalogue.write() as conn:
            here = index_of(conn, target)
            mine = [move.key for move in moves if intents.find(conn, here.id, move.key) == move.intent]
            admissions.delete_many(conn, here.id, mine)
            intents.done_many(conn, here.id, mine)
        self._intake.forget(target, [(move.intent.root, move.intent.path) for move in moves], by=OPERATOR)
