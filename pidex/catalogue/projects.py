"""The project list of an index, kept in step with its files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select

from pidex.catalogue import journal, upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import files, projects, statuses
from pidex.core.model import ProjectName, Status

#: Rows fetched at once by `list`.
FETCH_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Project:
    """A project with files. `name` as its latest upload spells it (NAM-3); `serial` of its last change."""

    project: str
    name: str
    files: int
    serial: int


_HERE = projects.c.index_id == bindparam("of_index")
_FIND = select(projects.c.project, projects.c.name, projects.c.files, projects.c.serial).where(
    _HERE, projects.c.project == bindparam("of_project")
)
_LIST = (
    select(projects.c.project, projects.c.name, projects.c.serial)
    .where(_HERE, projects.c.project > bindparam("behind"))
    .order_by(projects.c.project)
    .execution_options(yield_per=FETCH_ROWS)
)
# A quarantined project is left out (LST-4).
_LIST_OPEN = _LIST.where(
    ~select(statuses.c.project)
    .where(
        statuses.c.index_id == projects.c.index_id,
        statuses.c.project == projects.c.project,
        statuses.c.status == Status.QUARANTINED.value,
    )
    .exists()
)
_SIZES = select(projects.c.project, projects.c.files).where(_HERE).execution_options(yield_per=FETCH_ROWS)
_KNOWN = Prepared(
    select(projects.c.project).where(_HERE, projects.c.project.in_(bindparam("of_projects", expanding=True))),
    many="of_projects",
)
_COUNT = select(func.count()).select_from(projects).where(_HERE)
_LIKE = (
    select(projects.c.project)
    .where(_HERE, projects.c.project.startswith(bindparam("start"), autoescape=False))
    .order_by(projects.c.project)
    .limit(bindparam("most"))
)
_ranked = (
    select(
        files.c.project,
        files.c.name,
        func.count().over(partition_by=files.c.project).label("files"),
        func.row_number()
        .over(partition_by=files.c.project, order_by=(files.c.upload_time.desc(), files.c.key.desc()))
        .label("rank"),
    )
    .where(
        files.c.index_id == bindparam("of_index"),
        files.c.project.in_(bindparam("of_projects", expanding=True)),
    )
    .subquery()
)
_CURRENT = Prepared(
    select(_ranked.c.project, _ranked.c.name, _ranked.c.files).where(_ranked.c.rank == 1), many="of_projects"
)
_DELETE = delete(projects).where(_HERE, projects.c.project == bindparam("of_project"))


def find(conn: Connection, index_id: int, project: str) -> Project | None:
    """A project that has files, by its normalised name."""
    row = conn.execute(_FIND, {"of_index": index_id, "of_project": project}).one_or_none()
    return None if row is None else Project(*row)


def known(conn: Connection, index_id: int, names: Collection[str]) -> frozenset[str]:
    """Those of the normalised names that have files."""
    found: set[str] = set()
    for batch in upserts.batches(sorted(names)):
        found.update(row[0] for row in _KNOWN.all(conn, {"of_index": index_id, "of_projects": batch}))
    return frozenset(found)


def list(  # noqa: A001
    conn: Connection, index_id: int, *, withheld: bool = False, behind: str = ""
) -> Iterator[ProjectName]:
    """The projects of an index by name, without the quarantined ones unless `withheld`; those after `behind`.

    The connection stays busy until the end.
    """
    statement = _LIST if withheld else _LIST_OPEN
    rows = conn.execute(statement, {"of_index": index_id, "behind": behind})
    for row in rows:
        yield ProjectName(*row)


def count(conn: Connection, index_id: int) -> int:
    """How many projects have files."""
    return int(conn.execute(_COUNT, {"of_index": index_id}).scalar_one())


def sizes(conn: Connection, index_id: int) -> Iterator[tuple[str, int]]:
    """Each project that has files, and how many. The connection stays busy until the end."""
    for project, number in conn.execute(_SIZES, {"of_index": index_id}):
        yield project, int(number)


def starting(conn: Connection, index_id: int, start: str, limit: int) -> Iterator[str]:
    """Normalised project names that start with a text, at most `limit`: for "did you mean"."""
    return iter(conn.execute(_LIKE, {"of_index": index_id, "start": start, "most": limit}).scalars().all())


def refresh(conn: Connection, index_id: int, changed: Iterable[str]) -> None:
    """Bring projects in step with their files and the journal, after both are written, in that transaction.

    A project without files leaves the list.
    """
    for batch in upserts.batches(sorted(set(changed))):
        values = {"of_index": index_id, "of_projects": batch}
        current = {project: (name, count) for project, name, count in _CURRENT.all(conn, values)}
        serials = journal.latest(conn, index_id, current)
        rows = [
            {
                "index_id": index_id,
                "project": project,
                "name": name,
                "files": count,
                "serial": serials.get(project, 0),
            }
            for project, (name, count) in current.items()
        ]
        upserts.put(conn, projects, rows)
        gone = [{"of_index": index_id, "of_project": name} for name in batch if name not in current]
        if gone:
            conn.execute(_DELETE, gone)
