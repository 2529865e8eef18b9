"""The page cache: bounded in bytes, dropped by project, its count of bytes never wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pidex.web.replies import Reply
from pidex.web.shelf import OVERHEAD_BYTES, Entry, Shelf, Variant


def variant(size: int) -> Variant:
    reply = Reply(200, [], b"x" * size)
    return Variant('"tag"', b'"tag"', reply, reply, reply)


def entry(project: str) -> Entry:
    return Entry("main", project, "list", False, "page", True, None)


def real_size(shelf: Shelf) -> int:
    return sum(
        OVERHEAD_BYTES + sum(len(each.whole.body) + OVERHEAD_BYTES for each in kept.variants.values())
        for kept in shelf.entries.values()
    )


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 2), st.integers(0, 60_000)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.just(0), st.just(0)),
)


@given(st.lists(STEPS, max_size=60))
def test_bytes_are_counted_and_bounded(steps: list[tuple[str, int, int, int]]) -> None:
    shelf = Shelf(100_000)
    for verb, project, slot, size in steps:
        if verb == "put":
            shelf.put(f"/simple/{project}/", entry(str(project)), (str(slot), None), variant(size))
        else:
            shelf.drop_project("main", str(project))
            assert f"/simple/{project}/" not in set(shelf)
        assert shelf.size == real_size(shelf) <= shelf.limit


def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf(60_000)
    for name in "abc":
        shelf.put(name, entry(name), (None, None), variant(8_000))
    shelf.entries.move_to_end("a")
    shelf.put("d", entry("d"), (None, None), variant(8_000))
    assert list(shelf) == ["c", "a", "d"]


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    shelf = Shelf(60_000)
    shelf.put("a", entry("a"), (None, None), variant(60_000))
    assert list(shelf) == []
    assert shelf.size == 0
