"""Opening, reading and writing a catalogue, by threads and processes, and what is said of a bad one."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

import pidex
from pidex.catalogue import connections, indexes, journal, schema, snapshots
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.tables import journal as lines
from pidex.core.errors import CatalogueError
from tests.catalogue import rows

PROCESSES = 4
WRITES = 25


def test_a_write_is_committed_whole_or_not_at_all(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)

    def fail() -> None:
        with catalogue.write() as conn:
            journal.record(conn, index_id, "a", "add", at=1, by="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with catalogue.read() as conn:
        assert journal.serial(conn) == 0
        assert journal.since(conn, 0, 10) == []


def test_a_read_sees_one_state(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    with catalogue.read() as reader:
        assert journal.serial(reader) == 0
        with catalogue.write() as conn:
            journal.record(conn, index_id, "a", "add", at=1, by="x")
        assert journal.serial(reader) == 0
        assert journal.since(reader, 0, 10) == []
    with catalogue.read() as reader:
        assert journal.serial(reader) == 1


def test_a_reference_to_nothing_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"), catalogue.write() as conn:
        journal.record(conn, 4711, "a", "add", at=1, by="x")


def test_writers_in_threads_take_turns(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(WRITES):
                with catalogue.write() as conn:
                    journal.record(conn, index_id, "a", "add", at=1, by="x")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with catalogue.read() as conn:
        assert [change.serial for change in journal.since(conn, 0, 1000)] == [*range(1, 4 * WRITES + 1)]


def write_many(address: str | Path, index_id: int, name: str) -> None:
    """What each process of the next test does."""
    catalogue = Catalogue.open(address, create=False)
    for number in range(WRITES):
        with catalogue.write() as conn:
            events = [journal.Event(name, "add")] * (1 + number % 3)
            journal.record_many(conn, index_id, events, at=number, by=name)
    catalogue.close()


def test_serials_of_several_processes_become_visible_in_order(
    catalogue: Catalogue, address: str | Path
) -> None:
    """SER-1: a reader that has seen a serial has seen all below it, whoever wrote them."""
    index_id = rows.index(catalogue)
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=write_many, args=(address, index_id, f"p{number}"))
        for number in range(PROCESSES)
    ]
    for writer in writers:
        writer.start()
    seen = reads = 0
    while any(writer.is_alive() for writer in writers):
        with catalogue.read() as conn:
            newest, count = conn.execute(
                select(func.coalesce(func.max(lines.c.serial), 0), func.count())
            ).one()
            assert newest == journal.serial(conn) == count
            assert newest >= seen
            seen, reads = newest, reads + 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert reads > 0
    with catalogue.read() as conn:
        assert journal.serial(conn) == PROCESSES * sum(1 + number % 3 for number in range(WRITES))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_uses_connections_of_its_own(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        journal.record(conn, index_id, "a", "add", at=1, by="parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with catalogue.write() as conn:
                journal.record(conn, index_id, "b", "add", at=2, by="child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with catalogue.write() as conn:
        journal.record(conn, index_id, "c", "add", at=3, by="parent")
        assert [change.by for change in journal.since(conn, 0, 9)] == ["parent", "child", "parent"]


def test_sqlite_is_durable_and_strict(tmp_path: Path) -> None:
    catalogue = Catalogue.open(tmp_path / "catalogue.db")
    with catalogue.read() as conn:

        def pragma(name: str) -> object:
            return conn.execute(text(f"PRAGMA {name}")).scalar_one()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == connections.BUSY_SECONDS * 1000
    catalogue.close()
    assert (tmp_path / "catalogue.db").stat().st_mode & 0o777 == 0o600


def test_one_after_the_other_use_one_connection(tmp_path: Path) -> None:
    """After a burst, too: each connection keeps pages of its own."""
    catalogue = Catalogue.open(tmp_path / "catalogue.db")

    def used() -> object:
        with catalogue.read() as conn:
            return conn.connection.driver_connection

    with ExitStack() as burst:
        for _ in range(4):
            burst.enter_context(catalogue.read())
    assert len({id(used()) for _ in range(8)}) == 1
    catalogue.close()


def test_it_opens_again_with_what_was_written(address: str | Path) -> None:
    first = Catalogue.open(address)
    index_id = rows.index(first)
    first.close()
    second = Catalogue.open(address, create=False)
    with second.read() as conn:
        assert indexes.find(conn, "main") == indexes.Index(index_id, "main", "folder")
    second.close()


def test_a_catalogue_is_made_once(place: str | Path) -> None:
    """Two processes that start at once: one makes the tables, the other finds them."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Catalogue.open(place).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    Catalogue.open(place, create=False).close()


def test_an_empty_database_is_not_opened_by_a_worker(place: str | Path) -> None:
    with pytest.raises(CatalogueError, match="Start `pidex serve`"):
        Catalogue.open(place, create=False)


def test_a_newer_catalogue_names_its_program(address: str | Path) -> None:
    catalogue = Catalogue.open(address)
    with catalogue.write() as conn:
        conn.execute(text("update alembic_version set version_num = '9999'"))
        conn.execute(text("update meta set value = '99.1' where key = 'program'"))
    catalogue.close()
    for create in (True, False):
        with pytest.raises(CatalogueError) as caught:
            Catalogue.open(address, create=create)
        assert "made by a newer pidex (99.1" in str(caught.value)
        assert f"this is pidex {pidex.__version__}" in str(caught.value)


def test_an_older_catalogue_is_migrated_after_a_snapshot(
    address: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Catalogue.open(address)
    rows.index(old, "kept")
    old.close()
    known, later = schema.REVISION, tmp_path / "later"
    shutil.copytree(schema.MIGRATIONS, later)
    (later / "versions" / "9000_more.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9000'\ndown_revision = '{known}'\n"
        "def upgrade():\n"
        "    op.add_column('indexes', sa.Column('more', sa.Text(), nullable=False, server_default='x'))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "REVISION", "9000")
    with pytest.raises(CatalogueError, match=rf"older pidex \({known}\)"):
        Catalogue.open(address, create=False)
    catalogue = Catalogue.open(address, clock=lambda: rows.NOW)
    with catalogue.read() as conn:
        assert schema.stored(conn) == "9000"
        assert conn.execute(text("select name, more from indexes")).all() == [("kept", "x")]
    catalogue.close()
    if isinstance(address, Path):
        [snapshot] = snapshots.list(snapshots.folder_of(address))
        assert (snapshot.why, snapshot.taken) == ("migration", rows.NOW)
        with closing(sqlite3.connect(snapshot.path)) as conn:
            assert conn.execute("select version_num from alembic_version").fetchall() == [(known,)]


def test_a_missing_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="There is no catalogue"):
        Catalogue.open(tmp_path / "catalogue.db", create=False)
    with pytest.raises(CatalogueError, match="cannot be made: No such file or directory"):
        Catalogue.open(tmp_path / "nowhere" / "catalogue.db")
    assert [*tmp_path.iterdir()] == []


def filled(path: Path) -> Path:
    """A catalogue file of some hundred pages."""
    catalogue = Catalogue.open(path)
    rows.listed(catalogue, [rows.file(f"package{number}-1.0.tar.gz") for number in range(300)])
    catalogue.close()
    return path


def garbage(path: Path) -> None:
    path.write_bytes(b"This is no database at all. " * 1000)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def headless(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def emptied(path: Path) -> None:
    snapshots.take(path, snapshots.folder_of(path), rows.NOW)
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [garbage, cut, overwritten, headless, emptied])
@pytest.mark.parametrize("create", [True, False])
def test_a_damaged_catalogue_names_the_way_back(tmp_path: Path, damage: object, create: bool) -> None:
    path = filled(tmp_path / "catalogue.db")
    assert callable(damage)
    damage(path)
    with pytest.raises(CatalogueError) as caught:
        Catalogue.open(path, create=create)
    assert str(caught.value).startswith(f"The catalogue {path} is damaged (")
    assert "run `pidex restore --latest`, then `pidex scan`" in str(caught.value)


def test_damage_met_while_reading_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "catalogue.db")
    catalogue = Catalogue.open(path)
    overwritten(path)
    with pytest.raises(CatalogueError, match="is damaged"), catalogue.read() as conn:
        conn.execute(text("select sum(length(path)) from places")).all()
    catalogue.close()


def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table mine (a)")
    with pytest.raises(CatalogueError, match="not a pidex catalogue"):
        Catalogue.open(path)


def test_a_writer_that_is_kept_waiting_too_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0)
    path = tmp_path / "catalogue.db"
    Catalogue.open(path).close()
    catalogue = Catalogue.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogueError, match="held by another writer") as caught:
            rows.index(catalogue)
        assert caught.value.retry_after == 1
        with catalogue.read() as conn:  # readers do not wait for writers
            assert journal.serial(conn) == 0
    catalogue.close()


@pytest.mark.parametrize("url", ["mysql://host/db", "://", "oracle://x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(CatalogueError, match="postgresql://"):
        Catalogue.open(url)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(CatalogueError, match="does not answer") as caught:
        Catalogue.open(f"postgresql://someone:secret@/db?host={tmp_path}")
    assert "secret" not in str(caught.value)
