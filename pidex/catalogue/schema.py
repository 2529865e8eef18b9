"""Which revision of the tables a catalogue has, and the way from an older one to this program's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select, text

import pidex
from pidex.catalogue import seals, upserts
from pidex.catalogue.tables import meta

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

#: The revision this program works with: the newest file in migrations/versions (held by a test).
REVISION = "0008"
MIGRATIONS = Path(__file__).with_name("migrations")

_STORED = text("select version_num from alembic_version")


def stored(conn: Connection) -> str | None:
    """The revision written in the database; None where it has no tables of pidex."""
    if "alembic_version" not in tables(conn):
        return None
    revision = conn.execute(_STORED).scalar_one_or_none()
    return None if revision is None else str(revision)


def tables(conn: Connection) -> set[str]:
    """The names of all tables in the database."""
    return set(inspect(conn).get_table_names())


def program(conn: Connection) -> str | None:
    """The pidex version that made or last migrated the tables, where it is written down."""
    if "meta" not in tables(conn):
        return None
    found = conn.execute(select(meta.c.value).where(meta.c.key == "program")).scalar_one_or_none()
    return None if found is None else str(found)


def is_known(revision: str) -> bool:
    """Whether this program has a migration of that name (an older catalogue), or not (a newer program's)."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  imported only where something is to be migrated

    return revision in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def migrate(conn: Connection) -> None:
    """Bring the tables to `REVISION` inside the caller's transaction, and note which program did so."""
    from alembic import command  # noqa: PLC0415  see is_known

    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, REVISION)
    upserts.put(conn, meta, [{"key": "program", "value": pidex.__version__}])
    if "seals" in tables(conn):  # as everywhere but in tests of older tables
        seals.renew(conn)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  see is_known

    config = Config()
    # ConfigParser reads % as the start of an interpolation.
    folder = str(MIGRATIONS).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config
