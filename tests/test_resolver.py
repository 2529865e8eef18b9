"""What an index says, and what it says when it says nothing: absent, empty, withheld, not ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import pytest

from pidex.catalogue import admissions, journal, places, problems, scans, statuses, tombstones, yanks
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Busy, Changing, NotFound, Withheld
from pidex.core.interfaces import Handle, KeptFile
from pidex.core.model import (
    ANONYMOUS,
    OPERATOR,
    Admission,
    Entry,
    File,
    PlaceState,
    Problem,
    ProjectName,
    Stat,
    Status,
)
from pidex.history import RETRY_SECONDS
from pidex.resolver import Resolver
from tests.catalogue import rows

OLD = rows.file("Foo_Bar-1.0.tar.gz", upload_time=rows.NOW_US - 5, index="main")
WHEEL = rows.file("foo_bar-1.0.0-py3-none-any.whl", index="main")
NEW = rows.file("foo_bar-1.10-py3-none-any.whl", upload_time=rows.NOW_US + 5, index="main")
MIDDLE = rows.file("foo_bar-1.9-py3-none-any.whl", index="main")
LEGACY = rows.file("foo_bar-2004d.zip", index="main")
OTHER = rows.file("other-1.zip", index="main")
EVERY = [OLD, NEW, WHEEL, MIDDLE, LEGACY, OTHER]


class Opened:
    """An open file of the storage below."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def check(self, *, wait: bool = True) -> None:
        pass

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def read_cached(self, offset: int, length: int) -> bytes | None:
        return self.read(offset, length)

    def close(self) -> None:
        pass


class Memory:
    """A storage of bytes by their name, with nothing kept."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = held

    @property
    def roots(self) -> Mapping[int, str]:
        return {0: "/"}

    def add(self, roots: Mapping[int, str]) -> None:
        raise NotImplementedError

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        return (Entry(0, path, Stat(len(data), 0, 0, 0, 0)) for path, data in self.held.items())

    def stat(self, root: int, path: str) -> Stat | None:
        return Stat(len(self.held[path]), 0, 0, 0, 0) if path in self.held else None

    def path(self, root: int, path: str) -> str:
        return f"/{path}"

    def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
        return None

    def kept(self, sha256: str) -> Stat | None:
        return None

    def kept_path(self, sha256: str) -> str:
        return f"/kept/{sha256}"

    def sound(self, sha256: str) -> Stat | None:
        return None

    def release(self, sha256s: Iterable[str]) -> None:
        pass

    def list_kept(self) -> Iterator[KeptFile]:
        return iter(())

    def open(self, file: File, *, wait: bool = True) -> Handle:
        if file.path not in self.held:
            raise Changing(f"{file.filename} is changing.", retry_after=1)
        return Opened(self.held[file.path])


@pytest.fixture
def resolver(catalogue: Catalogue) -> Resolver:
    return Resolver(catalogue, Memory({OLD.path: b"bytes"}), lambda: rows.NOW)


@pytest.fixture
def index_id(catalogue: Catalogue) -> int:
    """The number of the index `main`, with every file above."""
    return rows.listed(catalogue, EVERY)


def quarantine(catalogue: Catalogue, index_id: int, project: str, reason: str | None = "malware") -> None:
    mark(catalogue, index_id, project, Status.QUARANTINED, reason)


def mark(
    catalogue: Catalogue, index_id: int, project: str, status: Status, reason: str | None = None
) -> None:
    with catalogue.write() as conn:
        marker = statuses.ProjectStatus(project, status, reason, "anna", rows.NOW_US)
        statuses.put(conn, index_id, marker)
        journal.record(conn, index_id, project, "status", at=1, by="anna")


def lay(catalogue: Catalogue, index_id: int, path: str, state: PlaceState, **known: object) -> None:
    with catalogue.write() as conn:
        places.upsert_many(conn, index_id, [rows.place(path, state, **known)])


# --- pages -------------------------------------------------------------------------------------------------


def test_a_page_says_everything_of_a_project(resolver: Resolver, index_id: int) -> None:
    page = resolver.page("main", "foo-bar", by=ANONYMOUS)
    assert (page.index, page.project, page.name) == ("main", "foo-bar", "foo_bar")  # of the latest upload
    # By version (texts that PEP 440 does not know come first), then by name.
    assert page.files == (LEGACY, OLD, WHEEL, MIDDLE, NEW)
    assert page.versions == ("2004d", "1.0", "1.9", "1.10")  # 1.0 and 1.0.0 are one
    assert page.status is Status.ACTIVE
    assert page.serial == 5  # of the project's last line, not of the index's


def test_a_page_has_the_yanks(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        yanks.put(conn, index_id, yanks.Yank("foo-bar", "release", "1", "broken", "anna", 1))
    page = resolver.page("main", "foo-bar", by=ANONYMOUS)
    assert [file.yanked for file in page.files] == [None, "broken", "broken", None, None]
    assert resolver.locate("main", WHEEL.blake2b_256, WHEEL.filename, by=ANONYMOUS).yanked == "broken"
    found = resolver.find("main", WHEEL.filename, by=ANONYMOUS)
    assert found is not None
    assert found.yanked == "broken"


def test_absent_empty_and_withheld_are_three_things(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    with pytest.raises(NotFound, match="Index main has no project absent"):
        resolver.page("main", "absent", by=ANONYMOUS)
    mark(catalogue, index_id, "empty", Status.ARCHIVED, "never came to be")
    empty = resolver.page("main", "empty", by=ANONYMOUS)
    assert (empty.files, empty.versions, empty.status) == ((), (), Status.ARCHIVED)
    assert (empty.serial, empty.status_reason) == (7, "never came to be")
    quarantine(catalogue, index_id, "foo-bar")
    withheld = resolver.page("main", "foo-bar", by=ANONYMOUS)
    assert withheld.files == ()
    assert withheld.versions == ("2004d", "1.0", "1.9", "1.10")
    assert (withheld.status, withheld.status_reason) == (Status.QUARANTINED, "malware")


@pytest.mark.parametrize("index", ["nowhere", "", "Main", "ma\x00in", "\udcff"])
def test_an_unknown_index(resolver: Resolver, index_id: int, index: str) -> None:
    with pytest.raises(NotFound):
        resolver.page(index, "foo-bar", by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.names(index, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.files(index, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.count(index, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.locate(index, OLD.blake2b_256, OLD.filename, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.why(index, "foo-bar", by=OPERATOR)


@pytest.mark.parametrize("text", ["a\x00b", "\udce9", "%s", "'", "x" * 70_000, ""])
def test_texts_that_are_no_names(resolver: Resolver, index_id: int, text: str) -> None:
    with pytest.raises(NotFound):
        resolver.page("main", text, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.locate("main", OLD.blake2b_256, text, by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.locate("main", text, OLD.filename, by=ANONYMOUS)
    assert resolver.find("main", text, by=ANONYMOUS) is None
    assert [reason.code for reason in resolver.why("main", text, by=ANONYMOUS)] == ["invalid"]


# --- not ready ---------------------------------------------------------------------------------------------


def test_a_page_waits_for_its_own_unread_files_only(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    lay(catalogue, index_id, "foo-bar-3.0.zip", PlaceState.UNREAD)
    with pytest.raises(Busy, match="still being read") as caught:
        resolver.page("main", "foo-bar", by=ANONYMOUS)
    assert caught.value.retry_after == RETRY_SECONDS
    assert resolver.page("main", "other", by=ANONYMOUS).files == (OTHER,)
    # What is listed can be had meanwhile; what is not read yet is not denied.
    assert resolver.locate("main", OLD.blake2b_256, OLD.filename, by=ANONYMOUS) == OLD
    with pytest.raises(Busy):
        resolver.locate("main", "0" * 64, "Foo-Bar-3.0.zip", by=ANONYMOUS)
    with pytest.raises(Busy):
        resolver.find("main", "foo-bar-3.0.zip", by=ANONYMOUS)
    lay(catalogue, index_id, "foo-bar-3.0.zip", PlaceState.PENDING)
    assert len(resolver.page("main", "foo-bar", by=ANONYMOUS).files) == 5


def test_before_the_first_listing_nothing_is_denied(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    with catalogue.write() as conn:
        scans.restart(conn, index_id)
    with pytest.raises(Busy):
        resolver.page("main", "absent", by=ANONYMOUS)
    with pytest.raises(Busy):
        resolver.locate("main", "0" * 64, "absent-1.0.zip", by=ANONYMOUS)
    with pytest.raises(Busy):
        resolver.find("main", "absent-1.0.zip", by=ANONYMOUS)
    # What is known from before is served at once.
    assert len(resolver.page("main", "foo-bar", by=ANONYMOUS).files) == 5
    assert [name.project for name in resolver.names("main", by=ANONYMOUS)[1]] == ["foo-bar", "other"]
    assert len([*resolver.files("main", by=ANONYMOUS)]) == len(EVERY)


def test_lists_wait_for_the_very_first_listing(resolver: Resolver, catalogue: Catalogue) -> None:
    rows.index(catalogue)
    with pytest.raises(Busy):
        resolver.names("main", by=ANONYMOUS)
    with pytest.raises(Busy):
        resolver.files("main", by=ANONYMOUS)
    assert resolver.count("main", by=ANONYMOUS) == (0, 0)


def test_the_list_of_files_is_never_a_part(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    lay(catalogue, index_id, "third-3.0.zip", PlaceState.UNREAD)
    with pytest.raises(Busy):
        resolver.files("main", by=ANONYMOUS)


# --- lists -------------------------------------------------------------------------------------------------


def test_names_are_whole_while_files_are_being_read(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    for path in ("Third_One-1.0.zip", "a-1.0.zip", "zz-1.zip", "foo-bar-9.zip", "bad-1.zip", "odd.zip"):
        lay(catalogue, index_id, path, PlaceState.UNREAD)
    quarantine(catalogue, index_id, "bad")
    serial, names = resolver.names("main", by=ANONYMOUS)
    assert serial == 7
    assert [*names] == [
        ProjectName("a", "a", 0),
        ProjectName("foo-bar", "foo_bar", 5),
        ProjectName("other", "other", 6),
        ProjectName("third-one", "third-one", 0),
        ProjectName("zz", "zz", 0),
    ]
    assert resolver.count("main", by=ANONYMOUS) == (2, 6)


def test_lists_leave_out_what_is_quarantined(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    quarantine(catalogue, index_id, "foo-bar")
    assert [*resolver.names("main", by=ANONYMOUS)[1]] == [ProjectName("other", "other", 6)]
    assert [*resolver.files("main", by=ANONYMOUS)] == [OTHER]


def test_a_list_that_nobody_reads_gives_its_connection_back(resolver: Resolver, index_id: int) -> None:
    for _ in range(200):
        resolver.names("main", by=ANONYMOUS)
        next(resolver.files("main", by=ANONYMOUS))
    assert resolver.count("main", by=ANONYMOUS) == (2, 6)


# --- files -------------------------------------------------------------------------------------------------


def test_a_file_is_found_by_its_bytes_and_name(resolver: Resolver, index_id: int) -> None:
    assert resolver.locate("main", OLD.blake2b_256, OLD.filename, by=ANONYMOUS) == OLD
    with pytest.raises(NotFound):  # another spelling is another URL
        resolver.locate("main", OLD.blake2b_256, OLD.filename.lower(), by=ANONYMOUS)
    with pytest.raises(NotFound):
        resolver.locate("main", OLD.blake2b_256, OTHER.filename, by=ANONYMOUS)
    with pytest.raises(NotFound, match="has other bytes now"):
        resolver.locate("main", "0" * 64, OLD.filename, by=ANONYMOUS)
    with pytest.raises(NotFound, match=r"has no file absent-1\.0\.zip"):
        resolver.locate("main", "0" * 64, "absent-1.0.zip", by=ANONYMOUS)
    assert resolver.find("main", OLD.filename.lower(), by=ANONYMOUS) == OLD
    assert resolver.find("main", "absent-1.0.zip", by=ANONYMOUS) is None


def test_the_same_bytes_under_two_names(resolver: Resolver, catalogue: Catalogue) -> None:
    twins = [rows.file(f"{name}-1.0.zip", b"same", index="main") for name in ("one", "two")]
    rows.listed(catalogue, twins)
    for twin in twins:
        assert resolver.locate("main", twins[0].blake2b_256, twin.filename, by=ANONYMOUS) == twin


def test_what_no_page_lists_cannot_be_had(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    quarantine(catalogue, index_id, "foo-bar")
    for file in EVERY:
        listed = resolver.page("main", file.project, by=ANONYMOUS).files
        if file in listed:
            assert resolver.locate("main", file.blake2b_256, file.filename, by=ANONYMOUS) == file
            continue
        with pytest.raises(Withheld, match="project foo_bar is quarantined: malware"):
            resolver.locate("main", file.blake2b_256, file.filename, by=ANONYMOUS)
        with pytest.raises(Withheld):
            resolver.find("main", file.filename, by=ANONYMOUS)
    assert resolver.locate("main", OTHER.blake2b_256, OTHER.filename, by=ANONYMOUS) == OTHER


def test_a_refusal_says_what_there_is_instead(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    lay(catalogue, index_id, "third-3.0.zip", PlaceState.REFUSED, code="damaged", reason="its CRC is wrong")
    with pytest.raises(NotFound, match=r"what it has of it is refused.*`pidex why third`"):
        resolver.page("main", "third", by=ANONYMOUS)
    with pytest.raises(NotFound, match=r"third-3\.0\.zip is not listed: it is refused"):
        resolver.locate("main", "0" * 64, "third-3.0.zip", by=ANONYMOUS)
    with catalogue.write() as conn:
        tombstones.put(conn, index_id, tombstones.Tombstone("gone-1.zip", "a" * 64, 1, "anna", "secret"))
    with pytest.raises(NotFound, match=r"gone-1\.zip was deleted\.") as caught:
        resolver.locate("main", "0" * 64, "gone-1.zip", by=ANONYMOUS)
    assert "secret" not in str(caught.value)


def test_metadata(resolver: Resolver, index_id: int) -> None:
    assert resolver.metadata("main", WHEEL, by=ANONYMOUS) == b"Name: foo_bar\nVersion: 1.0.0\n"
    with pytest.raises(NotFound, match="has no metadata"):
        resolver.metadata("main", OLD, by=ANONYMOUS)


def test_bytes_come_from_the_storage(resolver: Resolver, index_id: int) -> None:
    assert resolver.open(OLD).read(0, 10) == b"bytes"
    with pytest.raises(Changing):
        resolver.open(NEW)


# --- reports and reasons -----------------------------------------------------------------------------------


def told(resolver: Resolver, subject: str) -> dict[str, str]:
    """What an operator is told, by code."""
    return {reason.code: reason.text for reason in resolver.why("main", subject, by=OPERATOR)}


def test_a_report_says_what_is_not_listed(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    lay(catalogue, index_id, "new-1.zip", PlaceState.UNREAD)
    lay(catalogue, index_id, "slow-1.zip", PlaceState.PENDING, reason="it is growing")
    lay(catalogue, index_id, "bad-1.zip", PlaceState.REFUSED, code="damaged", reason="its CRC is wrong")
    lay(catalogue, index_id, "sub/other-1.zip", PlaceState.WHOLE, sha256="e" * 64)
    lay(catalogue, index_id, "copy/other-1.zip", PlaceState.WHOLE, sha256=OTHER.sha256)
    lay(catalogue, index_id, "burnt-1.zip", PlaceState.WHOLE)
    lay(catalogue, index_id, "adopt-1.zip", PlaceState.WHOLE)  # read, to be adopted in a moment
    link = Problem(0, "sub/link.whl", "broken-link", "it leads nowhere")
    with catalogue.write() as conn:
        problems.replace(conn, index_id, [link])
        tombstones.put(conn, index_id, tombstones.Tombstone("burnt-1.zip", "a" * 64, 1, "anna", "secret"))
        admissions.put(
            conn, index_id, Admission("other-1.zip", OTHER.sha256, OTHER.size, 1, "seen", "pidex", "folder")
        )
    report = resolver.report("main", by=OPERATOR)
    assert report.listed == len(EVERY)
    assert [place.path for place in report.pending] == ["new-1.zip", "slow-1.zip"]
    assert [place.path for place in report.refused] == ["bad-1.zip"]
    assert report.shadowed == (("sub/other-1.zip", "other-1.zip"),)
    assert report.withheld == (
        ("burnt-1.zip", "burnt-1.zip was deleted by anna, and the name stays burnt: secret"),
    )
    assert report.problems == (link,)


def test_a_change_in_an_immutable_index_is_withheld(resolver: Resolver, catalogue: Catalogue) -> None:
    index_id = rows.listed(catalogue, [OTHER])
    rows.index(catalogue, mutability="immutable")
    lay(catalogue, index_id, "other-1.zip", PlaceState.WHOLE, sha256="e" * 64)
    with catalogue.write() as conn:
        admissions.put(
            conn, index_id, Admission("other-1.zip", OTHER.sha256, OTHER.size, 1, "seen", "pidex", "folder")
        )
    [(path, reason)] = resolver.report("main", by=OPERATOR).withheld
    assert path == "other-1.zip"
    assert "this index is immutable" in reason
    answer = told(resolver, "other-1.zip")
    assert set(answer) == {"listed", "withheld"}
    assert "this index is immutable" in answer["withheld"]


def test_why_a_file_is_listed(resolver: Resolver, index_id: int) -> None:
    assert told(resolver, " foo_BAR-1.0.tar.gz ") == {
        "listed": "Foo_Bar-1.0.tar.gz is listed since 2024-01-02 03:04:04 UTC, from Foo_Bar-1.0.tar.gz "
        f"(18 bytes, sha256 {OLD.sha256})."
    }


def test_why_a_release_is_yanked(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        yanks.put(conn, index_id, yanks.Yank("foo-bar", "release", "1", "broken", "anna", 1))
    answer = resolver.why("main", "Foo.Bar==1.0.0", by=ANONYMOUS)
    assert [reason.code for reason in answer] == ["listed", "listed", "yanked", "yanked"]
    assert "is yanked: broken" in answer[-1].text
    assert [reason.code for reason in resolver.why("main", "foo-bar==1.10", by=ANONYMOUS)] == ["listed"]


def test_why_a_file_is_not_listed(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    lay(
        catalogue,
        index_id,
        "a/slow-1.zip",
        PlaceState.PENDING,
        code="truncated",
        reason="its end is missing",
        next_look=rows.NOW + 8,
    )
    lay(catalogue, index_id, "b/slow-2.zip", PlaceState.REFUSED, code="damaged", reason="its CRC is wrong")
    lay(catalogue, index_id, "c/slow-3.zip", PlaceState.UNREAD)
    assert told(resolver, "slow") == {
        "truncated": "a/slow-1.zip is not whole yet: its end is missing. It is looked at again in 8 s.",
        "damaged": "b/slow-2.zip is refused: its CRC is wrong.",
        "unread": "c/slow-3.zip was found and is still to be read.",
    }
    assert set(told(resolver, "slow==2")) == {"damaged"}
    assert set(told(resolver, "SLOW-3.zip")) == {"unread"}


def test_why_tells_paths_to_operators_only(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    lay(catalogue, index_id, "private/other-1.zip", PlaceState.WHOLE, sha256="e" * 64)
    lay(catalogue, index_id, "private/other-2.zip", PlaceState.REFUSED, reason="bad")
    with catalogue.write() as conn:
        problems.replace(conn, index_id, [Problem(0, "private/other-3.zip", "broken-link", "to private/x")])
        admissions.put(
            conn, index_id, Admission("other-1.zip", OTHER.sha256, OTHER.size, 1, "seen", "pidex", "folder")
        )
    texts = " ".join(reason.text for reason in resolver.why("main", "other", by=ANONYMOUS))
    assert "private" not in texts
    assert "other-1.zip is shadowed: the file that is listed comes first" in texts
    answer = told(resolver, "other")
    assert set(answer) == {"listed", "refused", "shadowed", "broken-link"}
    assert answer["shadowed"].startswith("private/other-1.zip is shadowed: other-1.zip comes first")


def test_why_a_file_is_gone(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    gone = Admission("was-1.0.zip", "a" * 64, 5, rows.NOW_US, "seen", "pidex", "folder")
    with catalogue.write() as conn:
        admissions.put(conn, index_id, gone)
        admissions.supersede(
            conn, index_id, [replace(gone, sha256="b" * 64)], replaced=rows.NOW_US, by="git", how="folder"
        )
        journal.record(conn, index_id, "was", "add", filename="was-1.0.zip", version="1.0", at=1, by="x")
        tombstones.put(conn, index_id, tombstones.Tombstone("was-2.zip", "a" * 64, rows.NOW_US, "anna", None))
    assert told(resolver, "was==1.0") == {
        "gone": "was-1.0.zip was listed from 2024-01-02 03:04:05 UTC on (by pidex, folder) and no longer "
        "lies in a folder."
    }
    assert set(told(resolver, "was-1.0.zip")) == {"gone", "replaced"}
    assert set(told(resolver, "was")) == {"deleted", "gone"}
    assert told(resolver, "was-2.zip") == {
        "deleted": "was-2.zip was deleted by anna, and the name stays burnt (2024-01-02 03:04:05 UTC)."
    }


def test_why_a_project_is_withheld(resolver: Resolver, catalogue: Catalogue, index_id: int) -> None:
    quarantine(catalogue, index_id, "foo-bar")
    assert told(resolver, "foo-bar") == {
        "quarantined": "Project foo-bar is quarantined: malware. None of its files is offered.",
        "withheld": "5 of its files lie there, whole, and are withheld.",
    }
    mark(catalogue, index_id, "other", Status.DEPRECATED)
    assert told(resolver, "other")["deprecated"] == "Project other is deprecated."


def test_why_says_that_something_was_never_seen(
    resolver: Resolver, catalogue: Catalogue, index_id: int
) -> None:
    assert told(resolver, "foo-baz") == {
        "unknown": "foo-baz: no file of it was ever seen in index main.",
        "similar": "There is foo-bar.",
    }
    assert told(resolver, "other==7") == {
        "unknown": "other==7: no file of it was ever seen in index main.",
        "project": "Project other is there, with other files.",
    }
    assert told(resolver, "nothing-like-it-1.0.zip") == {
        "unknown": "nothing-like-it-1.0.zip: no file of that name was ever seen in index main."
    }
    assert set(told(resolver, "no-version-here.whl")) == {"unknown"}
    with catalogue.write() as conn:
        scans.restart(conn, index_id)
    assert set(told(resolver, "foo-baz")) == {"listing", "unknown", "similar"}
