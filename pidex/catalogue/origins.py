"""Whose a name is in an index (the origin lock): claims, which outlive the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, literal, literal_column, select, union_all

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import UNFINISHED, indexes, origins, places, projects
from pidex.core.layers import Claim, Origin
from pidex.core.model import PlaceState

#: Rows fetched at once by `list`.
FETCH_ROWS = 5000

_COLUMNS = (
    indexes.c.name,
    origins.c.project,
    origins.c.origin,
    origins.c.upstream,
    origins.c.by,
    origins.c.at,
    origins.c.reason,
)
_SELECT = select(*_COLUMNS).select_from(origins.join(indexes, indexes.c.id == origins.c.index_id))
_OF_PROJECT = Prepared(
    _SELECT.where(
        origins.c.project == bindparam("of_project"),
        origins.c.index_id.in_(bindparam("of_indexes", expanding=True)),
    ),
    many="of_indexes",
)
_LIST = (
    _SELECT.where(origins.c.index_id == bindparam("of_index"))
    .order_by(origins.c.project)
    .execution_options(yield_per=FETCH_ROWS)
)
_HERE = origins.c.index_id == bindparam("of_index")
_KIND = Prepared(select(origins.c.origin).where(_HERE, origins.c.project == bindparam("of_project")))
_KNOWN = Prepared(
    select(origins.c.project, origins.c.origin).where(
        _HERE, origins.c.project.in_(bindparam("of_projects", expanding=True))
    ),
    many="of_projects",
)
#: Where anything of a name lies, whole or not: look-ups by key for each index.
_INSIDE = Prepared(
    union_all(
        select(projects.c.index_id).where(
            projects.c.project == bindparam("of_project"),
            projects.c.index_id.in_(bindparam("of_indexes", expanding=True)),
        ),
        select(places.c.index_id).where(
            places.c.project == bindparam("of_project"),
            places.c.index_id.in_(bindparam("of_indexes", expanding=True)),
            UNFINISHED,
        ),
    ),
    many="of_indexes",
)
_NAMES = (
    select(origins.c.project)
    .where(_HERE, origins.c.origin.in_(bindparam("of_origins", expanding=True)))
    .execution_options(yield_per=FETCH_ROWS)
)
_DELETE = delete(origins).where(_HERE, origins.c.project == bindparam("of_project"))
_CLAIM = insert(origins)
_RELEASE = delete(origins).where(_HERE, origins.c.project.in_(bindparam("of_projects", expanding=True)))
#: Both look-ups by their keys, in the one statement that an index without bases and upstreams can spare.
_OBSTACLES = Prepared(
    union_all(
        select(literal(PlaceState.UNREAD.value).label("what")).where(
            places.c.index_id == bindparam("of_index"),
            places.c.project == bindparam("of_project"),
            UNFINISHED,
            places.c.state == literal_column("'unread'"),
        ),
        select(literal(Origin.BLOCKED.value)).where(
            _HERE, origins.c.project == bindparam("of_project"), origins.c.origin == Origin.BLOCKED.value
        ),
    )
)


def find(conn: Connection, index_id: int, project: str) -> Claim | None:
    """What was decided of a name in an index; None: nothing."""
    values = {"of_project": project, "of_indexes": [index_id]}
    return next(map(_claim, _OF_PROJECT.all(conn, values)), None)


def kind(conn: Connection, index_id: int, project: str) -> Origin | None:
    """Only whose a name is; None: nothing was decided."""
    row = _KIND.first(conn, {"of_index": index_id, "of_project": project})
    return None if row is None else Origin(row[0])


def list_project(conn: Connection, index_ids: Iterable[int], project: str) -> Mapping[str, Claim]:
    """What was decided of a name, by the names of those indexes that have decided."""
    found = _OF_PROJECT.all(conn, {"of_project": project, "of_indexes": [*index_ids]})
    return {claim.index: claim for claim in map(_claim, found)}


def list(conn: Connection, index_id: int) -> Iterator[Claim]:  # noqa: A001
    """All claims of an index by project. The connection stays busy until the end."""
    for row in conn.execute(_LIST, {"of_index": index_id}):
        yield _claim(row)


def projects_of(conn: Connection, index_id: int, kinds: Iterable[Origin]) -> frozenset[str]:
    """The names of which one of these was decided."""
    values = {"of_index": index_id, "of_origins": [kind.value for kind in kinds]}
    return frozenset(conn.execute(_NAMES, values).scalars())


def obstacles(conn: Connection, index_id: int, project: str) -> frozenset[str]:
    """What keeps an index from answering for a project at once: 'unread' files, a 'blocked' name."""
    found = _OBSTACLES.all(conn, {"of_index": index_id, "of_project": project})
    return frozenset(what for (what,) in found)


def inside(conn: Connection, index_ids: Iterable[int], project: str) -> frozenset[int]:
    """Those of the indexes in whose own folders anything of a project lies, whole or not."""
    values = {"of_project": project, "of_indexes": [*index_ids]}
    return frozenset(index_id for (index_id,) in _INSIDE.all(conn, values))


def put(conn: Connection, index_id: int, claim: Claim) -> None:
    """Decide. `claim.index` is not looked at."""
    row = {
        "index_id": index_id,
        "project": claim.project,
        "origin": claim.origin.value,
        "upstream": claim.upstream,
        "by": claim.by,
        "at": claim.at,
        "reason": claim.reason,
    }
    upserts.put(conn, origins, [row])


def release(conn: Connection, index_id: int, project: str) -> None:
    """Take back what was decided."""
    conn.execute(_DELETE, {"of_index": index_id, "of_project": project})


def claim_many(conn: Connection, index_id: int, names: Iterable[str], *, at: int, by: str) -> Sequence[str]:
    """Make names local of which nothing was decided, or that were an upstream's; which ones were new.

    For names that have files now: what lies inside is ours. `at` in microseconds since 1970.
    """
    claimed: set[str] = set()
    for batch in upserts.batches(sorted(set(names))):
        values = {"of_index": index_id, "of_projects": batch}
        known = dict(_KNOWN.all(conn, values))
        fresh = [name for name in batch if known.get(name) in (None, Origin.UPSTREAM)]
        if known and fresh:
            conn.execute(_RELEASE, {"of_index": index_id, "of_projects": fresh})
        if fresh:
            row = {"index_id": index_id, "origin": Origin.LOCAL.value, "by": by, "at": at}
            conn.execute(_CLAIM, [{**row, "project": name} for name in fresh])
            claimed.update(fresh)
    return sorted(claimed)


def _claim(row: Sequence[object]) -> Claim:
    index, project, origin, *rest = row
    return Claim(index, project, Origin(origin), *rest)  # type: ignore[arg-type]
