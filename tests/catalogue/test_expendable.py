"""Wishes between processes, in a file that may vanish or break at any moment."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from pidex.catalogue import expendable
from pidex.catalogue.expendable import Expendable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def worker(path: Path) -> Iterator[Expendable]:
    opened = Expendable(path)
    yield opened
    opened.close()


@pytest.fixture
def reconciler(path: Path) -> Iterator[Expendable]:
    opened = Expendable(path)
    yield opened
    opened.close()


def test_wishes_arrive_once_and_in_order(worker: Expendable, reconciler: Expendable) -> None:
    assert reconciler.take_wanted() == []
    worker.want("main", "b")
    worker.want("main", "a")
    worker.want("other", "a")
    worker.want("main")
    worker.want("main", "b")
    assert reconciler.take_wanted() == [("main", "b"), ("main", "a"), ("other", "a"), ("main", None)]
    assert reconciler.take_wanted() == []
    worker.want("main", "b")
    assert reconciler.take_wanted() == [("main", "b")]


def test_wishes_outlive_who_made_them(path: Path, reconciler: Expendable) -> None:
    worker = Expendable(path)
    worker.want("main", "a")
    worker.close()
    assert reconciler.take_wanted() == [("main", "a")]


@pytest.mark.parametrize("ends", [("",), ("", "-wal", "-shm"), ("-wal", "-shm")])
def test_the_file_may_be_deleted_while_in_use(
    path: Path, worker: Expendable, reconciler: Expendable, ends: tuple[str, ...]
) -> None:
    worker.want("main", "lost")
    reconciler.take_wanted()
    for end in ends:
        path.with_name(path.name + end).unlink()
    worker.want("main", "a")
    worker.want("main", "b")
    reconciler.take_wanted()
    worker.want("main", "c")
    assert ("main", "c") in reconciler.take_wanted()


@pytest.mark.parametrize("offset", [0, 100, 4096])
def test_the_file_may_be_damaged_while_in_use(
    path: Path, worker: Expendable, reconciler: Expendable, offset: int
) -> None:
    worker.want("main", "lost")
    worker.close()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(5000))
    worker.want("main", "a")
    reconciler.take_wanted()
    worker.want("main", "b")
    assert ("main", "b") in reconciler.take_wanted()


def test_a_file_of_another_version_is_made_anew(
    path: Path, worker: Expendable, reconciler: Expendable
) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table wanted (something text)")
        conn.execute("create table of_yore (something text)")
        conn.execute(f"pragma user_version = {expendable.VERSION + 1}")
    worker.want("main", "a")
    assert reconciler.take_wanted() == [("main", "a")]
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute("select name from sqlite_master where type = 'table'").fetchall()
        assert {name for (name,) in found} == {*expendable.metadata.tables}


def test_wishes_are_bounded(
    worker: Expendable, reconciler: Expendable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expendable, "MAX_WANTED", 3)
    for number in range(5):
        worker.want("main", f"p{number}")
    worker.want("main")  # a person waits for this one
    assert reconciler.take_wanted() == [("main", "p0"), ("main", "p1"), ("main", "p2"), ("main", None)]


def test_a_folder_that_is_gone_loses_wishes_and_raises_nothing(tmp_path: Path) -> None:
    nowhere = Expendable(tmp_path / "nowhere" / "cache.db")
    nowhere.want("main", "a")
    assert nowhere.take_wanted() == []


def test_another_writer_is_not_robbed(
    path: Path, worker: Expendable, reconciler: Expendable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expendable, "BUSY_SECONDS", 0.01)
    worker.want("main", "kept")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        Expendable(path).want("main", "lost")
    assert reconciler.take_wanted() == [("main", "kept")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_opens_the_file_itself(worker: Expendable, reconciler: Expendable) -> None:
    worker.want("main", "parent")
    child = os.fork()
    if child == 0:
        try:
            worker.want("main", "child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert reconciler.take_wanted() == [("main", "parent"), ("main", "child")]


def test_last_uses_of_tokens(
    worker: Expendable, reconciler: Expendable, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconciler.uses() == {}
    worker.note_use(1, 1_800_000_000_000_000)
    worker.note_use(2, 5)
    worker.note_use(2, 6)
    assert reconciler.uses() == {1: 1_800_000_000_000_000, 2: 6}
    path.unlink()
    assert reconciler.uses() == {}
    monkeypatch.setattr(
        expendable, "_OLD", select(expendable.uses.c.token_id).order_by(-expendable.uses.c.at).offset(2)
    )
    for number in (3, 4, 5):
        worker.note_use(number, number)
    assert reconciler.uses() == {4: 4, 5: 5}, "the one unused for longest goes"
