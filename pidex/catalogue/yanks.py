"""Which releases and files people have yanked, and why (PEP 592, YNK-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import yanks

Scope = Literal["release", "file"]


@dataclass(frozen=True, slots=True)
class Yank:
    """One yank. `target` is a canonical version (scope 'release') or a casefolded file name (scope 'file').

    An empty `reason` is none. `at` in microseconds since 1970, UTC.
    """

    project: str
    scope: Scope
    target: str
    reason: str
    by: str
    at: int


_COLUMNS = [yanks.c[name] for name in Yank.__dataclass_fields__]
_HERE = yanks.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE).order_by(yanks.c.project, yanks.c.scope, yanks.c.target)
_OF_PROJECT = Prepared(_LIST.where(yanks.c.project == bindparam("of_project")))
_DELETE = delete(yanks).where(
    _HERE,
    yanks.c.project == bindparam("of_project"),
    yanks.c.scope == bindparam("of_scope"),
    yanks.c.target == bindparam("of_target"),
)


def list(conn: Connection, index_id: int) -> Sequence[Yank]:  # noqa: A001
    """All yanks of an index."""
    return [Yank(*row) for row in conn.execute(_LIST, {"of_index": index_id})]


def list_project(conn: Connection, index_id: int, project: str) -> Sequence[Yank]:
    """The yanks of a project."""
    values = {"of_index": index_id, "of_project": project}
    return [Yank(*row) for row in _OF_PROJECT.all(conn, values)]


def put(conn: Connection, index_id: int, yank: Yank) -> None:
    """Yank, or change the reason."""
    row = {name: getattr(yank, name) for name in Yank.__dataclass_fields__}
    upserts.put(conn, yanks, [{"index_id": index_id, **row}])


def lift(conn: Connection, index_id: int, project: str, scope: Scope, target: str) -> bool:
    """Take a yank back. False where there was none."""
    values = {"of_index": index_id, "of_project": project, "of_scope": scope, "of_target": target}
    return conn.execute(_DELETE, values).rowcount > 0
