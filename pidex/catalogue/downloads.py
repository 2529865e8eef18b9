"""How often files were downloaded, by day, client and Python: first in cache.db, then decided, by sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlalchemy.dialects import sqlite

from pidex.catalogue import upserts
from pidex.catalogue.expendable import Expendable, counted
from pidex.catalogue.tables import downloads, files, yanks

#: Lines that wait in cache.db at most; beyond it new ones are not counted.
MAX_WAITING = 200_000
#: The day of sums over all days that are no longer told apart.
EARLIER = 0


class Count(NamedTuple):
    """So many downloads of a file on a day (days since 1970, UTC) by a client for a Python."""

    index_name: str
    day: int
    project: str
    filename: str
    client: str
    python: str
    version: str
    number: int


class Sum(NamedTuple):
    """Downloads of a file of a project on a day."""

    day: int
    version: str
    filename: str
    client: str
    python: str
    number: int


_KEYS = ("index_id", "day", "project", "filename", "client", "python")
_OF = downloads.c.index_id == bindparam("of_index")
_SINCE = downloads.c.day >= bindparam("since")
_SUM = func.sum(downloads.c.number)
_PROJECT = (
    select(*(downloads.c[name] for name in Sum._fields))
    .where(_OF, downloads.c.project == bindparam("of_project"), _SINCE)
    .order_by(downloads.c.day)
)
_BY_CLIENT = (
    select(downloads.c.project, downloads.c.client, downloads.c.python, _SUM)
    .where(_OF, _SINCE)
    .group_by(downloads.c.project, downloads.c.client, downloads.c.python)
)
_BY_DAY = (
    select(downloads.c.project, downloads.c.day, _SUM)
    .where(_OF, _SINCE)
    .group_by(downloads.c.project, downloads.c.day)
)
#: Sums over all projects of an index, by what is told of it.
_TOTALS = {
    name: select(column, _SUM).where(_OF, _SINCE).group_by(column)
    for name, column in (
        ("day", downloads.c.day),
        ("client", downloads.c.client),
        ("python", downloads.c.python),
    )
}
_BY_PROJECT = (
    select(downloads.c.project, _SUM)
    .where(_OF, _SINCE)
    .group_by(downloads.c.project)
    .order_by(_SUM.desc(), downloads.c.project)
    .limit(bindparam("most"))
)
_NEVER = (
    select(
        files.c.project, files.c.name, files.c.version, files.c.filename, files.c.size, files.c.upload_time
    )
    .where(
        files.c.index_id == bindparam("of_index"),
        files.c.upload_time < bindparam("before"),
        files.c.filename.not_in(select(downloads.c.filename)),
    )
    .order_by(files.c.upload_time, files.c.key)
)
_OF_YANKED = (
    select(
        downloads.c.project, downloads.c.version, downloads.c.filename, downloads.c.client,
        downloads.c.python, _SUM, func.max(downloads.c.day),
    )
    .where(
        _OF,
        _SINCE,
        downloads.c.project.in_(select(yanks.c.project).where(yanks.c.index_id == bindparam("of_index"))),
    )
    .group_by(
        downloads.c.project, downloads.c.version, downloads.c.filename, downloads.c.client, downloads.c.python
    )
)  # fmt: skip
_OLD = (
    select(downloads.c.day).where(downloads.c.day > EARLIER, downloads.c.day < bindparam("before")).limit(1)
)


# --- in cache.db --------------------------------------------------------------------------------------------


def note(expendable: Expendable, counts: Iterable[Count]) -> None:
    """Add downloads to those that wait. What cannot be written is not counted."""
    rows = [each._asdict() for each in counts]
    if not rows:
        return

    def put(conn: Connection) -> None:
        if int(conn.execute(select(func.count()).select_from(counted)).scalar_one()) >= MAX_WAITING:
            return
        row = sqlite.insert(counted)
        conn.execute(
            row.on_conflict_do_update(
                index_elements=[column.name for column in counted.primary_key],
                set_={"number": counted.c.number + row.excluded.number},
            ),
            rows,
        )

    expendable.run(put, None, write=True)


def take(expendable: Expendable) -> Sequence[Count]:
    """The downloads that wait, which no longer do."""
    columns = [counted.c[name] for name in Count._fields]
    nothing: Sequence[Count] = ()
    if not expendable.run(lambda conn: conn.execute(select(counted.c.day).limit(1)).first(), None):
        return nothing
    query = delete(counted).returning(*columns)
    return expendable.run(lambda conn: [Count(*row) for row in conn.execute(query)], nothing, write=True)


# --- in the catalogue ---------------------------------------------------------------------------------------


def add(conn: Connection, counts: Iterable[Count], indexes: Mapping[str, int]) -> None:
    """Add downloads to the sums, of indexes that are there (their numbers by name)."""
    rows = []
    for each in counts:
        if each.index_name in indexes:
            row = each._asdict()
            row["index_id"] = indexes[row.pop("index_name")]
            rows.append(row)
    if rows:
        _add(conn, rows)


def fold(conn: Connection, before: int) -> int:
    """Make one sum of each file's days before a day; how many lines that were."""
    old = (downloads.c.day > EARLIER, downloads.c.day < before)
    told = (downloads.c.index_id, downloads.c.project, downloads.c.filename, downloads.c.version)
    rows = [
        {
            "index_id": index, "project": project, "filename": filename, "version": version,
            "number": int(number), "day": EARLIER, "client": "", "python": "",
        }
        for index, project, filename, version, number in conn.execute(
            select(*told, _SUM).where(*old).group_by(*told)
        )
    ]  # fmt: skip
    if rows:
        _add(conn, rows)
    return conn.execute(delete(downloads).where(*old)).rowcount


def list_project(conn: Connection, index_id: int, project: str, since: int) -> Sequence[Sum]:
    """The downloads of a project since a day."""
    values = {"of_index": index_id, "of_project": project, "since": since}
    return [Sum(*row) for row in conn.execute(_PROJECT, values)]


def totals(conn: Connection, index_id: int, since: int, most: int) -> Mapping[str, Sequence[tuple[Any, int]]]:
    """Sums since a day by 'day', 'client', 'python' and (the `most` used) 'project', of all projects."""
    asked = {"of_index": index_id, "since": since}
    found = {
        name: [(key, int(number)) for key, number in conn.execute(statement, asked)]
        for name, statement in _TOTALS.items()
    }
    rows = conn.execute(_BY_PROJECT, {**asked, "most": most})
    return {**found, "project": [(project, int(number)) for project, number in rows]}


def by_client(conn: Connection, index_id: int, since: int) -> Sequence[tuple[str, str, str, int]]:
    """(project, client, Python, downloads) since a day."""
    rows = conn.execute(_BY_CLIENT, {"of_index": index_id, "since": since})
    return [(project, client, python, int(number)) for project, client, python, number in rows]


def by_day(conn: Connection, index_id: int, since: int) -> Sequence[tuple[str, int, int]]:
    """(project, day, downloads) since a day."""
    rows = conn.execute(_BY_DAY, {"of_index": index_id, "since": since})
    return [(project, int(day), int(number)) for project, day, number in rows]


def never(conn: Connection, index_id: int, before: int) -> Iterable[tuple[str, str, str, str, int, int]]:
    """(project, name, version, file, size, listed) of files listed before a time that nobody downloaded.

    Not from any index, oldest first. `before` in microseconds since 1970.
    """
    rows = conn.execute(_NEVER, {"of_index": index_id, "before": before})
    return (tuple(row) for row in rows)


def of_yanked(
    conn: Connection, index_id: int, since: int
) -> Iterable[tuple[str, str, str, str, str, int, int]]:
    """(project, version, file, client, Python, downloads, last day) of projects that have anything yanked."""
    rows = conn.execute(_OF_YANKED, {"of_index": index_id, "since": since})
    return ((*row[:5], int(row[5]), int(row[6])) for row in rows)


def is_old(conn: Connection, before: int) -> bool:
    """Whether there are days before a day that are still told apart."""
    return conn.execute(_OLD, {"before": before}).first() is not None


def _add(conn: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    row = upserts.insert_into(downloads, conn.dialect)
    total = {"number": downloads.c.number + row.excluded.number}
    conn.execute(row.on_conflict_do_update(index_elements=_KEYS, set_=total), rows)
