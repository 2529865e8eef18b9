"""What people and time decided: admissions, what they replaced, tombstones, intents, indexes, scans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pidex.catalogue import admissions, indexes, intents, scans, tombstones
from pidex.catalogue.engine import Catalogue
from pidex.core.model import Admission
from tests.catalogue import rows

FIRST = Admission("Foo-1.0.zip", "a" * 64, 10, rows.NOW_US, "mtime", "pidex", "folder")
SECOND = Admission("bar-1.0.zip", "b" * 64, 2**40, rows.NOW_US, "upload", "anna", "upload")


def test_a_list_longer_than_a_block_is_whole(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "BLOCK", 3)
    index_id = rows.index(catalogue)
    for count in (0, 2, 3, 4, 6, 7):
        made = [replace(FIRST, filename=f"Foo-{number:02}.zip") for number in range(count)]
        with catalogue.write() as conn:
            admissions.put_many(conn, index_id, made)
            assert [*admissions.list(conn, index_id)] == made


def test_admissions(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        admissions.put_many(conn, index_id, [FIRST, SECOND])
        assert admissions.find(conn, index_id, "foo-1.0.zip") == FIRST
        assert admissions.find(conn, index_id, "Foo-1.0.zip") is None
        assert [*admissions.list(conn, index_id)] == [SECOND, FIRST]
        newer = replace(FIRST, filename="FOO-1.0.zip", sha256="c" * 64)
        admissions.supersede(conn, index_id, [FIRST], replaced=5, by="git", how="folder")
        admissions.put(conn, index_id, newer)
        assert admissions.find_many(conn, index_id, ["foo-1.0.zip", "x"]) == {"foo-1.0.zip": newer}
        [old] = admissions.list_superseded(conn, index_id, "foo-1.0.zip")
        assert (old.filename, old.sha256, old.replaced, old.by, old.how) == (
            "Foo-1.0.zip",
            "a" * 64,
            5,
            "git",
            "folder",
        )
        assert admissions.list_superseded(conn, index_id) == [old]
        assert admissions.list_superseded(conn, index_id, "bar-1.0.zip") == []
        admissions.delete_many(conn, index_id, ["foo-1.0.zip", "x"])
        assert [*admissions.list(conn, index_id)] == [SECOND]


def test_tombstones(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    stone = tombstones.Tombstone("Foo-1.0.zip", "a" * 64, rows.NOW_US, "anna", "secret inside")
    with catalogue.write() as conn:
        tombstones.put(conn, index_id, stone)
        assert tombstones.find(conn, index_id, "foo-1.0.zip") == stone
        assert tombstones.find_many(conn, index_id, ["x", "foo-1.0.zip"]) == {"foo-1.0.zip": stone}
        tombstones.put(conn, index_id, replace(stone, reason=None))
        assert [*tombstones.list(conn, index_id)] == [replace(stone, reason=None)]
        tombstones.lift(conn, index_id, "foo-1.0.zip")
        assert tombstones.find(conn, index_id, "foo-1.0.zip") is None


def test_intents(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    intent = intents.Intent("Foo-1.0.zip", 0, "sub/Foo-1.0.zip", "a" * 64, 10, "anna", rows.NOW_US)
    with catalogue.write() as conn:
        intents.put(conn, index_id, intent)
        assert intents.find(conn, index_id, "foo-1.0.zip") == intent
        assert [*intents.list(conn, index_id)] == [intent]
        intents.done(conn, index_id, "foo-1.0.zip")
        assert [*intents.list(conn, index_id)] == []


def test_indexes(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        main = indexes.ensure(conn, "main", rows.NOW)
        assert indexes.ensure(conn, "main", rows.NOW + 5) == main
        other = indexes.ensure(conn, "frozen", rows.NOW, "immutable")
        assert [*indexes.list(conn)] == [
            indexes.Index(other, "frozen", "immutable"),
            indexes.Index(main, "main", "folder"),
        ]
        indexes.ensure(conn, "main", rows.NOW, "volatile")
        assert indexes.find(conn, "main") == indexes.Index(main, "main", "volatile")
        indexes.ensure(conn, "main", rows.NOW)
        assert indexes.find(conn, "main") == indexes.Index(main, "main", "volatile")
        assert indexes.find(conn, "Main") is None


def test_scans(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        assert scans.find(conn, index_id) == scans.Scan(False, None, 0)
        scans.restart(conn, index_id)
        scans.put(conn, index_id, scans.Scan(True, rows.NOW_US, 17))
        assert scans.find(conn, index_id) == scans.Scan(True, rows.NOW_US, 17)
        scans.restart(conn, index_id)
        assert scans.find(conn, index_id) == scans.Scan(False, rows.NOW_US, 17)
