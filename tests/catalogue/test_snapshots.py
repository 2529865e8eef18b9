"""Daily copies: consistent, checked, few, and never replaced by a damaged one."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pidex.catalogue import journal, snapshots
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import CatalogueError
from tests.catalogue import rows

DAY = snapshots.INTERVAL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalogue file with something in it."""
    catalogue = Catalogue.open(tmp_path / "catalogue.db")
    rows.listed(catalogue, [rows.file(f"package{number}-1.0.tar.gz") for number in range(200)])
    catalogue.close()
    return tmp_path / "catalogue.db"


def test_a_snapshot_is_a_catalogue(path: Path) -> None:
    taken = snapshots.take(path, snapshots.folder_of(path), rows.NOW)
    assert taken.path.name == "catalogue-20240102T030405Z-daily.db"
    assert [*snapshots.list(snapshots.folder_of(path))] == [taken]
    assert [entry.name for entry in taken.path.parent.iterdir()] == [taken.path.name]
    assert taken.path.stat().st_mode & 0o777 == 0o600
    copy = Catalogue.open(taken.path, create=False)
    with copy.read() as conn:
        assert journal.serial(conn) == 200
    copy.close()


def test_one_a_day_is_due(path: Path) -> None:
    folder = snapshots.folder_of(path)
    assert snapshots.due(folder, rows.NOW)
    snapshots.take(path, folder, rows.NOW)
    assert not snapshots.due(folder, rows.NOW)
    assert not snapshots.due(folder, rows.NOW + DAY - 1)
    assert snapshots.due(folder, rows.NOW + DAY)
    assert snapshots.due(folder, rows.NOW - 10)  # the clock was wrong once


def test_the_newest_stay(path: Path) -> None:
    folder = snapshots.folder_of(path)
    for day in range(9):
        snapshots.take(path, folder, rows.NOW + day * DAY)
    found = snapshots.list(folder)
    assert [snapshot.taken for snapshot in found] == [rows.NOW + day * DAY for day in range(8, 1, -1)]
    snapshots.take(path, folder, rows.NOW + 9 * DAY, keep=2)
    assert len(snapshots.list(folder)) == 2


def test_what_is_being_written_is_in_it_whole_or_not(path: Path) -> None:
    """Each transaction writes two lines: a copy taken between two transactions has an even number."""
    catalogue = Catalogue.open(path)
    index_id = rows.index(catalogue)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            with catalogue.write() as conn:
                journal.record(conn, index_id, "a", "add", at=1, by="x")
                journal.record(conn, index_id, "b", "add", at=1, by="x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            taken = snapshots.take(path, snapshots.folder_of(path), rows.NOW + number)
            with closing(sqlite3.connect(taken.path)) as conn:
                [(count, newest)] = conn.execute("select count(*), max(serial) from journal").fetchall()
            assert count == newest
            assert count % 2 == 0
    finally:
        over.set()
        writer.join()
        catalogue.close()


def test_a_damaged_copy_replaces_no_good_one(path: Path) -> None:
    folder = snapshots.folder_of(path)
    good = [snapshots.take(path, folder, rows.NOW + day * DAY, keep=3) for day in range(3)]
    with closing(sqlite3.connect(path)) as conn:
        [(page,)] = conn.execute(
            "select rootpage from sqlite_master where name = 'ix_files_index_id_project'"
        )
        [(size,)] = conn.execute("pragma page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size + 12)
        file.write(os.urandom(200))
    with pytest.raises(CatalogueError, match=r"is damaged .*restore --latest"):
        snapshots.take(path, folder, rows.NOW + 3 * DAY, keep=3)
    assert [*snapshots.list(folder)] == good[::-1]
    assert len([*folder.iterdir()]) == 3


def test_what_a_killed_one_left_is_swept(path: Path) -> None:
    folder = snapshots.folder_of(path)
    folder.mkdir()
    (folder / ".taking-1.db").write_bytes(b"half")
    (folder / "note.txt").write_text("mine")
    snapshots.take(path, folder, rows.NOW)
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "catalogue-20240102T030405Z-daily.db",
        "note.txt",
    ]


def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    folder = path.parent / "snapshots"
    folder.write_text("a file is in the way")
    with pytest.raises(CatalogueError, match=r"No snapshot can be written to .*snapshots"):
        snapshots.take(path, folder, rows.NOW)


def test_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be used"):
        snapshots.take(tmp_path / "catalogue.db", tmp_path / "snapshots", rows.NOW)
    assert not (tmp_path / "catalogue.db").exists()
    assert [*(tmp_path / "snapshots").iterdir()] == []


def test_a_snapshot_takes_the_place_of_a_damaged_catalogue(path: Path) -> None:
    folder = snapshots.folder_of(path)
    taken = snapshots.take(path, folder, rows.NOW)
    path.write_bytes(b"no database" * 1_000)
    aside = snapshots.restore(path, taken.path, rows.NOW + 60)
    assert aside is not None
    assert aside.read_bytes().startswith(b"no database"), "what was there is kept"
    catalogue = Catalogue.open(path, create=False)
    with catalogue.read() as conn:
        assert journal.serial(conn) == 200
    catalogue.close()
    assert taken.path.exists()


def test_a_damaged_snapshot_replaces_nothing(path: Path) -> None:
    before = path.read_bytes()
    folder = snapshots.folder_of(path)
    bad = snapshots.take(path, folder, rows.NOW).path
    bad.write_bytes(b"no database" * 1_000)
    with pytest.raises(CatalogueError):
        snapshots.restore(path, bad, rows.NOW)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["catalogue.db", "snapshots"]


def test_a_catalogue_that_is_gone_comes_back(path: Path) -> None:
    taken = snapshots.take(path, snapshots.folder_of(path), rows.NOW)
    path.unlink()
    assert snapshots.restore(path, taken.path, rows.NOW) is None
    assert path.exists()
