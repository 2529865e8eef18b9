"""Indexes in folders: the repository says where its branch stands, and a record what a push changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from pidex.core import pushes
from pidex.core.errors import Busy
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import OPERATOR, Principal
from pidex.core.pushes import Kind, Moved, Put, Record
from pidex.ingress.repositories import Push, Repositories, Repository
from pidex.intake.pushes import Arrivals

#: Seconds that a start waits for git to end, and between two looks at a branch whose git is not to be seen.
END_WAIT, LOOK_SECONDS = 30.0, 0.1

log = logging.getLogger("pidex.git")


class Recorded:
    """The truth of repositories beside folders.

    The argument that index and branch agree, whenever somebody pulls the plug. One push at a time holds the
    index's lock, from before its inspection until git has ended:

    1. Everything is inspected while git has the objects in quarantine. A refusal changes nothing at all.
    2. A record is written for good: what the branch had at each path, what is going to be there.
    3. Files are placed and listed. Then the hook says yes and git moves the branch, as its last step: the
       lock keeps everybody else off, so it moves unless git is killed.
    4. When git has ended, the branch is looked at. It moved: the record is dropped, the push is done. It did
       not: every path of the record goes back to what the branch has, then the record is dropped.

    A server that dies between 2 and 4 leaves the record, and its next start (or push) does step 4 first. So
    the index equals the branch, for the files that came by git, whenever no record is there. Where git cannot
    be seen from here (it runs at a node that died and shares the folder, or in another container), it may
    still run: then the branch is moved on by a commit that changes nothing, so that this git cannot move it
    any more, before its push is put back. A look that fails is no end that was seen.
    """

    most = 10_000

    def __init__(
        self,
        repositories: Repositories,
        arrivals: Arrivals,
        storage: Storage,
        *,
        command: Callable[[str], Sequence[str]],
        nudge: Callable[[Iterable[tuple[int, str]]], None],
        clock: Clock,
        node: str = "",
    ) -> None:
        self._repositories, self._arrivals, self._storage = repositories, arrivals, storage
        self._command, self._nudge, self._clock, self._node = command, nudge, clock, node

    def list(self) -> Sequence[str]:
        return self._repositories.list()

    @contextmanager
    def lock(self, index: str, seconds: float, objects: str | None = None) -> Iterator[Repository]:
        with self._repositories.lock(index, seconds=seconds):
            repository = self._repositories.get(index, objects)
            self._settle(index)
            yield repository

    def look(self, index: str) -> Repository:
        return self._repositories.get(index)

    def refresh(self, index: str) -> None:
        """Nothing: there is one repository."""

    def where(self, index: str) -> str:
        return self._repositories.where(index)

    def tip(self, index: str, repository: Repository) -> str | None:
        return repository.tip()

    def begin(self, index: str) -> None:
        self._repositories.prepare(index, self._command(index))
        with self.lock(index, END_WAIT) as repository:
            repository.sweep()

    def take(self, push: Push, held: ExitStack) -> None:
        """Write the record, place everything. Undone where it fails."""
        plan, repository, root = push.plan, push.repository, push.root
        if not push.arrivals and not plan.gone:
            return
        before = pushes.packages(repository.tree(push.update.old))
        coming = {arrival.put.path for arrival in push.arrivals}
        moved = [
            Moved(
                arrival.put.path,
                before[arrival.put.path].oid if arrival.put.path in before else None,
                arrival.put.oid,
                arrival.sha256,
                self._storage.stat(root, arrival.put.path) is None,
            )
            for arrival in push.arrivals
        ]
        moved += [Moved(path, before[path].oid, None) for path in plan.gone if path not in coming]
        name, update = push.who.name or "anonymous", push.update
        record = Record(update.old, update.new, root, name, push.process, tuple(moved), self._node)
        repository.keep(record)
        try:
            self._arrivals.place(push.index, root, push.arrivals, plan.gone, by=push.who)
        except BaseException as error:
            log.warning("a push to %s is put back: %s", push.index, error)
            self._put_back(push.index, record)
            raise
        self._nudge((root, path) for path in plan.gone)

    def finish(self, push: Push) -> None:
        self._settle(push.index, patient=True)

    def made(self, index: str, repository: Repository, old: str | None, new: str, *, by: Principal) -> None:
        if repository.tip() != new:
            repository.point(new, old)

    def restore(self, index: str, repository: Repository, wanted: Sequence[tuple[str, str | None]]) -> None:
        self._restore(index, repository, self._arrivals.folder(index), wanted, {})

    def enable(self, index: str) -> None:
        self._repositories.create(index, self._command(index))

    def disable(self, index: str) -> str:
        return self._repositories.put_aside(index)

    # --- what a record asks for -----------------------------------------------------------------------------

    def _settle(self, index: str, *, patient: bool = False) -> None:
        """End a push that has a record. For who holds the lock. Raises `Busy` where git still runs."""
        repository = self._repositories.get(index)
        record = repository.kept()
        if record is None:
            return
        end = time.monotonic() + END_WAIT
        while repository.tip() != record.new:
            late = time.monotonic() >= end
            # Git may still run, and nobody can see it.
            if record.node != self._node or (record.process is None and late):
                repository.fence(repository.tip(), by=record.by, now=self._clock())
                break
            if record.process is None:
                time.sleep(LOOK_SECONDS)
            elif self._repositories.await_end(record.process, 1.0):
                break
            elif late and not patient:
                raise Busy(f"A push to {index} is still under way. Try again in a moment.", retry_after=10)
        if pushes.undo(record, repository.tip()):
            log.warning("a push to %s by %s did not come to its end: it is put back", index, record.by)
            self._put_back(index, record)
        else:
            repository.keep(None)

    def _put_back(self, index: str, record: Record) -> None:
        """Have the index as the branch says at every path of a record, then drop it."""
        repository = self._repositories.get(index)
        wanted = [(file.path, file.old) for file in record.files]
        ours = {file.path: file.sha256 for file in record.files if file.fresh}
        self._restore(index, repository, record.root, wanted, ours)
        repository.keep(None)

    def _restore(
        self,
        index: str,
        repository: Repository,
        root: int,
        wanted: Sequence[tuple[str, str | None]],
        ours: Mapping[str, str | None],
    ) -> None:
        """Place blobs of the branch again; take away what is `ours` (path: sha256) and not wanted."""
        with ExitStack() as stages, repository.blobs() as copy:
            arrivals, gone = [], []
            for path, oid in wanted:
                if oid is None:
                    if path in ours and self._arrivals.digest(root, path) in (ours[path], None):
                        gone.append(path)
                    continue
                stage = stages.enter_context(self._arrivals.stage(index))
                copy(oid, stage.write)
                put = Put(path, oid, Kind.REPLACED)
                arrivals.append(self._arrivals.examine(index, put, stage, by=OPERATOR, force=True))
            self._arrivals.place(index, root, arrivals, gone, by=OPERATOR, force=True)
        self._nudge((root, path) for path, _ in wanted)
