"""What listings ask for, when files are looked at, and what a file name stands for."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.folder import (
    AT_REST_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SETTLE_COARSE_SECONDS,
    SETTLE_SECONDS,
    UNREAD,
    Election,
    Source,
    difference,
    elect,
    expired,
    is_sidecar,
    mark,
    pause,
    same,
    same_but_ctime,
    scope,
    settle_pause,
    within,
)
from pidex.core.interfaces import KeptFile
from pidex.core.model import Admission, Entry, Place, PlaceState, Problem, Stat

STAT = Stat(10, 1_000, 2_000, 7, 1)
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
NAME = "foo-1.0.tar.gz"
WHOLE, PENDING, REFUSED = PlaceState.WHOLE, PlaceState.PENDING, PlaceState.REFUSED


def entry(path: str, root: int = 0, **changed: int) -> Entry:
    return Entry(root, path, STAT._replace(**changed))


def place(path: str = NAME, sha256: str | None = OLD, *, root: int = 0, state: PlaceState = WHOLE) -> Place:
    return Place(root, path, STAT, state, sha256 if state is WHOLE else None)


def admission(sha256: str = OLD) -> Admission:
    return Admission(NAME, sha256, 10, 5, "seen", "pidex", "folder")


# --- listings ---


def test_an_unchanged_listing_asks_for_nothing() -> None:
    known = {(0, "a.whl"): mark(STAT), (1, "b.whl"): mark(STAT)}
    found = difference([entry("a.whl"), entry("b.whl", 1)], known)
    assert (found.look, found.forget, found.seen) == ((), (), 2)


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_a_file_is_looked_into_when_any_part_of_its_stat_changed(field: str) -> None:
    changed = entry("a.whl", **{field: 99})
    assert difference([changed], {(0, "a.whl"): mark(STAT)}).look == (changed,)
    assert not same(changed.stat, STAT)
    assert same_but_ctime(changed.stat, STAT) == (field == "ctime_ns")


def test_another_device_number_alone_is_no_change() -> None:
    assert difference([entry("a.whl", device=99)], {(0, "a.whl"): mark(STAT)}).look == ()


def test_new_and_unread_files_are_looked_into_and_vanished_ones_forgotten() -> None:
    found = difference(
        [entry("new.whl"), entry("unread.whl")], {(0, "unread.whl"): UNREAD, (0, "gone.whl"): mark(STAT)}
    )
    assert [item.path for item in found.look] == ["new.whl", "unread.whl"]
    assert found.forget == ((0, "gone.whl"),)


def test_what_cannot_be_seen_is_not_gone() -> None:
    known = {(0, "a.whl"): mark(STAT), (1, "shut/b.whl"): mark(STAT), (1, "c.whl"): mark(STAT)}
    missing = Problem(0, "", "root-missing", "not there")
    shut = Problem(1, "shut", "folder-unreadable", "permission denied")
    found = difference([missing, shut], known)
    assert found.forget == ((1, "c.whl"),)
    assert found.problems == (missing, shut)


def test_other_problems_hide_nothing() -> None:
    found = difference([Problem(0, "x", "bare-repository", "git")], {(0, "x/a.whl"): mark(STAT)})
    assert found.forget == ((0, "x/a.whl"),)


def test_only_what_is_in_the_scope_is_forgotten() -> None:
    known = {(0, "a/x.whl"): mark(STAT), (0, "b/y.whl"): mark(STAT)}
    assert difference([], known, [(0, "a/x.whl")]).forget == ((0, "a/x.whl"),)


def test_a_scope_is_all_that_lies_at_or_below_a_path() -> None:
    known = {(0, "a/x.whl"), (0, "a/b/y.whl"), (0, "ab/z.whl"), (1, "a/x.whl"), (0, "w.whl")}
    assert scope(known, {(0, "a")}, ()) == {(0, "a/x.whl"), (0, "a/b/y.whl")}
    assert scope(known, {(0, "w.whl")}, ()) == {(0, "w.whl")}
    assert scope(known, {(1, "")}, ()) == {(1, "a/x.whl")}
    assert (
        scope(known, {(0, "a")}, {(0, "a")}) == set()
    )  # a file lies there now; the next scan finds the rest
    assert within((0, "a/b/y.whl"), {(0, "a")})
    assert not within((0, "a"), {(0, "a")})


@pytest.mark.parametrize("name", ["a.whl.asc", "a.tar.gz.SIG", "a.whl.metadata", "a.zip.sha256"])
def test_sidecars(name: str) -> None:
    assert is_sidecar(name)
    assert not is_sidecar("a.whl")


# --- when ---


def test_a_file_that_just_changed_waits_for_a_tick_of_the_clock() -> None:
    now = 1_000_000.5
    recent = STAT._replace(mtime_ns=int((now - 1) * 1e9) + 1, ctime_ns=int(now * 1e9) + 1)
    assert settle_pause(recent, now) == SETTLE_SECONDS
    coarse = STAT._replace(mtime_ns=999_999 * 10**9, ctime_ns=1_000_000 * 10**9)
    assert settle_pause(coarse, now) == SETTLE_COARSE_SECONDS
    old = STAT._replace(mtime_ns=1, ctime_ns=int((now - AT_REST_SECONDS - 1) * 1e9))
    assert settle_pause(old, now) == 0.0
    assert settle_pause(recent, now - 3_600) == SETTLE_SECONDS  # a file server whose clock is ahead


def test_pauses_double_from_a_quarter_second_to_a_minute() -> None:
    pauses = [pause(looks, 0.0) for looks in range(1, 40)]
    assert pauses[:4] == [FIRST_PAUSE_SECONDS, 0.5, 1.0, 2.0]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert pauses == sorted(pauses)


def test_a_pause_is_never_shorter_than_two_looks() -> None:
    assert pause(1, 5.0) == 10.0
    assert pause(30, 100.0) == 200.0


# --- elections ---


def test_no_place_no_file_whatever_was_admitted() -> None:
    assert elect([], admission(), good=True, held=True) == Election()


def test_a_new_whole_file_is_admitted() -> None:
    election = elect([place()], None)
    assert (election.place, election.sha256, election.admits) == (place(), OLD, True)


def test_first_root_then_fewest_folders_then_path() -> None:
    ordered = [
        place("z/" + NAME, OLD),
        place("a/b/" + NAME, NEW),
        place(NAME, OTHER, root=1),
    ]
    for places in permutations(ordered):
        election = elect(places, None)
        assert election.place == ordered[0]
        assert set(election.shadowed) == set(ordered[1:])


def test_identical_bytes_are_one_file() -> None:
    assert elect([place(), place("a/" + NAME)], None).shadowed == ()


def test_changed_bytes_are_followed_in_a_folder_and_withheld_where_immutable() -> None:
    assert elect([place(sha256=NEW)], admission()).admits
    fixed = elect([place(sha256=NEW)], admission(), good=True, mutability="immutable")
    assert (fixed.sha256, fixed.source, fixed.admits) == (OLD, Source.KEPT, False)
    assert [item.place.sha256 for item in fixed.withheld] == [NEW]
    assert "immutable" in fixed.withheld[0].reason
    gone = elect([place(sha256=NEW)], admission(), mutability="immutable")
    assert gone.place is None
    assert [item.place.sha256 for item in gone.withheld] == [NEW]


def test_an_immutable_index_lists_the_admitted_bytes_wherever_they_lie() -> None:
    places = [place(sha256=NEW), place("deep/" + NAME, OLD)]
    election = elect(places, admission(), mutability="immutable")
    assert (election.place, election.sha256) == (places[1], OLD)


def test_a_burnt_name_is_withheld_with_its_reason() -> None:
    election = elect([place()], admission(), good=True, held=True, burnt="deleted by ann")
    assert election.place is None
    assert [item.reason for item in election.withheld] == ["deleted by ann"]


@pytest.mark.parametrize("state", [PENDING, REFUSED, PlaceState.UNREAD])
def test_the_last_good_version_stays_while_its_bytes_can_be_had(state: PlaceState) -> None:
    there = place(state=state)
    kept = elect([there], admission(), good=True)
    assert (kept.place, kept.sha256, kept.source, kept.admits) == (there, OLD, Source.KEPT, False)
    copy = place("copy/" + NAME)
    assert elect([there, copy], admission()).place == copy


def test_other_bytes_further_down_take_the_name_only_when_the_admitted_are_gone() -> None:
    places = [place(state=PENDING), place("copy/" + NAME, NEW)]
    assert elect(places, admission(), good=True).sha256 == OLD
    taken = elect(places, admission(), held=True)
    assert (taken.sha256, taken.admits) == (NEW, True)


def test_a_row_without_bytes_is_held_while_something_grows() -> None:
    assert elect([place(state=PENDING)], admission(), held=True).source is Source.HELD
    assert elect([place(state=PENDING)], admission(), held=False).place is None
    assert elect([place(state=REFUSED)], admission(), held=True).place is None


a_place = st.builds(
    place,
    path=st.sampled_from([NAME, "a/" + NAME, "a/b/" + NAME, "b/" + NAME.upper()]),
    sha256=st.sampled_from([OLD, NEW, OTHER]),
    root=st.integers(0, 1),
    state=st.sampled_from(list(PlaceState)),
)


@given(
    places=st.lists(a_place, max_size=5, unique_by=lambda item: (item.root, item.path)),
    admitted=st.none() | st.sampled_from([OLD, NEW]),
    good=st.booleans(),
    held=st.booleans(),
    mutability=st.sampled_from(["folder", "immutable", "volatile"]),
)
def test_an_election_is_stable_and_never_lists_what_nobody_has(
    places: list[Place], admitted: str | None, good: bool, held: bool, mutability: str
) -> None:
    before = admission(admitted) if admitted else None
    good, held = good and before is not None, held and before is not None
    election = elect(places, before, good=good, held=held, mutability=mutability)
    for shuffled in (places[::-1], sorted(places, key=lambda item: item.path)):
        assert elect(shuffled, before, good=good, held=held, mutability=mutability) == election
    if election.place is None:
        assert not election.admits
        return
    assert election.sha256 is not None
    assert election.admits == (admitted != election.sha256)
    if election.source is Source.PLACE:
        assert election.place.sha256 == election.sha256
    else:
        assert election.sha256 == admitted
        assert good if election.source is Source.KEPT else held
    after = admission(election.sha256)
    again = elect(places, after, good=good and not election.admits, held=True, mutability=mutability)
    assert (again.place, again.sha256, again.admits) == (election.place, election.sha256, False)


# --- what is kept ---


def test_kept_bytes_go_when_nobody_lists_them_and_they_are_old_or_too_many() -> None:
    day = 86_400

    def kept(sha256: str, age: float, links: int = 1, size: int = 10) -> KeptFile:
        return KeptFile(sha256, Stat(size, 0, int((1_000_000 - age) * 1e9), 1, 1), links)

    files = [
        kept("listed", 30 * day),
        kept("old", 8 * day),
        kept("young", 1 * day),
        kept("linked", 30 * day, links=2),
        kept("large", 2 * day, size=95),
    ]
    dropped = expired(files, {"listed"}, now=1_000_000, seconds=7 * day, most_bytes=100)
    assert sorted(dropped) == ["large", "old"]
