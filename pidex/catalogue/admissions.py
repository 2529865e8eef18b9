"""Which files are members of an index since when and by whom, and which bytes their names had before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import admissions, files, places, superseded, tombstones
from pidex.core.model import Admission

#: Admissions of a list that are in memory at a time.
BLOCK = 5_000


@dataclass(frozen=True, slots=True)
class Superseded:
    """Bytes that a name had until `replaced` (microseconds since 1970), and by whom and how that changed."""

    filename: str
    sha256: str
    size: int
    first_seen: int
    source: str
    replaced: int
    by: str
    how: str


_FIELDS = ("filename", "sha256", "size", "first_seen", "source", "by", "how")
_COLUMNS = [admissions.c[name] for name in _FIELDS]
_HERE = admissions.c.index_id == bindparam("of_index")
_LIST = (
    select(*_COLUMNS)
    .where(_HERE, admissions.c.key > bindparam("behind"))
    .order_by(admissions.c.key)
    .limit(bindparam("most"))
)
_FIND = select(*_COLUMNS).where(_HERE, admissions.c.key == bindparam("of_key"))
_FIND_MANY = Prepared(
    select(*_COLUMNS).where(_HERE, admissions.c.key.in_(bindparam("keys", expanding=True))), many="keys"
)
_DELETE = delete(admissions).where(_HERE, admissions.c.key == bindparam("of_key"))
_SUPERSEDED = (
    select(*[superseded.c[name] for name in Superseded.__dataclass_fields__])
    .where(superseded.c.index_id == bindparam("of_index"))
    .order_by(superseded.c.replaced, superseded.c.id)
)
_IS_KNOWN = Prepared(
    select(
        or_(
            *(
                select(table.c.key)
                .where(table.c.index_id == bindparam("of_index"), table.c.key == bindparam("of_key"))
                .exists()
                for table in (admissions, files, places, tombstones)
            )
        )
    )
)
_SUPERSEDED_OF = _SUPERSEDED.where(superseded.c.key == bindparam("of_key"))


def find(conn: Connection, index_id: int, key: str) -> Admission | None:
    """The admission of a casefolded file name."""
    row = conn.execute(_FIND, {"of_index": index_id, "of_key": key}).one_or_none()
    return None if row is None else Admission(*row)


def find_many(conn: Connection, index_id: int, keys: Iterable[str]) -> Mapping[str, Admission]:
    """The admissions of those casefolded file names that have one."""
    found = {}
    for batch in upserts.batches([*keys]):
        for row in _FIND_MANY.all(conn, {"of_index": index_id, "keys": batch}):
            admission = Admission(*row)
            found[admission.key] = admission
    return found


def is_known(conn: Connection, index_id: int, key: str) -> bool:
    """Whether anything at all is known of a casefolded file name: here, here before, or burnt."""
    return bool(_IS_KNOWN.one(conn, {"of_index": index_id, "of_key": key})[0])


def list(conn: Connection, index_id: int) -> Iterator[Admission]:  # noqa: A001
    """All admissions of an index, by casefolded file name; a block of them at a time is in memory."""
    behind = ""
    while True:
        rows = conn.execute(_LIST, {"of_index": index_id, "behind": behind, "most": BLOCK}).all()
        for row in rows:
            yield (found := Admission(*row))
        if len(rows) < BLOCK:
            return
        behind = found.key


def put(conn: Connection, index_id: int, admission: Admission) -> None:
    """Admit one file, or change what is known of it."""
    put_many(conn, index_id, [admission])


def put_many(conn: Connection, index_id: int, found: Iterable[Admission]) -> None:
    """Admit files, or change what is known of them."""
    rows = [
        {
            "index_id": index_id,
            "key": admission.key,
            **{name: getattr(admission, name) for name in _FIELDS},
        }
        for admission in found
    ]
    upserts.put(conn, admissions, rows, by=("index_id", "key"))


def delete_many(conn: Connection, index_id: int, keys: Iterable[str]) -> None:
    """End memberships by casefolded file name; unknown ones are passed over."""
    rows = [{"of_index": index_id, "of_key": key} for key in keys]
    if rows:
        conn.execute(_DELETE, rows)


def supersede(
    conn: Connection, index_id: int, found: Iterable[Admission], *, replaced: int, by: str, how: str
) -> None:
    """Remember the bytes of admissions that are about to be replaced or ended. `replaced` in microseconds."""
    rows = [
        {
            "index_id": index_id,
            "key": admission.key,
            "filename": admission.filename,
            "sha256": admission.sha256,
            "size": admission.size,
            "first_seen": admission.first_seen,
            "source": admission.source,
            "replaced": replaced,
            "by": by,
            "how": how,
        }
        for admission in found
    ]
    if rows:
        conn.execute(insert(superseded), rows)


def list_superseded(conn: Connection, index_id: int, key: str | None = None) -> Sequence[Superseded]:
    """The bytes that names of an index (or one casefolded file name) had before, oldest change first."""
    statement = _SUPERSEDED if key is None else _SUPERSEDED_OF
    values = {"of_index": index_id} if key is None else {"of_index": index_id, "of_key": key}
    return [Superseded(*row) for row in conn.execute(statement, values)]
