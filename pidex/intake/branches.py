"""Branches of git of indexes in a bucket: where they stand is decided, repositories are copies."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.backends.git import Failed
from pidex.catalogue import branches, garbage, indexes, moves
from pidex.catalogue.branches import Branch, Pack
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.errors import Busy, Conflict, NotFound
from pidex.core.folder import roots_of
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import Principal

if TYPE_CHECKING:
    from pidex.backends.git import Repository
    from pidex.backends.objects.packs import Packs
    from pidex.backends.repositories import Repositories

#: Seconds that somebody waits for a copy that is being brought up to date, or whose branch is moving.
HOLD_WAIT = 60.0
#: What somebody is told to wait whose pack is being cleared away at this moment, in seconds.
RETRY_SECONDS = 5

log = logging.getLogger("pidex.git")


@dataclass(frozen=True, slots=True)
class Move:
    """Where a branch stood, where it is to stand, and the packs that lead there."""

    old: str | None
    new: str
    brought: Sequence[Pack] = ()


class Branches:
    """The branches of indexes that lie in the bucket.

    Where a branch stands is a row, what leads there are packs, objects of the bucket. Each node has a copy of
    the repository, which git works on: it may be lost or behind at any time, and is brought up to date before
    anybody reads it or pushes to it. A push moves the row in the transaction that lists its files, before git
    moves the copy's branch: of two pushes through different nodes one finds that it has been moved.

    `copies` are the repositories here; `command(index)` is what their hooks run. Thread-safe, and safe beside
    other processes that have the same copies.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        copies: Repositories,
        packs: Packs | None,
        *,
        command: Callable[[str], Sequence[str]],
        clock: Clock,
    ) -> None:
        self._catalogue, self._storage, self._clock = catalogue, storage, clock
        self.copies, self._packs, self._command = copies, packs, command

    # --- what there is --------------------------------------------------------------------------------------

    def holds(self, index: str) -> bool:
        """Whether an index lies in the bucket."""
        if self._packs is None:
            return False
        with self._catalogue.read() as conn:
            here = indexes.find(conn, index)
            roots = [] if here is None else roots_of(self._storage.roots, here.name, here.id)
        return bool(roots) and not any(root in self._storage.folders for root in roots)

    def exists(self, index: str) -> bool:
        """Whether an index in the bucket has a branch."""
        return self.holds(index) and self._find(index) is not None

    def list(self) -> Sequence[str]:
        """The indexes that have one."""
        if self._packs is None:
            return []
        with self._catalogue.read() as conn:
            return branches.list(conn)

    def tip(self, index: str) -> str | None:
        """Where the branch stands. Raises `NotFound`."""
        return self._get(index)[1].tip

    def _find(self, index: str) -> tuple[int, Branch] | None:
        with self._catalogue.read() as conn:
            here = indexes.find(conn, index)
            found = None if here is None else branches.find(conn, here.id)
        return None if here is None or found is None or not found.enabled else (here.id, found)

    def _get(self, index: str) -> tuple[int, Branch]:
        found = self._find(index)
        if found is None:
            raise NotFound(f"The index {index} has no git repository: `pidex git enable` makes one.")
        return found

    # --- copies ---------------------------------------------------------------------------------------------

    def hold(self, index: str) -> AbstractContextManager[None]:
        """Nobody else moves the branch of the copy here. Raises `Busy`."""
        return self.copies.lock(index, seconds=HOLD_WAIT, what="moving")

    def refresh(self, index: str) -> Repository:
        """The copy here, with its branch where it stands now. Raises `NotFound`, `Busy`, `StorageDown`."""
        if self._stands(index):
            return self.copies.get(index)
        with self.hold(index):
            try:
                return self._catch_up(index)
            except Failed as error:
                log.warning("the copy of the repository of %s is made anew: %s", index, error)
                shutil.rmtree(self.copies.path(index), ignore_errors=True)
                return self._catch_up(index)

    def _stands(self, index: str) -> bool:
        number, branch = self._get(index)
        return self.copies.exists(index) and self.copies.get(index).mark == _mark(number, branch)

    def _catch_up(self, index: str) -> Repository:
        """Fetch what the copy lacks. For who holds it."""
        number, branch = self._get(index)
        repository = self.copies.get(index) if self.copies.exists(index) else None
        former, taken = _marked("" if repository is None else repository.mark)
        if repository is None or former not in (number, 0) or taken > branch.packs:
            shutil.rmtree(self.copies.path(index), ignore_errors=True)
            repository, taken = self.copies.create(index, self._command(index)), 0
        with self._catalogue.read() as conn:
            lacking = branches.list_packs(conn, number, after=taken)[: branch.packs - taken]
        assert self._packs is not None, "an index lies in the bucket"
        for pack in lacking:
            try:
                repository.take(self._packs.read(pack.sha256), pack.sha256)
            except FileNotFoundError:
                raise Conflict(f"The bucket lacks the pack {pack.sha256} of {index}.") from None
        tip = repository.tip()
        if tip != branch.tip:
            repository.point(branch.tip, tip)
        repository.mark = _mark(number, branch)
        return repository

    def settled(self, index: str, repository: Repository) -> None:
        """Note that the copy has all that its branch has. For who holds it, and has moved both."""
        number, branch = self._get(index)
        if repository.tip() == branch.tip:
            repository.mark = _mark(number, branch)

    def prepare(self, index: str) -> None:
        """Have the copy here as this start of the program wants it."""
        self.refresh(index)
        self.copies.prepare(index, self._command(index))

    # --- changes --------------------------------------------------------------------------------------------

    def store(self, paths: Sequence[Path]) -> Sequence[Pack]:
        """Have packs in the bucket, for good: before the branch moves by them.

        Raises `StorageDown`, and `Busy` while one is being cleared away.
        """
        assert self._packs is not None, "an index lies in the bucket"
        return [Pack(*self._packs.put(path, self._spare)) for path in paths]

    def _spare(self, sha256: str) -> None:
        """Have a pack that a push left once, and that another one brings again, stay for seven days more."""
        noted = garbage.pack(sha256)
        with self._catalogue.read() as conn:
            if not garbage.is_noted(conn, noted):
                return
        with self._catalogue.write() as conn:
            if garbage.dropping(conn, [noted]):
                raise Busy(
                    "The bucket is about to be without this pack. Push again in a moment.",
                    retry_after=RETRY_SECONDS,
                )
            garbage.unmark(conn, [noted])

    def advance(self, conn: Connection, number: int, move: Move, *, by: Principal) -> None:
        """Move a branch in the caller's writing transaction. Raises `Conflict` where it stands elsewhere."""
        moves.check(conn, fresh=True)
        at, name = int(self._clock() * 1_000_000), by.name or "anonymous"
        if not branches.move(conn, number, move.old, move.new, move.brought, by=name, at=at):
            raise Conflict("Somebody else has pushed meanwhile: fetch first.")

    def commit(self, index: str, repository: Repository, old: str | None, new: str, *, by: Principal) -> None:
        """Move the branch to a commit that was made in the copy here. Raises `Conflict`, `StorageDown`."""
        with self.hold(index), repository.packed(old, new) as path:
            brought = self.store([path])
            with self._catalogue.write() as conn:
                self.advance(conn, _number(conn, index), Move(old, new, brought), by=by)
            if repository.tip() != new:
                repository.point(new, old)
            self.settled(index, repository)

    def enable(self, index: str, enabled: bool = True) -> None:
        """Have a branch, new or as it was, or put it aside."""
        with self._catalogue.write() as conn:
            branches.enable(conn, _number(conn, index), enabled)


def _number(conn: Connection, index: str) -> int:
    found = indexes.find(conn, index)
    if found is None:
        raise NotFound(f"There is no index {index!r}.")
    return found.id


def _mark(number: int, branch: Branch) -> str:
    """What a copy says of itself that has all that a branch has."""
    return f"{number}:{branch.packs}:{branch.tip or ''}"


def _marked(mark: str) -> tuple[int, int]:
    """The index and the number of packs of a mark; zeros where there is none."""
    number, _, rest = mark.partition(":")
    count = rest.partition(":")[0]
    return (int(number), int(count)) if number.isdigit() and count.isdigit() else (0, 0)
