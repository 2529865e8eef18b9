"""Advisories about public packages, taken in from elsewhere: looked up by project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, Table, Text, bindparam, delete, func, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import Name, metadata
from pidex.core.model import Advisory

#: `modified` as the record says it (RFC 3339), `body` the advisory as JSON.
advisories = Table(
    "advisories",
    metadata,
    Column("project", Name, primary_key=True),
    Column("id", Name, primary_key=True),
    Column("modified", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

_OF_PROJECT = Prepared(
    select(advisories.c.body).where(advisories.c.project == bindparam("of_project")).order_by(advisories.c.id)
)
_KNOWN = select(advisories.c.project, advisories.c.id, advisories.c.modified)
_DROP = delete(advisories).where(
    advisories.c.project == bindparam("of_project"), advisories.c.id == bindparam("of_id")
)


def list_project(conn: Connection, project: str) -> Sequence[Advisory]:
    """The advisories of a project, by normalised name."""
    return [_read(bytes(row[0])) for row in _OF_PROJECT.all(conn, {"of_project": project})]


def known(conn: Connection) -> Mapping[tuple[str, str], str]:
    """When each was last changed where it comes from, by project and id."""
    return {(row.project, row.id): row.modified for row in conn.execute(_KNOWN)}


def count(conn: Connection) -> tuple[int, int]:
    """How many advisories there are, and of how many projects."""
    numbers = select(func.count(advisories.c.id.distinct()), func.count(advisories.c.project.distinct()))
    ids, projects = conn.execute(numbers).one()
    return ids, projects


def put(conn: Connection, rows: Iterable[tuple[str, Advisory]]) -> None:
    """Take advisories in, by project, or their newer forms."""
    upserts.put(
        conn,
        advisories,
        (
            {"project": project, "id": each.id, "modified": each.modified, "body": msgspec.json.encode(each)}
            for project, each in rows
        ),
    )


def drop(conn: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Forget advisories, by project and id."""
    if keys:
        conn.execute(_DROP, [{"of_project": project, "of_id": id_} for project, id_ in keys])


@lru_cache(maxsize=1_024)
def _read(body: bytes) -> Advisory:
    return msgspec.json.decode(body, type=Advisory)
