"""Downloads counted: noted by workers, settled by the main process, told of what may be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pidex.catalogue import files, indexes, yanks
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.expendable import Expendable
from pidex.core.errors import BadRequest, NotFound
from pidex.core.model import ANONYMOUS, DEFAULT_INDEX, OPERATOR
from pidex.core.permissions import Visibility
from pidex.statistics import DAY_SECONDS, KEEP_DAYS, UNUSED_DAYS, Statistics
from tests.catalogue.rows import file

NOW = 20_000 * DAY_SECONDS + 5_000.0
PIP, UV = 'pip/24.0 {"python":"3.12.1"}', "uv/0.9.1"
WHEEL, OTHER, SECRET = "demo-1.0-py3-none-any.whl", "demo-2.0.tar.gz", "hidden-1.0.tar.gz"


class Desk:
    """Statistics over a catalogue, with a clock that is set."""

    def __init__(self, catalogue: Catalogue, place: Path) -> None:
        self.catalogue, self.now = catalogue, NOW
        self.expendable = Expendable(place / "cache.db")
        with catalogue.write() as conn:
            self.index = indexes.ensure(conn, DEFAULT_INDEX, NOW)
        self.statistics = Statistics(
            catalogue, self.expendable, lambda: self.now, lambda *_: Visibility(frozenset({"demo*"}))
        )

    def count(self, *found: tuple[str, str, int], index: str = DEFAULT_INDEX) -> int:
        self.statistics.note({(index, filename, agent): number for filename, agent, number in found})
        return self.statistics.settle()


@pytest.fixture
def desk(catalogue: Catalogue, tmp_path: Path) -> Any:
    made = Desk(catalogue, tmp_path)
    yield made
    made.expendable.close()


def told(found: Any) -> dict[str, int]:
    return {each.name: each.number for each in found}


def test_downloads_are_added_up(desk: Desk) -> None:
    assert desk.count((WHEEL, PIP, 3), (WHEEL, UV, 1), (OTHER, PIP, 2)) == 3
    desk.count((WHEEL, PIP, 1))
    desk.now += 2 * DAY_SECONDS
    desk.count((WHEEL, PIP, 10))
    usage = desk.statistics.project(DEFAULT_INDEX, "Demo", days=7, by=OPERATOR)
    assert usage.total == 17
    assert told(usage.versions) == {"1.0": 15, "2.0": 2}
    assert told(usage.files) == {WHEEL: 15, OTHER: 2}
    assert told(usage.clients) == {"pip": 16, "uv": 1}
    assert told(usage.pythons) == {"3.12": 16, "": 1}
    assert [each.number for each in usage.by_day] == [0, 0, 0, 0, 7, 0, 10]
    assert [each.day for each in usage.by_day] == [*range(19_996, 20_003)]
    assert desk.statistics.project(DEFAULT_INDEX, "demo", days=1, by=OPERATOR).total == 10


def test_what_waits_is_taken_once(desk: Desk) -> None:
    assert desk.count((WHEEL, PIP, 1)) == 1
    assert desk.statistics.settle() == 0
    assert desk.statistics.index(DEFAULT_INDEX, by=OPERATOR).total == 1


def test_what_is_no_package_or_no_index_is_left_out(desk: Desk) -> None:
    assert desk.count(("index.html", PIP, 5), ("demo.exe.txt", PIP, 1)) == 0
    desk.count((WHEEL, PIP, 1), index="gone")
    assert desk.statistics.index(DEFAULT_INDEX, by=OPERATOR).total == 0


def test_what_could_not_be_settled_waits_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.statistics.note({(DEFAULT_INDEX, WHEEL, PIP): 4})
    with monkeypatch.context() as patch:
        patch.setattr("pidex.catalogue.downloads.add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.statistics.settle()
    assert desk.statistics.settle() == 1
    assert desk.statistics.index(DEFAULT_INDEX, by=OPERATOR).total == 4


def test_only_what_may_be_seen_is_told(desk: Desk) -> None:
    desk.count((WHEEL, PIP, 1), (SECRET, PIP, 100))
    seen = desk.statistics.index(DEFAULT_INDEX, by=ANONYMOUS)
    assert (seen.total, told(seen.projects), told(seen.clients)) == (1, {"demo": 1}, {"pip": 1})
    assert sum(each.number for each in seen.by_day) == 1
    assert desk.statistics.index(DEFAULT_INDEX, by=OPERATOR).total == 101
    with pytest.raises(NotFound):
        desk.statistics.project(DEFAULT_INDEX, "hidden", by=ANONYMOUS)
    for days in (0, KEEP_DAYS + 1):
        with pytest.raises(BadRequest):
            desk.statistics.index(DEFAULT_INDEX, days=days, by=ANONYMOUS)
    with pytest.raises(NotFound):
        desk.statistics.index("nowhere", by=OPERATOR)


def test_old_days_become_one_sum(desk: Desk) -> None:
    desk.count((WHEEL, PIP, 3), (WHEEL, UV, 4))
    desk.now += (KEEP_DAYS + 1) * DAY_SECONDS
    desk.count((WHEEL, PIP, 5))
    assert desk.statistics.project(DEFAULT_INDEX, "demo", days=KEEP_DAYS, by=OPERATOR).total == 5
    with desk.catalogue.read() as conn:
        kept = conn.exec_driver_sql("select day, client, number from downloads order by day").fetchall()
    assert [tuple(row) for row in kept] == [(0, "", 7), (20_401, "pip", 5)]
    desk.now += 2 * KEEP_DAYS * DAY_SECONDS
    desk.statistics.settle()
    with desk.catalogue.read() as conn:
        assert conn.exec_driver_sql("select sum(number) from downloads").scalar() == 12


def test_files_that_nobody_uses(desk: Desk) -> None:
    old = int((NOW - (UNUSED_DAYS + 1) * DAY_SECONDS) * 1_000_000)
    with desk.catalogue.write() as conn:
        for name, at in (
            (WHEEL, old),
            (OTHER, old + 1),
            (SECRET, old + 2),
            ("demo-3.0.tar.gz", int(NOW * 1e6)),
        ):
            files.replace(conn, desk.index, name, file(name, upload_time=at))
    unused = desk.statistics.never(DEFAULT_INDEX, by=OPERATOR)
    assert [each.filename for each in unused] == [WHEEL, OTHER, SECRET]
    desk.count((WHEEL, PIP, 1))
    assert [each.filename for each in desk.statistics.never(DEFAULT_INDEX, by=ANONYMOUS)] == [OTHER]


def test_who_still_uses_what_was_yanked(desk: Desk) -> None:
    with desk.catalogue.write() as conn:
        for name in (WHEEL, OTHER):
            files.replace(conn, desk.index, name, file(name))
    desk.count((WHEEL, PIP, 2), (OTHER, PIP, 1))
    assert desk.statistics.yanked(DEFAULT_INDEX, by=OPERATOR) == []
    desk.now += 3 * DAY_SECONDS
    with desk.catalogue.write() as conn:
        mark = yanks.Yank("demo", "release", "1", "broken", "ann", int(desk.now * 1_000_000))
        yanks.put(conn, desk.index, mark)
    assert desk.statistics.yanked(DEFAULT_INDEX, by=OPERATOR) == [], "all of it was before the yank"
    desk.count((WHEEL, UV, 7), (OTHER, UV, 1))
    (use,) = desk.statistics.yanked(DEFAULT_INDEX, by=OPERATOR)
    assert (use.filename, use.client, use.number, use.reason) == (WHEEL, "uv", 7, "broken")
