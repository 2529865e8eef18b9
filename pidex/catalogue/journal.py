"""The journal: every change that a reader can see, numbered in the order of commits (SER-1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import counters, indexes, journal
from pidex.core.listing import REFRESH

#: Rows fetched at once by `told` and `newest`.
FETCH_ROWS = 1000


class Event(NamedTuple):
    """Something that happened to a project. `action` is one word: 'add', 'replace', 'remove', 'yank'."""

    project: str
    action: str
    version: str | None = None
    filename: str | None = None


class Change(NamedTuple):
    """A line of the journal. `at` in microseconds since 1970, UTC."""

    serial: int
    index_id: int
    project: str
    version: str | None
    action: str
    filename: str | None
    at: int
    by: str


_TAKE = Prepared(
    update(counters)
    .where(counters.c.name == "serial")
    .values(value=counters.c.value + bindparam("count"))
    .returning(counters.c.value)
)
_INSERT = Prepared(insert(journal))
_SERIAL = Prepared(select(counters.c.value).where(counters.c.name == "serial"))
_COLUMNS = [journal.c[name] for name in Change._fields]
_SINCE = (
    select(*_COLUMNS)
    .where(journal.c.serial > bindparam("since"))
    .order_by(journal.c.serial)
    .limit(bindparam("most"))
)
_TOUCHED = Prepared(
    select(indexes.c.name, journal.c.project)
    .distinct()
    .select_from(journal.join(indexes, indexes.c.id == journal.c.index_id))
    .where(journal.c.serial > bindparam("since"))
)
_OF_PROJECT = (
    select(*_COLUMNS)
    .where(journal.c.index_id == bindparam("index_id"), journal.c.project == bindparam("project"))
    .order_by(journal.c.serial.desc())
    .limit(bindparam("most"))
)
# What happened to projects; rows of other kinds are for pidex itself.
_TOLD = (
    select(*_COLUMNS)
    .where(journal.c.index_id == bindparam("index_id"), journal.c.action != REFRESH, journal.c.project != "")
    .execution_options(yield_per=FETCH_ROWS)
)
_ASCENDING = _TOLD.where(journal.c.serial > bindparam("since"), journal.c.at > bindparam("after")).order_by(
    journal.c.serial
)
_DESCENDING = _TOLD.order_by(journal.c.serial.desc())
_LATEST = Prepared(
    select(journal.c.project, func.max(journal.c.serial))
    .where(
        journal.c.index_id == bindparam("index_id"),
        journal.c.project.in_(bindparam("projects", expanding=True)),
    )
    .group_by(journal.c.project),
    many="projects",
)


def record(
    conn: Connection,
    index_id: int,
    project: str,
    action: str,
    *,
    version: str | None = None,
    filename: str | None = None,
    at: int,
    by: str,
) -> int:
    """Write one change in the caller's transaction and return its serial. `at` in microseconds since 1970."""
    return record_many(conn, index_id, [Event(project, action, version, filename)], at=at, by=by)


def record_many(conn: Connection, index_id: int, events: Sequence[Event], *, at: int, by: str) -> int:
    """Write changes in their order, with consecutive serials, and return the newest serial."""
    if not events:
        return serial(conn)
    last = int(_TAKE.one(conn, {"count": len(events)})[0])
    first = last - len(events) + 1
    rows = [
        {"serial": number, "index_id": index_id, "at": at, "by": by, **event._asdict()}
        for number, event in enumerate(events, first)
    ]
    _INSERT.run(conn, rows)
    return last


def serial(conn: Connection) -> int:
    """The newest serial; 0 before the first change."""
    return int(_SERIAL.one(conn, {})[0])


def since(conn: Connection, after: int, limit: int) -> list[Change]:
    """The changes after a serial, oldest first, at most `limit`."""
    return [Change(*row) for row in conn.execute(_SINCE, {"since": after, "most": limit})]


def told(conn: Connection, index_id: int, *, since: int = 0, after: int = 0) -> Iterator[Change]:
    """What happened to the projects of an index after a serial and after a time, oldest first.

    `after` in microseconds since 1970. The connection stays busy until the end.
    """
    rows = conn.execute(_ASCENDING, {"index_id": index_id, "since": since, "after": after})
    for row in rows:
        yield Change(*row)


def newest(conn: Connection, index_id: int) -> Iterator[Change]:
    """What happened to the projects of an index, newest first. The connection stays busy until the end."""
    for row in conn.execute(_DESCENDING, {"index_id": index_id}):
        yield Change(*row)


def touched(conn: Connection, after: int) -> list[tuple[str, str]]:
    """The (index name, project) pairs with changes after a serial, each once."""
    return [(name, project) for name, project in _TOUCHED.all(conn, {"since": after})]


def of_project(conn: Connection, index_id: int, project: str, limit: int) -> list[Change]:
    """The last changes of a project, newest first, at most `limit`."""
    rows = conn.execute(_OF_PROJECT, {"index_id": index_id, "project": project, "most": limit})
    return [Change(*row) for row in rows]


def latest(conn: Connection, index_id: int, projects: Iterable[str]) -> Mapping[str, int]:
    """The serial of the last change of each project that has one."""
    rows = _LATEST.all(conn, {"index_id": index_id, "projects": [*projects]})
    return {project: int(number) for project, number in rows}
