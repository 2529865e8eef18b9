"""How far the reading of an index's folders has come since the server started."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import scans


@dataclass(frozen=True, slots=True)
class Scan:
    """`listed`: the first listing since the start is in the catalogue; before, an unknown name may yet come.

    `finished`: when the last full scan came to rest, in microseconds since 1970, None for never;
    `files`: how many files it saw.
    """

    listed: bool = False
    finished: int | None = None
    files: int = 0


_FIND = Prepared(
    select(scans.c.listed, scans.c.finished, scans.c.files).where(scans.c.index_id == bindparam("of_index"))
)
_RESTART = update(scans).where(scans.c.index_id == bindparam("of_index")).values(listed=False)


def find(conn: Connection, index_id: int) -> Scan:
    """How far the scan of an index is."""
    row = _FIND.first(conn, {"of_index": index_id})
    return Scan() if row is None else Scan(bool(row[0]), row[1], row[2])


def restart(conn: Connection, index_id: int) -> None:
    """Note that a server starts: nothing is listed yet."""
    conn.execute(_RESTART, {"of_index": index_id})


def put(conn: Connection, index_id: int, scan: Scan) -> None:
    """Note how far the scan is."""
    row = {"listed": scan.listed, "finished": scan.finished, "files": scan.files}
    upserts.put(conn, scans, [{"index_id": index_id, **row}])
