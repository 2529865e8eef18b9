"""Answers are kept for one state of the catalogue, for those alone who may see the same."""

from __future__ import annotations

from pathlib import Path

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.web.ui.recall import ANSWERS, SECONDS, Recall
from tests import samples
from tests.web.driver import House
from tests.web.ui.browser import Browser


class Source:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = self.state = 0
        self.now = 100.0

    def make(self) -> int:
        self.asked += 1
        return self.asked


def test_an_answer_stays_until_something_changes_or_time_goes_by() -> None:
    source = Source()
    recall = Recall(lambda: source.state, lambda: source.now)
    assert [recall.get("a", source.make) for _ in range(3)] == [1, 1, 1]
    assert recall.get(("a", 1), source.make) == 2
    source.state += 1
    assert recall.get("a", source.make) == 3
    source.now += SECONDS - 1
    assert recall.get("a", source.make) == 3
    source.now += 2
    assert recall.get("a", source.make) == 4
    assert [recall.get("b", source.make, lambda answer: answer > 5) for _ in range(4)] == [5, 6, 6, 6]


def test_what_changed_while_an_answer_was_made_is_asked_for_again() -> None:
    source = Source()
    recall = Recall(lambda: source.state, lambda: source.now)

    def slow() -> int:
        source.state += 1
        return source.make()

    assert recall.get("a", slow) == 1
    assert recall.get("a", source.make) == 2


def test_only_so_many_are_kept_the_latest_of_them() -> None:
    source = Source()
    recall = Recall(lambda: 0, lambda: source.now)
    for number in range(ANSWERS + 1):
        recall.get(number, source.make)
    assert recall.get(ANSWERS, source.make) == ANSWERS + 1
    assert recall.get(0, source.make) == ANSWERS + 2


def test_pages_show_changes_at_once_and_nobody_what_others_see(tmp_path: Path) -> None:
    """The first page, the list of all projects and the set-up are made from kept answers."""
    with House(tmp_path, samples.wheel("open-thing", "1.0"), samples.wheel("secret-thing", "1.0")) as house:
        desk = house.pidex.administration()
        desk.add_user("ann", "correct horse battery", by=OPERATOR)
        desk.grant("user:ann", "owner", index=DEFAULT_INDEX, by=OPERATOR)
        desk.ungrant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)
        desk.grant("group:anonymous", "reader", index=DEFAULT_INDEX, project="open-*", by=OPERATOR)
        ann, stranger = Browser(house), Browser(house)
        ann.sign_in("ann", "correct horse battery")
        for _ in range(2):
            for path in ("/", "/-/search", "/-/statistics"):
                assert ("secret-thing" in ann.open(path).text) is (path != "/-/statistics"), path
                assert "secret-thing" not in stranger.open(path).text, path
        house.add(samples.wheel("open-other", "1.0"))
        for browser in (ann, stranger):
            assert "open-other" in browser.open("/").text
            assert "open-other" in browser.open("/-/search").text
        desk.grant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)
        assert "secret-thing" in stranger.open("/-/search").text
        assert "3 projects" in stranger.open("/").text
