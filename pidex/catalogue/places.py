"""What lies at each path of an index's folders, and what a look into it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, literal_column, or_, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import UNFINISHED, files, places
from pidex.core import names
from pidex.core.errors import BadName
from pidex.core.folder import mark
from pidex.core.marks import Seen
from pidex.core.model import Place, PlaceState, Stat

#: Rows fetched at once by `list_seen`.
FETCH_ROWS = 5_000

_COLUMNS = (
    places.c.root,
    places.c.path,
    places.c.size,
    places.c.mtime_ns,
    places.c.ctime_ns,
    places.c.inode,
    places.c.device,
    places.c.state,
    places.c.sha256,
    places.c.code,
    places.c.reason,
    places.c.looks,
    places.c.next_look,
)
_STATES = {state.value: state for state in PlaceState}
_HERE = places.c.index_id == bindparam("index_id")
# The partial index is used only where its condition is said literally.
_UNREAD = and_(UNFINISHED, places.c.state == literal_column("'unread'"))

_LIST = select(*_COLUMNS).where(_HERE)
_LIST_SEEN = select(*_COLUMNS[:6], places.c.state).where(_HERE)
_LIST_UNFINISHED = _LIST.where(UNFINISHED).order_by(places.c.root, places.c.path)
_OF_PROJECT = _LIST.where(places.c.project == bindparam("project")).order_by(places.c.root, places.c.path)
_UNFINISHED_OF = _OF_PROJECT.where(UNFINISHED)
_FIND = _LIST.where(places.c.root == bindparam("root"), places.c.path == bindparam("path"))
_BY_KEYS = Prepared(
    _LIST.where(places.c.key.in_(bindparam("keys", expanding=True))).order_by(places.c.root, places.c.path),
    many="keys",
)
_COUNT_UNREAD = select(func.count()).select_from(places).where(_HERE, _UNREAD)
_UNREAD_OF = select(places.c.root).where(_HERE, places.c.project == bindparam("project"), _UNREAD).limit(1)
_UNREAD_PROJECTS = select(places.c.project).distinct().where(_HERE, _UNREAD, places.c.project.is_not(None))
_UNFINISHED_PROJECTS = (
    select(places.c.project).distinct().where(_HERE, UNFINISHED, places.c.project.is_not(None))
)
_DELETE = delete(places).where(
    _HERE, places.c.root == bindparam("of_root"), places.c.path == bindparam("of_path")
)
# Whole, and yet its bytes are not those that the index lists under the name.
_UNLISTED = (
    select(*_COLUMNS, files.c.path)
    .select_from(
        places.outerjoin(files, and_(files.c.index_id == places.c.index_id, files.c.key == places.c.key))
    )
    .where(
        _HERE,
        places.c.state == "whole",
        or_(files.c.sha256.is_(None), files.c.sha256 != places.c.sha256),
    )
    .order_by(places.c.root, places.c.path)
)


def list(conn: Connection, index_id: int) -> Sequence[Place]:  # noqa: A001
    """Every place of an index, in no order: 100,000 take half a second."""
    return _places(conn.execute(_LIST, {"index_id": index_id}).fetchall())


def list_seen(conn: Connection, index_id: int) -> Iterator[Seen]:
    """As much of every place as a listing is compared with. The connection stays busy until the end."""
    rows = conn.execution_options(yield_per=FETCH_ROWS).execute(_LIST_SEEN, {"index_id": index_id})
    for root, path, size, mtime_ns, ctime_ns, inode, state in rows:
        yield Seen(root, path, mark(Stat(size, mtime_ns, ctime_ns, inode, 0)), _STATES[state])


def list_unfinished(conn: Connection, index_id: int) -> Sequence[Place]:
    """The places that are unread, pending or refused, by root and path."""
    return _places(conn.execute(_LIST_UNFINISHED, {"index_id": index_id}).fetchall())


def list_project(
    conn: Connection, index_id: int, project: str, *, unfinished: bool = False
) -> Sequence[Place]:
    """The places whose file name says this project; `unfinished`: not the whole ones, an index look-up."""
    statement = _UNFINISHED_OF if unfinished else _OF_PROJECT
    return _places(conn.execute(statement, {"index_id": index_id, "project": project}).fetchall())


def list_unlisted(conn: Connection, index_id: int) -> Sequence[tuple[Place, str | None]]:
    """Whole places whose bytes the index does not list, with the path listed under the name, if any."""
    rows = conn.execute(_UNLISTED, {"index_id": index_id}).fetchall()
    return [(place, row[-1]) for place, row in zip(_places([row[:-1] for row in rows]), rows, strict=True)]


def find(conn: Connection, index_id: int, root: int, path: str) -> Place | None:
    """The place at a path of a root."""
    found = _places(conn.execute(_FIND, {"index_id": index_id, "root": root, "path": path}).fetchall())
    return found[0] if found else None


def find_by_keys(conn: Connection, index_id: int, keys: Iterable[str]) -> Mapping[str, Sequence[Place]]:
    """The places of each casefolded file name that has any, by root and path."""
    found: dict[str, Any] = {}
    for batch in upserts.batches([*keys]):
        for place in _places(_BY_KEYS.all(conn, {"index_id": index_id, "keys": batch})):
            found.setdefault(place.key, []).append(place)
    return found


def unread(conn: Connection, index_id: int, project: str) -> bool:
    """Whether a place of the project was never looked into, so that its page must wait: an index look-up."""
    found = conn.execute(_UNREAD_OF, {"index_id": index_id, "project": project}).first()
    return found is not None


def count_unread(conn: Connection, index_id: int) -> int:
    """How many places were never looked into."""
    return int(conn.execute(_COUNT_UNREAD, {"index_id": index_id}).scalar_one())


def unread_projects(conn: Connection, index_id: int) -> frozenset[str]:
    """The projects whose pages must wait."""
    return frozenset(conn.execute(_UNREAD_PROJECTS, {"index_id": index_id}).scalars())


def unfinished_projects(conn: Connection, index_id: int) -> frozenset[str]:
    """The projects of which a file lies there that is not whole, or not read."""
    return frozenset(conn.execute(_UNFINISHED_PROJECTS, {"index_id": index_id}).scalars())


def project_of(filename: str) -> str | None:
    """The project that a file name says, None where it says none."""
    try:
        return names.parse(filename).project
    except BadName:
        return None


def upsert_many(
    conn: Connection,
    index_id: int,
    found: Iterable[Place],
    *,
    of: Callable[[str], str | None] = project_of,
) -> None:
    """Write places, known and new. `of` says which project a file name belongs to."""
    upserts.put(conn, places, _rows(index_id, found, of))


def delete_many(conn: Connection, index_id: int, paths: Iterable[tuple[int, str]]) -> None:
    """Forget places by (root, path); unknown ones are passed over."""
    rows = [{"index_id": index_id, "of_root": root, "of_path": path} for root, path in paths]
    if rows:
        conn.execute(_DELETE, rows)


def _rows(
    index_id: int, found: Iterable[Place], of: Callable[[str], str | None]
) -> Iterator[Mapping[str, Any]]:
    for place in found:
        filename, stat = place.filename, place.stat
        yield {
            "index_id": index_id,
            "root": place.root,
            "path": place.path,
            "key": filename.casefold(),
            "project": of(filename),
            "size": stat.size,
            "mtime_ns": stat.mtime_ns,
            "ctime_ns": stat.ctime_ns,
            "inode": stat.inode,
            "device": stat.device,
            "state": place.state.value,
            "sha256": place.sha256,
            "code": place.code,
            "reason": place.reason,
            "looks": place.looks,
            "next_look": place.next_look,
        }


def _places(rows: Iterable[Sequence[Any]]) -> Sequence[Place]:
    return [
        Place(
            root,
            path,
            Stat(size, mtime_ns, ctime_ns, inode, device),
            _STATES[state],
            sha256,
            code,
            reason,
            looks,
            next_look,
        )
        for (
            root,
            path,
            size,
            mtime_ns,
            ctime_ns,
            inode,
            device,
            state,
            sha256,
            code,
            reason,
            looks,
            next_look,
        ) in rows
    ]
