"""Indexes in a bucket: the catalogue says where a branch stands, and moves it with the files of a push."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pidex.core.model import OPERATOR, Principal
from pidex.core.pushes import Kind, Put
from pidex.ingress.recorded import END_WAIT
from pidex.ingress.repositories import Push, Repository
from pidex.intake.branches import Branches, Move
from pidex.intake.pushes import Arrivals

#: Seconds between two looks at the branch of a copy that git is about to move.
LOOK_SECONDS = 0.05


class Decided:
    """The truth of branches in the catalogue, for a bucket and for all nodes of a cluster.

    The argument that no acknowledged push is lost, and that index and branch agree. A push comes to any node:

    1. Its copy of the repository is brought up to date, and everything is inspected, as ever.
    2. The bytes of its packages and its pack are sent to the bucket. Nobody names them yet.
    3. One transaction lists and unlists the files and moves the branch, from where the push expects it. Of
       pushes through several nodes one does, and the others are refused: they fetch first.
    4. Then the hook says yes, and git moves the branch of the copy. Whatever becomes of that, of git and of
       the node: the push is done, and each copy is brought up to date before it is used.

    Killed before 3 nothing happened; after it everything. There is nothing to undo.
    """

    most = 2_000  # they are listed in one transaction

    def __init__(self, branches: Branches, arrivals: Arrivals) -> None:
        self._branches, self._arrivals = branches, arrivals
        self._copies = branches.copies

    def holds(self, index: str) -> bool:
        """Whether an index lies in the bucket."""
        return self._branches.holds(index)

    def list(self) -> Sequence[str]:
        return self._branches.list()

    @contextmanager
    def lock(self, index: str, seconds: float, objects: str | None = None) -> Iterator[Repository]:
        with self._copies.lock(index, seconds=seconds):
            if objects is None:  # git, which has asked for the objects, has read the branch already
                yield self._branches.refresh(index)
            else:
                yield self._copies.get(index, objects)

    def look(self, index: str) -> Repository:
        return self._branches.refresh(index)

    def refresh(self, index: str) -> None:
        self._branches.refresh(index)

    def where(self, index: str) -> None:
        return None

    def tip(self, index: str, repository: Repository) -> str | None:
        return self._branches.tip(index)

    def begin(self, index: str) -> None:
        self._branches.prepare(index)
        with self._copies.lock(index, seconds=END_WAIT):
            self._copies.get(index).sweep()

    def take(self, push: Push, held: ExitStack) -> None:
        """Steps 2 and 3; from here on nobody else moves the copy's branch, until git has."""
        assert push.update.new is not None, "the branch is not deleted"
        brought = self._branches.store(push.repository.incoming())
        self._arrivals.send(push.index, push.arrivals)
        held.enter_context(self._branches.hold(push.index))
        move = Move(push.update.old, push.update.new, brought)
        self._arrivals.place_with(
            self._branches, push.index, push.arrivals, push.plan.removed, move, by=push.who
        )

    def finish(self, push: Push) -> None:
        repository, end = self._copies.get(push.index), time.monotonic() + END_WAIT
        while repository.tip() != push.update.new and time.monotonic() < end:
            if push.process is None:
                time.sleep(LOOK_SECONDS)
            elif self._copies.await_end(push.process, LOOK_SECONDS):
                break
        self._branches.settled(push.index, repository)

    def made(self, index: str, repository: Repository, old: str | None, new: str, *, by: Principal) -> None:
        self._branches.commit(index, self._copies.get(index), old, new, by=by)

    def restore(self, index: str, repository: Repository, wanted: Sequence[tuple[str, str | None]]) -> None:
        tip = self._branches.tip(index)
        with ExitStack() as stages, repository.blobs() as copy:
            arrivals = []
            for path, oid in wanted:
                assert oid is not None, "what the branch has"
                stage = stages.enter_context(self._arrivals.stage(index))
                copy(oid, stage.write)
                put = Put(path, oid, Kind.REPLACED)
                arrivals.append(self._arrivals.examine(index, put, stage, by=OPERATOR, force=True))
            assert tip is not None, "it has files"
            self._arrivals.send(index, arrivals)
            move = Move(tip, tip)
            self._arrivals.place_with(self._branches, index, arrivals, (), move, by=OPERATOR, force=True)

    def enable(self, index: str) -> None:
        self._branches.enable(index)
        self._branches.prepare(index)

    def disable(self, index: str) -> str:
        self._branches.enable(index, enabled=False)
        return "the bucket"
