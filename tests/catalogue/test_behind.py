"""What is put waits in memory, is found there, and is written in one go; others see it then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue import behind
from pidex.catalogue.behind import Behind
from pidex.catalogue.expendable import Expendable
from pidex.catalogue.mirrored import PageRow, Store

PAGE = PageRow(10.0, 20.0, b"digest", b"body" * 100, b"seen")
#: Seconds that no test waits for.
NEVER = 3_600.0


@pytest.fixture
def expendable(tmp_path: Path) -> Iterator[Expendable]:
    opened = Expendable(tmp_path / "cache.db")
    yield opened
    opened.close()


@pytest.fixture
def store(expendable: Expendable) -> Iterator[Behind]:
    made = Behind(expendable, linger=NEVER)
    yield made
    made.flush()  # its timer ends, too


def test_who_puts_something_finds_it_at_once_and_others_when_it_is_written(
    store: Behind, expendable: Expendable
) -> None:
    other = Store(expendable)
    store.put_page("up", "demo", PAGE)
    store.put_metadata("up/1", b"one", 1.0)
    assert store.find_page("up", "demo") == PAGE
    assert store.find_page("up", "demo", body=False) == PageRow(10.0, 20.0, b"digest")
    assert store.find_metadata("up/1") == b"one"
    assert dict(store.list_metadata(["up/1", "up/2"])) == {"up/1": b"one"}
    assert not [*other.list_metadata(["up/1"])]
    assert (other.find_page("up", "demo"), other.find_metadata("up/1")) == (None, None)
    store.flush()
    for each in (store, other):
        assert each.find_page("up", "demo") == PAGE
        assert each.find_metadata("up/1") == b"one"
        assert dict(each.list_metadata(["up/1", "up/2"])) == {"up/1": b"one"}


def test_it_is_written_a_moment_later_by_itself(expendable: Expendable) -> None:
    store, other = Behind(expendable, linger=0.01), Store(expendable)
    store.put_metadata("up/1", b"one", 1.0)
    timer = store._timer
    assert timer is not None
    timer.join()
    assert other.find_metadata("up/1") == b"one"


def test_what_is_put_twice_is_as_it_was_put_last(store: Behind, expendable: Expendable) -> None:
    for body in (b"first", b"second"):
        store.put_page("up", "demo", PAGE._replace(body=body))
    assert store.find_page("up", "demo") == PAGE._replace(body=b"second")
    store.flush()
    store.put_page("up", "demo", PAGE)
    assert store.find_page("up", "demo") == PAGE, "what waits is newer than what is written"
    store.flush()
    assert Store(expendable).find_page("up", "demo") == PAGE


def test_what_speaks_of_all_pages_speaks_of_those_that_wait(store: Behind) -> None:
    store.put_page("up", "demo", PAGE)
    assert store.list_pages() == [("up", "demo", 10.0, True)]
    store.put_page("up", "other", PAGE)
    assert store.totals()[:2] == (2, 0)
    store.put_page("up", "third", PAGE)
    store.confirm_page("up", "third", 30.0, 40.0)
    assert store.find_page("up", "third") == PAGE._replace(fetched=30.0, fresh_until=40.0)
    store.put_page("up", "fourth", PAGE)
    assert store.drop_pages("up") == 4
    assert store.find_page("up", "fourth") is None


def test_what_waits_is_bounded(
    store: Behind, expendable: Expendable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "WAITING_BYTES", 10)
    for number in range(4):
        store.put_metadata(f"up/{number}", b"1234", 1.0)
    assert [store.find_metadata(f"up/{number}") for number in range(4)] == [None, None, b"1234", b"1234"]
    store.put_metadata("up/large", b"x" * 100, 1.0)
    assert store.find_metadata("up/large") == b"x" * 100, "the newest is kept, whatever its size"
    store.flush()
    assert Store(expendable).find_metadata("up/large") == b"x" * 100


def test_what_cannot_be_written_is_not_held(store: Behind, expendable: Expendable) -> None:
    store.put_metadata("up/1", b"one", 1.0)
    expendable.path.parent.joinpath("away").mkdir()
    expendable.path = expendable.path.parent / "away" / "missing" / "cache.db"
    store.flush()
    assert store.find_metadata("up/1") is None
