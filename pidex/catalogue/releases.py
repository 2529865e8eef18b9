"""The releases of an index: newest first, what their files say of themselves, and which hold a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select

from pidex.catalogue import upserts
from pidex.catalogue.tables import contents, files
from pidex.core.names import normalize
from pidex.core.queries import Query

#: Rows fetched at once by `newest` and `newcomers`.
FETCH_ROWS = 200
#: Files that are looked at for the newest releases, before all are.
LATEST_FILES = 100


class First(NamedTuple):
    """A release, or a project, by the time of its first file (microseconds). `key`: one of its files."""

    project: str
    version: str
    at: int
    key: str


_HERE = files.c.index_id == bindparam("of_index")
_at = func.min(files.c.upload_time)
_READ_AS = and_(contents.c.sha256 == files.c.sha256, contents.c.kind == files.c.packagetype)
_NEWEST = (
    select(files.c.project, files.c.version, _at, func.min(files.c.key))
    .where(_HERE)
    .group_by(files.c.project, files.c.version)
    .order_by(_at.desc(), files.c.project, files.c.version)
    .execution_options(yield_per=FETCH_ROWS)
)
_OF_PROJECT = _NEWEST.where(files.c.project == bindparam("of_project"))
_LATEST = (
    select(files.c.project, files.c.version, files.c.upload_time)
    .where(_HERE)
    .order_by(files.c.upload_time.desc())
    .limit(bindparam("most"))
)
_OF_PROJECTS = _NEWEST.where(files.c.project.in_(bindparam("projects", expanding=True)))
_NEWCOMERS = (
    select(files.c.project, func.max(files.c.version), _at, func.max(files.c.key))
    .where(_HERE)
    .group_by(files.c.project)
    .order_by(_at.desc(), files.c.project)
    .execution_options(yield_per=FETCH_ROWS)
)
_DESCRIBED = (
    select(files.c.key, files.c.name, contents.c.summary)
    .select_from(files.outerjoin(contents, _READ_AS))
    .where(_HERE, files.c.key.in_(bindparam("keys", expanding=True)))
)
_CANDIDATES = select(files.c.project).distinct().select_from(files.outerjoin(contents, _READ_AS)).where(_HERE)


def newest(conn: Connection, index_id: int, project: str | None = None) -> Iterator[First]:
    """Releases by their spelled version, newest first, of one project or all.

    The connection stays busy until the end.
    """
    if project is not None:
        for row in conn.execute(_OF_PROJECT, {"of_index": index_id, "of_project": project}):
            yield First(*row)
        return
    known, before = _latest(conn, index_id)
    yield from known
    if before is not None:
        for row in conn.execute(_NEWEST, {"of_index": index_id}):
            if row[2] <= before:
                yield First(*row)


def _latest(conn: Connection, index_id: int) -> tuple[list[First], int | None]:
    """The newest releases, by a look at the newest files alone; and the time of those that are left out.

    Who asks for a few of them does not wait for all files to be grouped. None: nothing is left out.
    """
    rows = conn.execute(_LATEST, {"of_index": index_id, "most": LATEST_FILES}).fetchall()
    before = int(rows[-1][2]) if len(rows) == LATEST_FILES else None
    found: list[First] = []
    wanted = {(project, version) for project, version, _ in rows}
    for batch in upserts.batches(sorted({project for project, _ in wanted})):
        values = {"of_index": index_id, "projects": batch}
        found += (First(*row) for row in conn.execute(_OF_PROJECTS, values))
    # A release is all there where its first file is newer than the oldest of these files.
    kept = [
        first
        for first in found
        if (first.project, first.version) in wanted and (before is None or first.at > before)
    ]
    kept.sort(key=lambda first: (-first.at, first.project, first.version))
    return kept, before


def newcomers(conn: Connection, index_id: int) -> Iterator[First]:
    """Projects by their first file, newest first. The connection stays busy until the end."""
    for row in conn.execute(_NEWCOMERS, {"of_index": index_id}):
        yield First(*row)


def described(conn: Connection, index_id: int, keys: Iterable[str]) -> Mapping[str, tuple[str, str | None]]:
    """The project's name as a file spells it, and the file's summary, by casefolded file name."""
    found = {}
    for batch in upserts.batches([*keys]):
        for key, name, summary in conn.execute(_DESCRIBED, {"of_index": index_id, "keys": batch}):
            found[key] = (name, summary)
    return found


def candidates(conn: Connection, index_id: int, query: Query, limit: int) -> Sequence[str]:
    """Projects of which a file may fit, by name, at most `limit`: who fits all the same is to be found out.

    Beyond ASCII the databases differ about case, so there any character does.
    """
    conditions = [_named(term) for term in query.names]
    conditions += [_holds(contents.c.summary, term) for term in query.summaries]
    statement = _CANDIDATES
    if conditions:
        statement = statement.where(and_(*conditions) if query.every else or_(*conditions))
    rows = conn.execute(statement.order_by(files.c.project).limit(limit), {"of_index": index_id})
    return rows.scalars().all()


def _named(term: str) -> ColumnElement[bool]:
    return or_(_holds(files.c.name, term), _holds(files.c.project, normalize(term)))


def _holds(column: ColumnElement[str], term: str) -> ColumnElement[bool]:
    pattern = "".join(
        "_" if not character.isascii() else f"!{character}" if character in "%_!" else character
        for character in term.lower().replace("\0", "")
    )
    return func.lower(column).like(f"%{pattern}%", escape="!")
