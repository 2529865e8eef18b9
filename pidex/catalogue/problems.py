"""Things in an index's folders of which no place can be made, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from pidex.catalogue import upserts
from pidex.catalogue.tables import problems
from pidex.core.model import Problem

_HERE = problems.c.index_id == bindparam("of_index")
_LIST = (
    select(problems.c.root, problems.c.path, problems.c.code, problems.c.reason)
    .where(_HERE)
    .order_by(problems.c.root, problems.c.path)
)
_CLEAR = delete(problems).where(_HERE)
_DELETE = _CLEAR.where(problems.c.root == bindparam("of_root"), problems.c.path == bindparam("of_path"))


def list(conn: Connection, index_id: int) -> Sequence[Problem]:  # noqa: A001
    """All problems of an index, by root and path."""
    return [Problem(*row) for row in conn.execute(_LIST, {"of_index": index_id})]


def replace(conn: Connection, index_id: int, found: Iterable[Problem]) -> None:
    """Make these the problems of the index: what a full listing saw."""
    conn.execute(_CLEAR, {"of_index": index_id})
    rows = _rows(index_id, found)
    if rows:
        conn.execute(insert(problems), rows)


def put_many(conn: Connection, index_id: int, found: Iterable[Problem]) -> None:
    """Add problems, or change what is said of known ones: what the listing of one folder saw."""
    upserts.put(conn, problems, _rows(index_id, found))


def delete_many(conn: Connection, index_id: int, paths: Iterable[tuple[int, str]]) -> None:
    """Forget problems by (root, path); unknown ones are passed over."""
    rows = [{"of_index": index_id, "of_root": root, "of_path": storable(path)} for root, path in paths]
    if rows:
        conn.execute(_DELETE, rows)


def storable(path: str) -> str:
    """A path as text that a database takes: bytes that are not UTF-8 are written as backslash escapes."""
    return path.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _rows(index_id: int, found: Iterable[Problem]) -> Sequence[dict[str, object]]:
    rows = {
        (problem.root, storable(problem.path)): {
            "index_id": index_id,
            "root": problem.root,
            "path": storable(problem.path),
            "code": problem.code,
            "reason": storable(problem.reason),
        }
        for problem in found
    }
    return [*rows.values()]
