"""Names that an index keeps for itself before anybody uploads them, by pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import indexes, reservations
from pidex.core.layers import Reservation

_LIST = Prepared(
    select(
        indexes.c.name, reservations.c.pattern, reservations.c.by, reservations.c.at, reservations.c.reason
    )
    .select_from(reservations.join(indexes, indexes.c.id == reservations.c.index_id))
    .where(reservations.c.index_id.in_(bindparam("of_indexes", expanding=True)))
    .order_by(indexes.c.name, reservations.c.pattern),
    many="of_indexes",
)
_DELETE = (
    delete(reservations)
    .where(
        reservations.c.index_id == bindparam("of_index"), reservations.c.pattern == bindparam("of_pattern")
    )
    .returning(reservations.c.pattern)
)


def list(conn: Connection, index_ids: Iterable[int]) -> Sequence[Reservation]:  # noqa: A001
    """What those indexes keep, by index and pattern."""
    return [Reservation(*row) for row in _LIST.all(conn, {"of_indexes": [*index_ids]})]


def put(conn: Connection, index_id: int, reservation: Reservation) -> None:
    """Keep names. `reservation.index` is not looked at."""
    row = {name: getattr(reservation, name) for name in ("pattern", "by", "at", "reason")}
    upserts.put(conn, reservations, [{"index_id": index_id, **row}])


def remove(conn: Connection, index_id: int, pattern: str) -> bool:
    """Let names go again; False where exactly this pattern is not there."""
    found = conn.execute(_DELETE, {"of_index": index_id, "of_pattern": pattern}).scalars().first()
    return found is not None
