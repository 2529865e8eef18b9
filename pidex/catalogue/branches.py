"""Branches of git of indexes in a bucket: where each stands, and which packs lead to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from pidex.catalogue import upserts
from pidex.catalogue.tables import Name, indexes, metadata

#: The git branch of an index in a bucket: its tip, and how many packs have what leads to it.
branches = Table(
    "branches",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("tip", Text),
    Column("packs", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False),
)

#: What pushes brought, in their order, each an object of the bucket under its hash.
packs = Table(
    "packs",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sha256", Name, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Branch:
    """`tip` is the commit, None before the first; `packs`: how many lead to it. Disabled: put aside."""

    tip: str | None
    packs: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class Pack:
    """What one push brought, an object of the bucket. `size` in bytes."""

    sha256: str
    size: int


class Brought(NamedTuple):
    """A pack, and who pushed it when, in microseconds."""

    sha256: str
    size: int
    by: str
    at: int


_FIND = select(branches.c.tip, branches.c.packs, branches.c.enabled).where(
    branches.c.index_id == bindparam("of_index")
)
_LIST = (
    select(indexes.c.name)
    .select_from(branches.join(indexes, indexes.c.id == branches.c.index_id))
    .where(branches.c.enabled)
    .order_by(indexes.c.name)
)
_SINCE = (
    select(packs.c.sha256, packs.c.size)
    .where(packs.c.index_id == bindparam("of_index"), packs.c.number > bindparam("after"))
    .order_by(packs.c.number)
)


def find(conn: Connection, index_id: int) -> Branch | None:
    """The branch of an index, enabled or not."""
    row = conn.execute(_FIND, {"of_index": index_id}).first()
    return None if row is None else Branch(row.tip, row.packs, bool(row.enabled))


def list(conn: Connection) -> Sequence[str]:  # noqa: A001
    """The names of the indexes that have one which is enabled."""
    return [str(name) for name in conn.execute(_LIST).scalars()]


def list_packs(conn: Connection, index_id: int, *, after: int = 0) -> Sequence[Pack]:
    """The packs of a branch in their order, without the first so many."""
    return [Pack(*row) for row in conn.execute(_SINCE, {"of_index": index_id, "after": after})]


def list_all(conn: Connection) -> Mapping[str, Branch]:
    """The branches of all indexes, those that were put aside, too, by the index's name."""
    rows = conn.execute(
        select(indexes.c.name, branches.c.tip, branches.c.packs, branches.c.enabled)
        .select_from(branches.join(indexes, indexes.c.id == branches.c.index_id))
        .order_by(indexes.c.name)
    )
    return {row.name: Branch(row.tip, row.packs, bool(row.enabled)) for row in rows}


def named(conn: Connection) -> frozenset[str]:
    """The hashes of the packs that lead to some branch, one that was put aside, too."""
    return frozenset(conn.execute(select(packs.c.sha256)).scalars())


def enable(conn: Connection, index_id: int, enabled: bool = True) -> None:
    """Have a branch, new or as it was, or put it aside."""
    former = find(conn, index_id) or Branch(None, 0, enabled)
    row = {"index_id": index_id, "tip": former.tip, "packs": former.packs, "enabled": enabled}
    upserts.put(conn, branches, [row])


def move(
    conn: Connection,
    index_id: int,
    old: str | None,
    new: str,
    brought: Sequence[Pack],
    *,
    by: str,
    at: int,
) -> bool:
    """Move a branch from one commit to another, which these packs bring; False where it stands elsewhere.

    In a writing transaction: of two who move it, one sees what the other did. `at` in microseconds.
    """
    there = find(conn, index_id)
    if there is None or not there.enabled or there.tip != old:
        return False
    rows = [
        {"index_id": index_id, "number": number, "sha256": pack.sha256, "size": pack.size, "by": by, "at": at}
        for number, pack in enumerate(brought, there.packs + 1)
    ]
    if rows:
        conn.execute(insert(packs), rows)
    conn.execute(
        update(branches).where(branches.c.index_id == index_id).values(tip=new, packs=there.packs + len(rows))
    )
    return True


def list_brought(conn: Connection, index_id: int) -> Sequence[Brought]:
    """The packs of a branch in their order, with who brought them."""
    columns = packs.c.sha256, packs.c.size, packs.c.by, packs.c.at
    rows = conn.execute(select(*columns).where(packs.c.index_id == index_id).order_by(packs.c.number))
    return [Brought(*row) for row in rows]


def put_back(
    conn: Connection, index_id: int, tip: str | None, brought: Sequence[Brought], *, enabled: bool
) -> None:
    """Have a branch as it stood once, where there is none."""
    enable(conn, index_id, enabled)
    rows = [{"index_id": index_id, "number": at, **pack._asdict()} for at, pack in enumerate(brought, 1)]
    if rows:
        conn.execute(insert(packs), rows)
    conn.execute(update(branches).where(branches.c.index_id == index_id).values(tip=tip, packs=len(rows)))


def forget(conn: Connection, index_id: int) -> None:
    """Have no branch of an index any more: it lies elsewhere."""
    for table in (packs, branches):
        conn.execute(delete(table).where(table.c.index_id == index_id))
