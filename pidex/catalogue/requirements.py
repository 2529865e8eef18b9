"""What is needed of a PostgreSQL server: asked at each start, and by `pidex doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, text

from pidex.core.errors import CatalogueError
from pidex.core.sentences import said

#: The oldest server that works, as it numbers itself.
OLDEST = 14
#: Connections that one process may have, with the one of the group read.
CONNECTIONS = 13

_ASK = text(
    "select current_setting('server_version_num')::int as version, current_setting('server_version') as name,"
    " current_setting('server_encoding') as encoding, pg_is_in_recovery() as standby,"
    " current_setting('default_transaction_read_only') as read_only,"
    " current_setting('synchronous_commit') as commits, current_setting('fsync') as fsync,"
    " current_setting('full_page_writes') as pages, current_setting('max_connections')::int as connections,"
    " current_schema() as schema,"
    " coalesce(has_schema_privilege(current_schema(), 'create'), false) as creates"
)


class Fault(NamedTuple):
    """What a server lacks, and what to do about it. `fatal`: without it nothing works, or nothing is safe."""

    fatal: bool
    sentence: str
    remedy: str


def faults(conn: Connection) -> Iterator[Fault]:
    """What the server behind a connection lacks, the worst first."""
    found = conn.execute(_ASK).one()
    if found.version < OLDEST * 10_000:
        yield Fault(
            True,
            said("PostgreSQL is %(name)s.", name=found.name),
            said("Version %(oldest)s is the oldest that works.", oldest=OLDEST),
        )
    if found.encoding != "UTF8":
        yield Fault(
            True,
            said("The database has the encoding %(encoding)s.", encoding=found.encoding),
            said("Make one with `create database pidex template template0 encoding 'UTF8'`."),
        )
    if found.standby or found.read_only == "on":
        yield Fault(
            True,
            said("The database cannot be written: it is a standby, or read-only."),
            said("Name the primary."),
        )
    if found.schema is None or not found.creates:
        yield Fault(
            True,
            said("The user may not make tables there."),
            said("Let the user own the database, or run `grant create, usage on schema public to NAME`."),
        )
    if found.commits == "off":
        yield Fault(
            True,
            said("synchronous_commit is off: what was confirmed would be lost with the server."),
            said("Set it to on, in postgresql.conf or by `alter role NAME set synchronous_commit = on`."),
        )
    for name, value in (("fsync", found.fsync), ("full_page_writes", found.pages)):
        if value == "off":
            yield Fault(
                False,
                said("%(name)s is off: a loss of power may damage the database.", name=name),
                said("Set %(name)s to on.", name=name),
            )
    if found.connections < 4 * CONNECTIONS:
        yield Fault(
            False,
            said(
                "The server takes %(connections)s connections; a process of a node may have %(most)s.",
                connections=found.connections,
                most=CONNECTIONS,
            ),
            said("Raise max_connections: a node has one process for each worker, and one more."),
        )


def version(conn: Connection) -> str:
    """What the server calls its version."""
    return str(conn.execute(text("select current_setting('server_version')")).scalar_one())


def check(conn: Connection, name: str) -> None:
    """Raise `CatalogueError` where the server of the catalogue called `name` cannot be used."""
    fatal = next((fault for fault in faults(conn) if fault.fatal), None)
    if fatal is not None:
        raise CatalogueError(f"The catalogue {name} cannot be used. {fatal.sentence} {fatal.remedy}")
