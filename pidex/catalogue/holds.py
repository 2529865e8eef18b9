"""Releases and files that a person keeps back, own and mirrored ones alike, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import holds

Scope = Literal["release", "file"]


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. `target` is a canonical version (scope 'release') or a casefolded file name (scope 'file').

    `at` in microseconds since 1970, UTC.
    """

    project: str
    scope: Scope
    target: str
    reason: str
    by: str
    at: int


_COLUMNS = [holds.c[name] for name in Hold.__dataclass_fields__]
_HERE = holds.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE).order_by(holds.c.project, holds.c.scope, holds.c.target)
_OF_PROJECT = Prepared(_LIST.where(holds.c.project == bindparam("of_project")))
_PROJECTS = select(holds.c.project).distinct().where(_HERE)
_DELETE = delete(holds).where(
    _HERE,
    holds.c.project == bindparam("of_project"),
    holds.c.scope == bindparam("of_scope"),
    holds.c.target == bindparam("of_target"),
)


def list(conn: Connection, index_id: int) -> Sequence[Hold]:  # noqa: A001
    """All holds of an index."""
    return [Hold(*row) for row in conn.execute(_LIST, {"of_index": index_id})]


def list_project(conn: Connection, index_id: int, project: str) -> Sequence[Hold]:
    """The holds on a project."""
    return [Hold(*row) for row in _OF_PROJECT.all(conn, {"of_index": index_id, "of_project": project})]


def projects(conn: Connection, index_id: int) -> frozenset[str]:
    """The projects that have any."""
    return frozenset(conn.execute(_PROJECTS, {"of_index": index_id}).scalars())


def put(conn: Connection, index_id: int, hold: Hold) -> None:
    """Keep back, or change the reason."""
    row = {name: getattr(hold, name) for name in Hold.__dataclass_fields__}
    upserts.put(conn, holds, [{"index_id": index_id, **row}])


def lift(conn: Connection, index_id: int, project: str, scope: Scope, target: str) -> bool:
    """Let go. False where there was no such hold."""
    values = {"of_index": index_id, "of_project": project, "of_scope": scope, "of_target": target}
    return conn.execute(_DELETE, values).rowcount > 0
