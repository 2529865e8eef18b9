"""What an index had at an earlier time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.errors import BadRequest
from pidex.core.timeline import Event, Version, moment, then

DEMO = "Demo-1.0.tar.gz"
KEY = DEMO.casefold()
ADD, REMOVE = f"add source file {DEMO}", f"remove file {DEMO}"


def shas(events: list[Event], versions: list[Version], at: int) -> dict[str, str]:
    return {key: version.sha256 for key, version in then(events, versions, at).files.items()}


def test_a_file_is_there_from_its_line_on_and_gone_after_it() -> None:
    events = [Event(10, ADD, "1.0", DEMO), Event(20, REMOVE, "1.0", DEMO), Event(30, ADD, "1.0", DEMO)]
    versions = [Version(DEMO, "a", 10, None)]
    assert [bool(shas(events, versions, at)) for at in (9, 10, 19, 20, 29, 30)] == [
        False, True, True, False, False, True,
    ]  # fmt: skip


def test_replaced_bytes_come_back() -> None:
    events = [Event(10, ADD, "1.0", DEMO), Event(20, REMOVE, "1.0", DEMO), Event(20, ADD, "1.0", DEMO)]
    versions = [Version(DEMO, "new", 20, None), Version(DEMO, "old", 10, 20)]
    assert shas(events, versions, 15) == {KEY: "old"}
    assert shas(events, versions, 20) == {KEY: "new"}


def test_a_file_older_than_the_journal_is_in_since_its_own_date() -> None:
    events = [Event(100, ADD, "1.0", DEMO)]
    versions = [Version(DEMO, "a", 50, None)]
    assert shas(events, versions, 49) == {}
    assert shas(events, versions, 50) == {KEY: "a"}


def test_yanks_come_and_go() -> None:
    events = [
        Event(10, "yank release", "1.0.0", None),
        Event(20, f"yank file {DEMO}", "1.0", DEMO),
        Event(30, "unyank release", "1", None),
        Event(40, f"unyank file {DEMO}", "1.0", DEMO),
    ]
    assert [then(events, [], at).yanked for at in (9, 10, 20, 30, 40)] == [
        set(), {"1"}, {"1", KEY}, {KEY}, set(),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "yesterday", "2999-01-01", "1960-01-01", "2026-13-01", "9" * 100])
def test_a_time_has_to_be_one_that_has_been(text: str) -> None:
    with pytest.raises(BadRequest):
        moment(text, 1_790_000_000.0)


def test_times_are_read_as_utc() -> None:
    assert moment("1970-01-02", 1e9) == 86_400_000_000
    assert moment("1970-01-02T02:00+02:00", 1e9) == moment("1970-01-02T00:00Z", 1e9) == 86_400_000_000


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=12), st.integers(0, 60))
def test_the_last_line_decides(lines: list[tuple[int, bool]], at: int) -> None:
    events = [Event(when, ADD if there else REMOVE, "1.0", DEMO) for when, there in sorted(lines)]
    past = [event for event in events if event.at <= at]
    expected = past[-1].action == ADD if past else False
    assert (KEY in then(events, [Version(DEMO, "a", 1_000, None)], at).files) is expected
