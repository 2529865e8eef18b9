"""What is held of upstreams: it comes back as it was put, and what is damaged is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue.expendable import Expendable
from pidex.catalogue.mirrored import BLOCK_METADATA, BLOCK_NAMES, FileRow, PageRow, Store

PAGE = PageRow(10.0, 20.0, b"digest", b"body" * 100, b"seen")


@pytest.fixture
def expendable(tmp_path: Path) -> Iterator[Expendable]:
    opened = Expendable(tmp_path / "cache.db")
    yield opened
    opened.close()


@pytest.fixture
def store(expendable: Expendable) -> Store:
    return Store(expendable)


def test_a_page_comes_back_as_it_was_put(store: Store) -> None:
    assert store.find_page("up", "demo") is None
    store.put_page("up", "demo", PAGE)
    assert store.find_page("up", "demo") == PAGE
    assert store.find_page("up", "demo", body=False) == PageRow(10.0, 20.0, b"digest")
    assert store.find_page("other", "demo") is None
    store.confirm_page("up", "demo", 30.0, 40.0)
    assert store.find_page("up", "demo") == PAGE._replace(fetched=30.0, fresh_until=40.0)
    store.put_page("up", "gone", PageRow(1.0, 2.0, None))
    assert store.list_pages() == [("up", "demo", 30.0, True), ("up", "gone", 1.0, False)]
    assert store.list_pages("other") == []
    assert store.drop_pages("up", "demo") == 1
    assert store.find_page("up", "demo") is None


def test_a_damaged_page_has_no_body(store: Store, expendable: Expendable) -> None:
    store.put_page("up", "demo", PAGE)
    expendable.run(
        lambda conn: conn.exec_driver_sql("update upstream_pages set body = x'00'"), None, write=True
    )
    found = store.find_page("up", "demo")
    assert found is not None
    assert found.body is None


def test_metadata_is_listed_a_block_at_a_time_without_what_is_damaged(
    store: Store, expendable: Expendable
) -> None:
    keys = [f"up/{number}" for number in range(BLOCK_METADATA + 3)]
    store.put_many((), [(key, key.encode(), 1.0) for key in keys])
    damage = "update upstream_metadata set body = x'00' where key = 'up/1'"
    expendable.run(lambda conn: conn.exec_driver_sql(damage), None, write=True)
    assert dict(store.list_metadata([*keys, "up/none"])) == {
        key: key.encode() for key in keys if key != "up/1"
    }
    assert not [*store.list_metadata([])]


@pytest.mark.parametrize("count", [0, 1, BLOCK_NAMES, BLOCK_NAMES + 1, 3 * BLOCK_NAMES + 7])
def test_a_list_of_names_is_whole_and_answers_for_each(store: Store, count: int) -> None:
    names = [f"name-{number:06}" for number in range(count)]
    assert store.put_names("up", names, "tag", 5.0) == count
    assert list(store.list_names("up")) == names
    assert list(store.list_names("other")) == []
    asked = {*names[:2], *names[-2:], *names[BLOCK_NAMES - 1 : BLOCK_NAMES + 1]}
    assert all(store.has_name("up", name) for name in asked)
    assert not any(store.has_name("up", name) for name in ("a", "zzz", "name-000000x", "name-0000"))
    (row,) = store.lists()
    assert (row.etag, row.fetched, row.names) == ("tag", 5.0, count)


def test_a_new_list_takes_the_place_of_the_old(store: Store) -> None:
    store.note_use("up", 1.0)
    assert store.lists()[0].fetched is None
    store.put_names("up", ["a", "b"], None, 5.0)
    store.put_names("up", ["b", "c"], "tag", 6.0)
    assert list(store.list_names("up")) == ["b", "c"]
    store.confirm_names("up", 9.0)
    assert store.lists()[0][1:] == (1.0, "tag", 9.0, 2)


def test_a_damaged_block_of_names_ends_the_list(store: Store, expendable: Expendable) -> None:
    store.put_names("up", [f"n{number:05}" for number in range(2 * BLOCK_NAMES)], None, 1.0)
    damage = "update upstream_names set body = x'1234' where first <> 'n00000'"
    expendable.run(lambda conn: conn.exec_driver_sql(damage), None, write=True)
    assert len(list(store.list_names("up"))) == BLOCK_NAMES
    assert not store.has_name("up", f"n{BLOCK_NAMES:05}")


def test_metadata_and_hashes_are_held(store: Store) -> None:
    store.put_metadata("up/1", b"one", 1.0)
    store.put_metadata("up/1", b"two", 2.0)
    assert store.find_metadata("up/1") == b"two"
    assert store.find_metadata("up/2") is None
    store.put_learnt("digest", "a" * 64, 5)
    store.put_learnt("digest", "b" * 64, 6)
    assert store.find_learnt("digest") == ("a" * 64, 5), "the first one stays"


def test_files_come_in_the_order_of_their_last_use(store: Store) -> None:
    rows = [
        FileRow(str(number) * 64, number, 1, 1, 0.0, float(number), "up", "p", "f") for number in (3, 1, 2)
    ]
    for row in rows:
        store.put_file(row)
    assert [row.size for row in store.list_files()] == [1, 2, 3]
    store.note_uses({"1" * 64: 9.0})
    assert [row.size for row in store.list_files()] == [2, 3, 1]
    assert store.totals() == (0, 0, 3, 6)
    store.drop_files(["2" * 64])
    assert store.find_file("2" * 64) is None
    assert store.find_file("3" * 64) == rows[0]


def test_everything_may_vanish_at_any_time(store: Store, tmp_path: Path) -> None:
    store.put_page("up", "demo", PAGE)
    for path in tmp_path.iterdir():
        path.unlink()
    assert store.find_page("up", "demo") is None
    store.put_page("up", "demo", PAGE)
    assert store.find_page("up", "demo") == PAGE
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    assert store.find_page("up", "demo") in (None, PAGE), "what is in its log is still right"
    store.put_page("up", "demo", PAGE)
    assert store.find_page("up", "demo") == PAGE
