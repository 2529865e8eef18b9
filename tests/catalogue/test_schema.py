"""The migrations lead to exactly the tables that the statements are written for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import pidex
from pidex.catalogue import audit, grants, indexes, schema
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.tables import metadata
from pidex.core.permissions import Grant, Role


def test_migrations_lead_to_the_tables(catalogue: Catalogue) -> None:
    with catalogue.read() as conn:
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        assert schema.tables(conn) == {*metadata.tables, "alembic_version"}


def test_revision_is_the_newest_migration() -> None:
    folder = Path(schema.__file__).with_name("migrations")
    assert ScriptDirectory(str(folder)).get_heads() == [schema.REVISION]


def test_program_is_noted(catalogue: Catalogue) -> None:
    with catalogue.read() as conn:
        assert schema.program(conn) == pidex.__version__
        assert schema.stored(conn) == schema.REVISION


def test_a_current_catalogue_opens_without_alembic(tmp_path: Path) -> None:
    Catalogue.open(tmp_path / "catalogue.db").close()
    program = (
        "import sys; from pidex.catalogue.engine import Catalogue;"
        f"Catalogue.open({str(tmp_path / 'catalogue.db')!r}).close();"
        "print([name for name in sys.modules if name.split('.')[0] in ('alembic', 'psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_indexes_from_before_rights_stay_open_to_read(
    place: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema, "REVISION", "0001")
        old = Catalogue.open(place)
        with old.steer() as conn:  # of that time: it knows nothing of moves
            conn.execute(text("insert into indexes (name, created) values ('main', 7)"))
            conn.execute(text("insert into audit (at, actor, via, action) values (1, 'me', 'x', 'yank')"))
        old.close()
    catalogue = Catalogue.open(place)
    with catalogue.read() as conn:
        [granted] = grants.list(conn)
        assert granted.grant == Grant("group:anonymous", Role.READER, "main")
        assert (granted.by, granted.at) == ("pidex", 7)
        assert indexes.find(conn, "main") == indexes.Index(
            granted.index_id or 0, "main", "folder", False, None
        )
        assert [row.actor for row in audit.list(conn, limit=10)] == ["me"]
    catalogue.close()


def test_tables_keep_decided_and_derived_apart() -> None:
    """No foreign key leads from what people decided to what can be made again."""
    derived = {"places", "problems", "contents", "files", "projects", "scans"}
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            assert key.column.table.name not in derived


def test_migrations_write_what_the_tables_say(tmp_path: Path) -> None:
    """Also what Alembic does not compare: checks, conditions of indexes, tables without row ids."""
    Catalogue.open(tmp_path / "migrated.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert statements(tmp_path / "migrated.db") == statements(tmp_path / "created.db")


def statements(path: Path) -> dict[str, str]:
    """What made each table and index of a SQLite file, but for its spaces."""
    with closing(sqlite3.connect(path)) as conn:
        rows = conn.execute("select name, sql from sqlite_master where sql is not null").fetchall()
    passed = {"alembic_version", "sqlite_stat1"}
    return {name: "".join(sql.split()) for name, sql in rows if name not in passed}
