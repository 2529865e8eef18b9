"""How often credentials and grants have changed, so that whoever remembers them knows when to forget."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from pidex.catalogue import journal
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import counters, indexes


class Generation(NamedTuple):
    """`credentials`: who may sign in, and as member of which groups. `grants`: who may do what."""

    credentials: int
    grants: int


_READ = Prepared(
    select(counters.c.name, counters.c.value).where(counters.c.name.in_(bindparam("names", expanding=True))),
    many="names",
)
_BUMP = update(counters).where(counters.c.name == bindparam("counter")).values(value=counters.c.value + 1)


def generation(conn: Connection) -> Generation:
    """The generation that a state of the catalogue has."""
    return Generation(**{name: int(value) for name, value in _READ.all(conn, {"names": Generation._fields})})


def credentials_changed(conn: Connection) -> None:
    """Have everybody forget who was signed in. The nouns of people do so themselves."""
    conn.execute(_BUMP, {"counter": "credentials"})


def grants_changed(conn: Connection) -> None:
    """Have everybody forget what was allowed. `catalogue.grants` does so itself."""
    conn.execute(_BUMP, {"counter": "grants"})


def announce(conn: Connection, index_id: int | None, *, at: int, by: str) -> None:
    """Write to the journal that the rights of an index (None: of all) changed: a row without a project.

    Page caches follow the journal, and so does the change probe on PostgreSQL. `at` in microseconds.
    """
    every = select(indexes.c.id).order_by(indexes.c.id)
    for number in conn.execute(every).scalars().all() if index_id is None else [index_id]:
        journal.record(conn, number, "", "rights", at=at, by=by)
