"""The indexes that a catalogue knows, by name and number."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from pidex.catalogue import journal, rights, tables, upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.refusals import damaged
from pidex.catalogue.tables import grants, groups, indexes
from pidex.core import layers
from pidex.core.listing import EVERYTHING, REFRESH
from pidex.core.model import DEFAULT_INDEX

#: The key of the highest number that an index had.
HIGHEST = "highest_index"


class Index(NamedTuple):
    """An index. `mutability` is 'folder', 'immutable' or 'volatile'.

    `challenge`: strangers are asked to sign in where something is absent or hidden (AUT-4). `policy`: what
    uploads are held to, and `rules`: what of its contents it shows, as JSON text; None: the defaults.
    `bases` (indexes), `upstreams` and `folders` (absolute paths) in order; the default index has its folders
    from the settings.
    """

    id: int
    name: str
    mutability: str
    challenge: bool = False
    policy: str | None = None
    bases: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    rules: str | None = None

    @property
    def alone(self) -> bool:
        """Whether it has nothing but what lies in its own folders."""
        return not self.bases and not self.upstreams

    @property
    def watched(self) -> bool:
        """Whether files of its own may lie in folders."""
        return self.name == DEFAULT_INDEX or bool(self.folders)


_COLUMNS = (
    indexes.c.id,
    indexes.c.name,
    indexes.c.mutability,
    indexes.c.challenge,
    indexes.c.policy,
    indexes.c.bases,
    indexes.c.upstreams,
    indexes.c.folders,
    indexes.c.rules,
)
_FIND = Prepared(select(*_COLUMNS).where(indexes.c.name == bindparam("name")))
_LIST = select(*_COLUMNS).order_by(indexes.c.name)
_BASES = select(indexes.c.name, indexes.c.bases).where(indexes.c.bases != "[]")


def find(conn: Connection, name: str) -> Index | None:
    """The index of that name."""
    row = _FIND.first(conn, {"name": name})
    return None if row is None else _index(row)


def list(conn: Connection) -> Sequence[Index]:  # noqa: A001
    """All indexes by name."""
    return [_index(row) for row in conn.execute(_LIST)]


def ensure(conn: Connection, name: str, now: float, mutability: str | None = None) -> int:
    """The number of the index of that name, which is made where there is none, with the mutability given.

    Everybody may read a new index, by a grant like any other; nobody may upload to it. `now` in Unix
    seconds. Needs a writing transaction.
    """
    found = find(conn, name)
    if found is None:
        at = int(now * 1_000_000)
        values = {"name": name, "mutability": mutability or "folder", "created": at, **_number(conn)}
        number = int(conn.execute(insert(indexes).values(values).returning(indexes.c.id)).scalar_one())
        everybody = select(groups.c.id).where(groups.c.name == "anonymous").scalar_subquery()
        right = {"group_id": everybody, "role": "reader", "index_id": number, "project": "*"}
        conn.execute(insert(grants).values({**right, "by": "pidex", "at": at}))
        rights.grants_changed(conn)
        return number
    if mutability is not None and mutability != found.mutability:
        conn.execute(update(indexes).where(indexes.c.id == found.id).values(mutability=mutability))
    return found.id


def born(conn: Connection) -> int:
    """When this catalogue was made, in microseconds: its backups have the same, and no other has."""
    return int(conn.execute(select(func.min(indexes.c.created))).scalar_one() or 0)


def heirs(conn: Connection, names: Collection[str]) -> Mapping[str, frozenset[str]]:
    """For each of those indexes, all others that have it among their bases, however far."""
    above = {name: tuple(json.loads(bases)) for name, bases in conn.execute(_BASES)}
    if not above:
        return {name: frozenset() for name in names}
    every: dict[str, tuple[str, ...]] = {base: () for bases in above.values() for base in bases}
    return layers.heirs(names, every | above)


def reached(conn: Connection, index: Index) -> Sequence[str]:
    """The upstreams beside which the files of an index are shown: its own, its bases', and its heirs'."""
    every = {each.name: each for each in list(conn)}
    bases = {name: each.bases for name, each in every.items()}
    found: dict[str, None] = {}
    for name in (index.name, *sorted(layers.heirs([index.name], bases)[index.name])):
        for layer in layers.order(name, bases):
            found.update(dict.fromkeys(every[layer].upstreams))
    return [*found]


def announce(conn: Connection, index_id: int, *, at: int, by: str) -> None:
    """Write to the journal that all pages of an index may say other things: bases, upstreams, rules, claims.

    Page caches drop everything of it and of its heirs. `at` in microseconds since 1970.
    """
    journal.record(conn, index_id, EVERYTHING, REFRESH, at=at, by=by)


def remove(conn: Connection, index_id: int) -> None:
    """Forget an index, and everything that is about it alone. Its files lie where they lay."""
    for table in reversed(tables.metadata.sorted_tables):
        if "index_id" in table.c:
            conn.execute(delete(table).where(table.c.index_id == index_id))
    highest = max(_highest(conn), conn.execute(select(func.max(indexes.c.id))).scalar_one())
    upserts.put(conn, tables.meta, [{"key": HIGHEST, "value": str(highest)}])
    conn.execute(delete(indexes).where(indexes.c.id == index_id))
    rights.grants_changed(conn)


def set_bases(conn: Connection, index_id: int, bases: Sequence[str]) -> None:
    """Whose contents it has too, in order. The caller has made sure that they are there, without loops."""
    _change(conn, index_id, bases=json.dumps([*bases]))


def set_upstreams(conn: Connection, index_id: int, upstreams: Sequence[str]) -> None:
    """The upstreams that are asked for what nobody inside has, in order."""
    _change(conn, index_id, upstreams=json.dumps([*upstreams]))


def set_folders(conn: Connection, index_id: int, folders: Sequence[str]) -> None:
    """Where its files lie: absolute paths."""
    _change(conn, index_id, folders=json.dumps([*folders]))


def set_challenge(conn: Connection, index_id: int, challenge: bool) -> None:
    """Whether strangers are asked to sign in where something is absent or hidden."""
    _change(conn, index_id, challenge=challenge)
    rights.grants_changed(conn)  # remembered with the grants


def set_policy(conn: Connection, index_id: int, policy: Mapping[str, Any] | None) -> None:
    """What uploads are held to, as JSON can hold it; None: the defaults."""
    _change(conn, index_id, policy=None if policy is None else json.dumps(policy, sort_keys=True))


def set_rules(conn: Connection, index_id: int, rules: str | None) -> None:
    """What of its contents the index shows, as JSON text; None: all of it. The caller announces it."""
    _change(conn, index_id, rules=rules)


def _number(conn: Connection) -> dict[str, int]:
    """The number of a new index: never that of one that is gone, whose loops and pages may still be there.

    PostgreSQL sees to that by itself.
    """
    gone = _highest(conn)
    if not gone or conn.dialect.name != "sqlite":
        return {}
    there = conn.execute(select(func.max(indexes.c.id))).scalar_one() or 0
    return {"id": max(gone, int(there)) + 1}


def _highest(conn: Connection) -> int:
    """The highest number of the indexes that are gone; 0: none is."""
    found = conn.execute(select(tables.meta.c.value).where(tables.meta.c.key == HIGHEST))
    return int(found.scalar_one_or_none() or 0)


def _index(row: Sequence[Any]) -> Index:
    number, name, mutability, challenge, policy, bases, upstreams, folders, rules = row
    return Index(
        number, name, mutability, bool(challenge), policy,
        _names(bases), _names(upstreams), _names(folders), rules,
    )  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    if text == "[]":
        return ()
    try:
        return tuple(map(str, json.loads(text)))
    except (TypeError, ValueError):
        raise damaged("of this server", f"an index has {text!r} instead of a list of names") from None


def _change(conn: Connection, index_id: int, **values: object) -> None:
    conn.execute(update(indexes).where(indexes.c.id == index_id).values(values))
