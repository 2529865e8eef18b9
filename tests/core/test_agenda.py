"""Which file is looked into next."""

from __future__ import annotations

from pidex.core.agenda import OVERLAP_SECONDS, Agenda, Order
from pidex.core.model import Entry, Stat


def entry(path: str, size: int = 1, ctime_ns: int = 1) -> Entry:
    return Entry(0, path, Stat(size, 1, ctime_ns, 1, 1))


def taken(agenda: Agenda, now: float = 100.0) -> list[str]:
    """The paths in the order in which they come."""
    found = []
    while (one := agenda.take(now)) is not None:
        found.append(one.path)
        agenda.done(one)
    return found


def test_small_files_first_within_an_order() -> None:
    agenda = Agenda()
    agenda.put(entry("first-big", 9), due=0, order=Order.FIRST)
    agenda.put(entry("first", 1), due=1, order=Order.FIRST)
    agenda.put(entry("again", 0), due=0, order=Order.AGAIN)
    agenda.put(entry("fresh", 5), due=2, order=Order.FRESH)
    assert taken(agenda) == ["fresh", "first", "first-big", "again"]


def test_nothing_comes_before_it_is_due() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=10.0, order=Order.FRESH)
    assert agenda.next_due() == 10.0
    assert taken(agenda, 9.9) == []
    assert taken(agenda, 10.0) == ["a"]
    assert agenda.next_due() is None


def test_wanted_files_go_first() -> None:
    agenda = Agenda()
    for path in "abc":
        agenda.put(entry(path), due=0, order=Order.FIRST)
    agenda.want([(0, "c"), (0, "unknown")])
    assert taken(agenda)[0] == "c"


def test_a_file_seen_twice_is_looked_into_once() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=5, order=Order.FRESH)
    agenda.put(entry("a"), due=50, order=Order.FRESH)  # as it was: its time has not begun again
    assert agenda.next_due() == 5
    assert taken(agenda) == ["a"]


def test_a_file_that_changed_meanwhile_waits_anew_and_comes_as_it_is_now() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=5, order=Order.FRESH)
    agenda.put(entry("a", ctime_ns=2), due=8, order=Order.FIRST)
    assert agenda.take(5) is None
    found = agenda.take(8)
    assert found is not None
    assert found.stat.ctime_ns == 2
    assert agenda.take(100) is None


def test_a_look_under_way_is_not_doubled_and_a_change_waits_for_its_end() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=0, order=Order.FRESH)
    running = agenda.take(0)
    assert running is not None
    agenda.put(entry("a"), due=0, order=Order.FRESH)
    assert agenda.take(100) is None
    agenda.put(entry("a", ctime_ns=2), due=0, order=Order.FRESH)
    assert agenda.take(100) is None
    agenda.done(running)
    assert agenda.take(100) is None
    assert agenda.take(100 + OVERLAP_SECONDS) is not None


def test_a_dropped_file_is_not_looked_into() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=0, order=Order.FRESH)
    agenda.drop((0, "a"))
    agenda.drop((0, "a"))
    assert taken(agenda) == []
    assert agenda.at_rest


def test_names_are_held_while_waiting_and_under_way() -> None:
    agenda = Agenda()
    agenda.put(entry("x/A.whl"), due=0, order=Order.FRESH)
    agenda.put(entry("y/a.whl"), due=50, order=Order.FRESH)
    assert agenda.holds("a.whl")
    running = agenda.take(0)
    assert running is not None
    agenda.drop((0, "y/a.whl"))
    assert agenda.holds("a.whl")
    agenda.done(running)
    assert not agenda.holds("a.whl")


def test_at_rest_means_nothing_but_second_looks() -> None:
    agenda = Agenda()
    assert agenda.at_rest
    agenda.put(entry("a"), due=0, order=Order.AGAIN)
    assert agenda.at_rest
    agenda.put(entry("b"), due=0, order=Order.FIRST)
    assert not agenda.at_rest
    assert agenda.waiting(Order.FIRST) == 1
    running = agenda.take(0)
    assert not agenda.at_rest
    assert running is not None
    assert agenda.running == 1
    agenda.done(running)
    assert agenda.at_rest
    assert agenda.running == 0


def test_a_second_look_becomes_a_first_one_when_asked_for_sooner() -> None:
    agenda = Agenda()
    agenda.put(entry("a"), due=60, order=Order.AGAIN)
    agenda.put(entry("a"), due=1, order=Order.FRESH)
    assert not agenda.at_rest
    assert taken(agenda, 1) == ["a"]
