"""What every change needs: who may make it, what it is about, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pidex.catalogue import files, indexes, journal, projects, statuses
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import changes, names
from pidex.core.changes import Change
from pidex.core.errors import NotFound
from pidex.core.folder import Key
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import File, Look, Place, Principal
from pidex.core.permissions import Action
from pidex.intake import Intake
from pidex.intake.batch import Batch


class Rights(Protocol):
    """Who may do what (accounts)."""

    def allows(self, by: Principal, action: Action, index: str | None, project: str | None = None) -> bool:
        """Whether `by` may do `action` to `project` in `index`."""

    def require(self, by: Principal, action: Action, index: str, project: str | None = None) -> None:
        """Raise what the caller is to be told who may not: never by whether the project exists."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a change is about, found in the catalogue: files of one project of one index."""

    index: indexes.Index
    project: str
    version: str | None
    filename: str | None
    files: tuple[File, ...]


class Desk:
    """The parts that changes are made with, and what each of them begins with."""

    def __init__(
        self, catalogue: Catalogue, storage: Storage, intake: Intake, accounts: Rights, clock: Clock
    ) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._intake = intake
        self._accounts = accounts
        self._clock = clock

    def _allowed(self, by: Principal, action: Action, index: str, project: str) -> str:
        """The normalised name of a project on which the caller may do an action; else raises why not."""
        if not names.is_name(project):
            self._accounts.require(by, action, index)
            raise NotFound(f"{project[:100]!r} cannot be the name of a project.")
        project = names.normalize(project)
        self._accounts.require(by, action, index, project)
        return project

    def _target(
        self, conn: Connection, index: str, project: str, version: str | None, filename: str | None
    ) -> Target:
        """The files that are named: all of a project, those of a release, or one. Raises `NotFound`."""
        here = index_of(conn, index)
        found = files.list_project(conn, here.id, project)
        if not found:
            raise absent(project)
        if version is not None:
            found = [file for file in found if changes.release(file.version) == changes.release(version)]
            if not found:
                raise NotFound(f"Index {index} has no release {version} of project {project}.")
        if filename is not None:
            found = [file for file in found if file.filename.casefold() == filename.casefold()]
            if not found:
                raise NotFound(f"Index {index} has no file {filename} of project {project}.")
        return Target(here, project, version, filename, tuple(found))

    def _tell(self, conn: Connection, target: Target, by: Principal, events: Sequence[journal.Event]) -> None:
        """Write to the journal, and have the project's serial follow."""
        journal.record_many(conn, target.index.id, events, at=self._now(), by=name_of(by))
        projects.refresh(conn, target.index.id, [target.project])

    def _settle(
        self,
        conn: Connection,
        index: str,
        keys: Sequence[str],
        by: Principal,
        *,
        look: Look | None = None,
        gone: Sequence[Key] = (),
    ) -> None:
        """Elect anew what names stand for, after a decision about them changed.

        `look`: a file that came; `gone`: paths at which nothing of theirs lies any more.
        """
        batch = Batch(conn, index, keys, self._storage, now=self._clock(), by=by)
        if look is not None and look.facts is not None:
            kind = names.parse(look.entry.path.rpartition("/")[2]).packagetype
            place = Place(*look.entry, look.state, look.facts.sha256)
            batch.arrive([place], gone, {(look.facts.sha256, kind): look.facts})
        for key in sorted(keys):
            batch.settle(key, first=False)
        batch.write()

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def index_of(conn: Connection, name: str) -> indexes.Index:
    found = indexes.find(conn, name)
    if found is None:
        raise NotFound(f"There is no index {name}.")
    return found


def known(conn: Connection, index: indexes.Index, project: str) -> None:
    """Raise `NotFound` for a project that has neither files nor a status nor anybody's rights."""
    if projects.find(conn, index.id, project) is None and statuses.find(conn, index.id, project) is None:
        raise absent(project)


def absent(project: str) -> NotFound:
    """In the words of `accounts.require`: what is not there answers as what may not be known of."""
    return NotFound(f"There is no project {project}.")


def outcome(target: Target, changed: bool) -> Change:
    return Change(
        target.index.name,
        target.project,
        target.version,
        target.filename,
        tuple(file.filename for file in target.files),
        changed,
    )


def name_of(by: Principal) -> str:
    return by.name or "anonymous"
