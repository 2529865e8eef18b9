"""Objects of the bucket that nobody has: noted first, and deleted only when that stays so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Table, bindparam, delete, or_, select, union, update

from pidex.catalogue import branches, upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import Name, admissions, files, intents, metadata, superseded


class Kind(NamedTuple):
    """What is noted of one kind lies between two notes in their order, the last not included."""

    first: str
    last: str


#: Packs of git stand beside bytes of packages, of which the hash alone is noted, under `pack`.
_PACK = "pack:"
BLOBS, PACKS = Kind("0", "g"), Kind(_PACK, "pack;")

#: Since when it is known that nobody has an object, and when its deletion began (microseconds).
garbage = Table(
    "garbage",
    metadata,
    Column("sha256", Name, primary_key=True),
    Column("marked", BigInteger, nullable=False),
    Column("dropping", BigInteger),
)

_DROPPING = Prepared(
    select(garbage.c.sha256).where(
        garbage.c.dropping.is_not(None), garbage.c.sha256.in_(bindparam("hashes", expanding=True))
    ),
    many="hashes",
)


def pack(sha256: str) -> str:
    """What is noted of a pack of git."""
    return _PACK + sha256


def hash_of(noted: str) -> str:
    """The hash of what is noted."""
    return noted.removeprefix(_PACK)


def is_noted(conn: Connection, noted: str) -> bool:
    """Whether something is noted."""
    return conn.execute(select(garbage.c.marked).where(garbage.c.sha256 == noted)).first() is not None


def dropping(conn: Connection, sha256s: Collection[str]) -> bool:
    """Whether one of these objects is being deleted at this moment: nobody may count on it."""
    return bool(sha256s) and bool(_DROPPING.all(conn, {"hashes": [*sha256s]}))


def named(conn: Connection, first: str, last: str, *, since: int) -> frozenset[str]:
    """The hashes from `first` up to `last` (not included) that some name has, or had after `since`.

    Members of indexes, what is on its way, what is listed; and what was replaced or deleted since then.
    `since` in microseconds.
    """
    parts = [
        select(table.c.sha256).where(table.c.sha256 >= first, table.c.sha256 < last)
        for table in (admissions, intents, files)
    ]
    former = select(superseded.c.sha256).where(
        superseded.c.sha256 >= first, superseded.c.sha256 < last, superseded.c.replaced >= since
    )
    return frozenset(conn.execute(union(*parts, former)).scalars())


def members(
    conn: Connection, index_ids: Collection[int], first: str, last: str
) -> Sequence[tuple[str, str, int]]:
    """Hash, name and size of the files of those indexes with hashes from `first` up to `last` (not it)."""
    rows = select(admissions.c.sha256, admissions.c.filename, admissions.c.size).where(
        admissions.c.index_id.in_([*index_ids]), admissions.c.sha256 >= first, admissions.c.sha256 < last
    )
    return [(sha256, filename, size) for sha256, filename, size in conn.execute(rows)]


def _still_named(conn: Connection, kind: Kind, sha256s: Collection[str], since: int) -> frozenset[str]:
    if kind is PACKS:
        return frozenset(map(pack, branches.named(conn))) & frozenset(sha256s)
    found: set[str] = set()
    for batch in upserts.batches([*sha256s]):
        parts = [
            select(table.c.sha256).where(table.c.sha256.in_(batch)) for table in (admissions, intents, files)
        ]
        former = select(superseded.c.sha256).where(
            superseded.c.sha256.in_(batch), superseded.c.replaced >= since
        )
        found.update(conn.execute(union(*parts, former)).scalars())
    return frozenset(found)


def marks(conn: Connection, first: str, last: str) -> Mapping[str, int]:
    """What is noted of the hashes from `first` up to `last`, with the time since when."""
    within = garbage.c.sha256 >= first, garbage.c.sha256 < last
    return {row.sha256: row.marked for row in conn.execute(select(garbage).where(*within))}


def mark(conn: Connection, sha256s: Collection[str], *, at: int) -> None:
    """Note objects that no name has. `at` in microseconds."""
    rows = [{"sha256": sha256, "marked": at, "dropping": None} for sha256 in sorted(sha256s)]
    upserts.put(conn, garbage, rows)


def unmark(conn: Connection, sha256s: Collection[str]) -> None:
    """Forget notes: of objects that have a name again, or are gone."""
    for batch in upserts.batches([*sha256s]):
        conn.execute(delete(garbage).where(garbage.c.sha256.in_(batch)))


def claim(
    conn: Connection,
    kind: Kind = BLOBS,
    *,
    marked: int,
    begun: int,
    since: int,
    at: int,
    limit: int,
) -> Sequence[str]:
    """Objects that the caller alone is to delete now: noted before `marked`, and still nobody's.

    Also those whose deletion somebody began before `begun` and did not end. All in microseconds. From here
    on, until `unmark`, nobody gives them a name, and no branch comes to lead to them.
    """
    due = (
        select(garbage.c.sha256)
        .where(garbage.c.sha256 >= kind.first, garbage.c.sha256 < kind.last)
        .where(garbage.c.marked <= marked, or_(garbage.c.dropping.is_(None), garbage.c.dropping <= begun))
        .order_by(garbage.c.sha256)
        .limit(limit)
    )
    found = conn.execute(due).scalars().all()
    kept = _still_named(conn, kind, found, since)
    unmark(conn, kept)
    chosen = [sha256 for sha256 in found if sha256 not in kept]
    for batch in upserts.batches(chosen):
        conn.execute(update(garbage).where(garbage.c.sha256.in_(batch)).values(dropping=at))
    return chosen
