"""The indexes that a catalogue knows, by name and number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from pidex.catalogue import rights
from pidex.catalogue.tables import grants, groups, indexes


class Index(NamedTuple):
    """An index. `mutability` is 'folder', 'immutable' or 'volatile'.

    `challenge`: strangers are asked to sign in where something is absent or hidden (AUT-4). `policy`: what
    uploads are held to, as JSON text; None: the defaults.
    """

    id: int
    name: str
    mutability: str
    challenge: bool = False
    policy: str | None = None


_COLUMNS = (indexes.c.id, indexes.c.name, indexes.c.mutability, indexes.c.challenge, indexes.c.policy)
_FIND = select(*_COLUMNS).where(indexes.c.name == bindparam("name"))
_LIST = select(*_COLUMNS).order_by(indexes.c.name)


def find(conn: Connection, name: str) -> Index | None:
    """The index of that name."""
    row = conn.execute(_FIND, {"name": name}).one_or_none()
    return None if row is None else Index(*row)


def list(conn: Connection) -> Sequence[Index]:  # noqa: A001
    """All indexes by name."""
    return [Index(*row) for row in conn.execute(_LIST)]


def ensure(conn: Connection, name: str, now: float, mutability: str | None = None) -> int:
    """The number of the index of that name, which is made where there is none, with the mutability given.

    Everybody may read a new index, by a grant like any other; nobody may upload to it. `now` in Unix
    seconds. Needs a writing transaction.
    """
    found = find(conn, name)
    if found is None:
        at = int(now * 1_000_000)
        values = {"name": name, "mutability": mutability or "folder", "created": at}
        number = int(conn.execute(insert(indexes).values(values).returning(indexes.c.id)).scalar_one())
        everybody = select(groups.c.id).where(groups.c.name == "anonymous").scalar_subquery()
        right = {"group_id": everybody, "role": "reader", "index_id": number, "project": "*"}
        conn.execute(insert(grants).values({**right, "by": "pidex", "at": at}))
        rights.grants_changed(conn)
        return number
    if mutability is not None and mutability != found.mutability:
        conn.execute(update(indexes).where(indexes.c.id == found.id).values(mutability=mutability))
    return found.id


def set_challenge(conn: Connection, index_id: int, challenge: bool) -> None:
    """Whether strangers are asked to sign in where something is absent or hidden."""
    _change(conn, index_id, challenge=challenge)
    rights.grants_changed(conn)  # remembered with the grants


def set_policy(conn: Connection, index_id: int, policy: Mapping[str, Any] | None) -> None:
    """What uploads are held to, as JSON can hold it; None: the defaults."""
    _change(conn, index_id, policy=None if policy is None else json.dumps(policy, sort_keys=True))


def _change(conn: Connection, index_id: int, **values: object) -> None:
    conn.execute(update(indexes).where(indexes.c.id == index_id).values(values))
