"""What taking pushes needs: repositories, as `backends` makes them, the rights, and what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.core.pushes import Plan, Record, Tree, Update
from pidex.intake.pushes import Arrival


class Rights(Protocol):
    """Who may do what (accounts)."""

    def allows(self, by: Principal, action: Action, index: str | None, project: str | None = None) -> bool:
        """Whether `by` may do `action` to `project` in `index`."""


class Repository(Protocol):
    """A bare repository (backends.git)."""

    mark: str

    def tip(self) -> str | None: ...
    def tree(self, commit: str | None, *, sizes: bool = False) -> Tree: ...
    def is_ancestor(self, older: str, newer: str) -> bool: ...
    def blobs(self) -> AbstractContextManager[Callable[[str, Callable[[bytes], object]], int]]: ...
    def blob(self, oid: str, most: int) -> bytes: ...
    def remove(self, paths: Iterable[str], *, by: str, message: str, now: float) -> str | None: ...
    def commit_files(
        self, files: Iterable[tuple[str, int, Iterator[bytes]]], *, by: str, message: str, now: float
    ) -> int: ...
    def point(self, commit: str | None, old: str | None) -> None: ...
    def fence(self, tip: str | None, *, by: str, now: float) -> None: ...
    def incoming(self) -> Sequence[Path]: ...
    def keep(self, record: Record | None) -> None: ...
    def kept(self) -> Record | None: ...
    def sweep(self) -> None: ...


class Repositories(Protocol):
    """All of them (backends.git)."""

    def list(self) -> Sequence[str]: ...
    def exists(self, index: str) -> bool: ...
    def where(self, index: str) -> str: ...
    def get(self, index: str, objects: str | None = None) -> Repository: ...
    def create(self, index: str, command: Sequence[str]) -> Repository: ...
    def prepare(self, index: str, command: Sequence[str]) -> None: ...
    def put_aside(self, index: str) -> str: ...
    def lock(self, index: str, *, seconds: float, what: str = ...) -> AbstractContextManager[None]: ...
    def running(self, pid: int, started: str) -> tuple[int, str] | None: ...
    def await_end(self, of: tuple[int, str], seconds: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Push:
    """A push that may be taken. `process` is git's, as far as it can be seen; `root`: where its files go."""

    index: str
    root: int
    repository: Repository
    update: Update
    plan: Plan
    arrivals: Sequence[Arrival]
    process: tuple[int, str] | None
    who: Principal


class Truth(Protocol):
    """What says where a branch stands, and so what becomes of a push that is cut."""

    most: int  # packages that one push may change

    def list(self) -> Sequence[str]:
        """The indexes that have a repository of this kind."""

    def lock(
        self, index: str, seconds: float, objects: str | None = None
    ) -> AbstractContextManager[Repository]:
        """Be the only one here who changes the branch, with what was cut settled. `Busy`, `NotFound`."""

    def look(self, index: str) -> Repository:
        """The repository as it is now. Raises `NotFound`."""

    def refresh(self, index: str) -> None:
        """Have what lies on this machine as it is elsewhere by now."""

    def where(self, index: str) -> str | None:
        """Where the repository lies on this machine; None where that is only a copy."""

    def tip(self, index: str, repository: Repository) -> str | None:
        """Where the branch stands."""

    def begin(self, index: str) -> None:
        """Prepare the repository for this start, and end what was cut."""

    def take(self, push: Push, held: ExitStack) -> None:
        """Place and list everything for good. `held` is left when git has ended."""

    def finish(self, push: Push) -> None:
        """After the hook said yes: see what git makes of it, and that both agree."""

    def made(self, index: str, repository: Repository, old: str | None, new: str, *, by: Principal) -> None:
        """Move the branch to a commit of ours."""

    def restore(self, index: str, repository: Repository, wanted: Sequence[tuple[str, str | None]]) -> None:
        """Place these blobs of the branch again, by their paths."""

    def enable(self, index: str) -> None:
        """Have a repository, new or as it was when it was put aside."""

    def disable(self, index: str) -> str:
        """Put it aside; where it is now."""
