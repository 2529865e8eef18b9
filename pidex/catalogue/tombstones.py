"""File names that were deleted by a person and stay burnt, against the folder too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import tombstones


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted file name, the bytes it had, and where they lay. `at` in microseconds since 1970, UTC."""

    filename: str
    sha256: str
    at: int
    by: str
    reason: str | None = None
    root: int = 0
    path: str | None = None

    @property
    def key(self) -> str:
        return self.filename.casefold()


_COLUMNS = [tombstones.c[name] for name in Tombstone.__dataclass_fields__]
_HERE = tombstones.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE).order_by(tombstones.c.key)
_FIND = select(*_COLUMNS).where(_HERE, tombstones.c.key == bindparam("of_key"))
_FIND_MANY = Prepared(
    select(*_COLUMNS).where(_HERE, tombstones.c.key.in_(bindparam("keys", expanding=True))), many="keys"
)
_DELETE = delete(tombstones).where(_HERE, tombstones.c.key == bindparam("of_key"))


def find(conn: Connection, index_id: int, key: str) -> Tombstone | None:
    """The tombstone of a casefolded file name."""
    row = conn.execute(_FIND, {"of_index": index_id, "of_key": key}).one_or_none()
    return None if row is None else Tombstone(*row)


def find_many(conn: Connection, index_id: int, keys: Iterable[str]) -> Mapping[str, Tombstone]:
    """The tombstones of those casefolded file names that have one."""
    found = {}
    for batch in upserts.batches([*keys]):
        for row in _FIND_MANY.all(conn, {"of_index": index_id, "keys": batch}):
            tombstone = Tombstone(*row)
            found[tombstone.key] = tombstone
    return found


def list(conn: Connection, index_id: int) -> Sequence[Tombstone]:  # noqa: A001
    """All tombstones of an index, by casefolded file name."""
    return [Tombstone(*row) for row in conn.execute(_LIST, {"of_index": index_id})]


def put(conn: Connection, index_id: int, tombstone: Tombstone) -> None:
    """Burn a file name."""
    row = {name: getattr(tombstone, name) for name in Tombstone.__dataclass_fields__}
    upserts.put(conn, tombstones, [{"index_id": index_id, "key": tombstone.key, **row}])


def lift(conn: Connection, index_id: int, key: str) -> None:
    """Let a casefolded file name come back."""
    conn.execute(_DELETE, {"of_index": index_id, "of_key": key})
