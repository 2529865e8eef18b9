"""The change probe: told of every change, by whichever process, and of nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pidex.catalogue import journal, places
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.probe import MAX_CHANGES
from pidex.core.errors import CatalogueError
from tests.catalogue import rows


def record(catalogue: Catalogue, index_id: int, *projects: str) -> None:
    with catalogue.write() as conn:
        journal.record_many(conn, index_id, [journal.Event(name, "add") for name in projects], at=1, by="x")


def test_it_tells_of_what_another_one_writes(catalogue: Catalogue, address: str | Path) -> None:
    main, other = rows.index(catalogue), rows.index(catalogue, "other")
    probe = catalogue.probe()
    assert probe.changed()  # who never asked may have missed anything
    assert not probe.changed()
    writer = Catalogue.open(address, create=False)
    record(writer, main, "a", "b", "a")
    record(writer, other, "a")
    writer.close()
    assert probe.changed()
    assert not probe.changed()
    serial, touched = probe.changes(0)
    assert serial == 4
    assert sorted(touched or []) == [("main", "a"), ("main", "b"), ("other", "a")]
    assert probe.changes(3) == (4, [("other", "a")])
    assert probe.changes(4) == (4, [])


def test_it_tells_of_what_this_process_writes(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    probe = catalogue.probe()
    for _ in range(5):
        probe.changed()
        record(catalogue, index_id, "a")
        assert probe.changed()


def test_an_undone_write_is_no_change(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    probe = catalogue.probe()
    probe.changed()

    def fail() -> None:
        with catalogue.write() as conn:
            journal.record(conn, index_id, "a", "add", at=1, by="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not probe.changed()


def test_a_write_that_no_reader_sees_touches_nothing(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    record(catalogue, index_id, "a")
    probe = catalogue.probe()
    with catalogue.write() as conn:
        places.upsert_many(conn, index_id, [rows.place("a-1.0.tar.gz")])
    probe.changed()
    assert probe.changes(1) == (1, [])


def test_too_many_changes_are_everything(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    record(catalogue, index_id, *["a"] * (MAX_CHANGES + 1))
    probe = catalogue.probe()
    assert probe.changes(0) == (MAX_CHANGES + 1, None)
    assert probe.changes(1) == (MAX_CHANGES + 1, [("main", "a")])


def test_serials_that_went_back_are_everything(catalogue: Catalogue) -> None:
    assert catalogue.probe().changes(17) == (0, None)


def test_each_thread_has_its_own_view(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    probe = catalogue.probe()
    seen: list[bool] = []

    def ask() -> None:
        seen.extend([probe.changed(), probe.changed()])
        record(catalogue, index_id, "a")
        seen.append(probe.changed())

    probe.changed()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [True, False, True]
    assert probe.changed()
    assert not probe.changed()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_asks_on_its_own(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    probe = catalogue.probe()
    probe.changed()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            probe.changed()
            record(catalogue, index_id, "a")
            status = 0 if probe.changed() and not probe.changed() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert probe.changed()


def test_a_catalogue_that_vanished_is_named(tmp_path: Path) -> None:
    catalogue = Catalogue.open(tmp_path / "catalogue.db")
    catalogue.close()
    (tmp_path / "catalogue.db").unlink()
    with pytest.raises(CatalogueError, match=r"catalogue\.db cannot be used"):
        catalogue.probe().changed()
    assert not (tmp_path / "catalogue.db").exists()


def test_one_that_follows_asks_for_itself_or_goes_by_the_one_that_leads(
    catalogue: Catalogue, address: str | Path
) -> None:
    index_id = rows.index(catalogue)
    leading, following = catalogue.probe(), catalogue.probe(follows=True)
    assert following.changed(), "who never asked may have missed anything"
    assert not following.changed()
    leading.changed()
    following.changed()
    record(catalogue, index_id, "a")
    assert following.changed(), "what this process writes is seen though nobody leads"
    writer = Catalogue.open(address, create=False)
    for _ in range(3):
        record(writer, index_id, "b")
        assert leading.changed()
        assert following.changed()
        assert not following.changed()
        assert not leading.changed()
    writer.close()
