"""What was last seen, and what is told of it."""

from __future__ import annotations

from pidex.core.folder import mark
from pidex.core.marks import Marks, Seen, Troubles
from pidex.core.model import Entry, Place, PlaceState, Problem, Stat

STAT = Stat(10, 1_000, 2_000, 7, 1)


def place(path: str, state: PlaceState = PlaceState.WHOLE) -> Place:
    return Place(0, path, STAT, state)


def seen(path: str, state: PlaceState = PlaceState.WHOLE) -> Seen:
    return Seen(0, path, mark(STAT), state)


def entry(path: str, ctime_ns: int = 2_000) -> Entry:
    return Entry(0, path, STAT._replace(ctime_ns=ctime_ns))


def test_unchanged_places_ask_for_nothing_and_unread_ones_for_a_look() -> None:
    marks = Marks([seen("a"), seen("b", PlaceState.PENDING), seen("c", PlaceState.UNREAD)])
    found = marks.compare([entry("a"), entry("b"), entry("c")])
    assert [item.path for item in found.look] == ["c"]
    assert marks.unread == {(0, "c")}


def test_a_rebuild_looks_into_everything() -> None:
    marks = Marks([seen("a")], rebuild=True)
    assert [item.path for item in marks.compare([entry("a")]).look] == ["a"]
    assert marks.announce([entry("a")]) == []  # it is listed, and its page need not wait


def test_a_first_listing_announces_what_is_not_known_to_be_whole() -> None:
    marks = Marks([seen("whole"), seen("pending", PlaceState.PENDING)])
    new = [entry("whole", 9), entry("pending", 9), entry("new")]
    assert [item.path for item in marks.announce(new)] == ["pending", "new"]
    assert marks.unread == {(0, "pending"), (0, "new")}
    assert marks.looked(place("new"))
    assert not marks.looked(place("whole"))
    assert marks.unread == {(0, "pending")}


def test_what_is_to_be_looked_at_again_differs_from_every_listing() -> None:
    marks = Marks([seen("a")])
    marks.again((0, "a"))
    marks.again((0, "unknown"))
    assert [item.path for item in marks.compare([entry("a")]).look] == ["a"]
    assert (0, "unknown") not in marks


def test_forgotten_paths_are_new() -> None:
    marks = Marks([seen("d/a")])
    assert marks.compare_at({(0, "d")}, []).forget == ((0, "d/a"),)
    marks.forget((0, "d/a"))
    assert marks.compare_at({(0, "d")}, []).forget == ()
    assert [item.path for item in marks.compare_at({(0, "d")}, [entry("d/a")]).look] == ["d/a"]


LINK, SHUT = (
    Problem(0, "a/x.whl", "broken-link", "nothing"),
    Problem(0, "shut", "folder-unreadable", "denied"),
)


def test_problems_are_told_once() -> None:
    troubles = Troubles()
    assert troubles.replace([LINK, SHUT])
    assert len(troubles.news(10)) == 2
    assert not troubles.replace([SHUT, LINK])
    assert troubles.news(10) == []
    troubles.doubt()
    assert troubles.replace([LINK])  # the catalogue may say something else
    assert troubles.news(10) == []
    assert troubles.replace([LINK, SHUT])
    assert len(troubles.news(10)) == 1


def test_an_empty_folder_is_news_for_a_catalogue_that_has_problems() -> None:
    assert Troubles().replace([])


def test_many_problems_are_counted_and_other_files_are_no_news() -> None:
    troubles = Troubles()
    many = [Problem(0, f"{number:03}", "loop", "round") for number in range(30)]
    troubles.replace([*many, Problem(0, "README", "not-a-package", "no")])
    lines = troubles.news(20)
    assert len(lines) == 21
    assert "10 more" in lines[-1]
    assert troubles.first(5) == many[:5]


def test_problems_elsewhere_stay() -> None:
    troubles = Troubles()
    troubles.replace([LINK, SHUT])
    assert troubles.elsewhere({(0, "a")}) == [SHUT]
    assert troubles.elsewhere({(0, "shut")}) == [LINK]
