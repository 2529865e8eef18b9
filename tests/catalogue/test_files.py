"""Listed files with their yanks, the project list that follows them, and what was read out of bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pidex.catalogue import contents, files, journal, projects, statuses, yanks
from pidex.catalogue.engine import Catalogue
from pidex.core.model import Facts, PackageType, ProjectName, Status
from tests.catalogue import rows

WHEEL = rows.file("Foo_Bar-1.0-py3-none-any.whl", requires_python=">=3.8,<4", upload_time=rows.NOW_US + 5)
SDIST = rows.file("foo-bar-1.0.0.tar.gz")
NEXT = rows.file("foo.bar-2.0.zip")
OTHER = rows.file("other-1.tar.gz")


@pytest.fixture
def index_id(catalogue: Catalogue) -> int:
    return rows.listed(catalogue, [NEXT, WHEEL, SDIST, OTHER])


def test_files_come_back_as_they_were(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.read() as conn:
        assert [*files.list_project(conn, index_id, "foo-bar")] == [SDIST, NEXT, WHEEL]
        assert [*files.list_project(conn, index_id, "nothing")] == []
        assert [*files.list_all(conn, index_id)] == [SDIST, NEXT, WHEEL, OTHER]
        assert files.find_by_key(conn, index_id, WHEEL.filename.casefold()) == WHEEL
        assert files.find_by_key(conn, index_id, WHEEL.filename) is None
        assert files.find_by_keys(conn, index_id, ["x", "other-1.tar.gz"]) == {"other-1.tar.gz": OTHER}
        assert [*files.find_by_blake2(conn, index_id, NEXT.blake2b_256)] == [NEXT]
        assert files.count(conn, index_id) == 4
        assert files.sha256s(conn) == {one.sha256 for one in (WHEEL, SDIST, NEXT, OTHER)}


def test_a_yank_of_the_file_says_more_than_that_of_its_release(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        # 1.0 and 1.0.0 are one release (VER-2).
        yanks.put(conn, index_id, yanks.Yank("foo-bar", "release", "1", "bad", "anna", 1))
        yanks.put(conn, index_id, yanks.Yank("foo-bar", "file", SDIST.filename.casefold(), "", "anna", 1))
        yanks.put(conn, index_id, yanks.Yank("other", "file", "foo.bar-2.0.zip", "not this one", "anna", 1))
        marked = [replace(SDIST, yanked=""), NEXT, replace(WHEEL, yanked="bad")]
        assert [*files.list_project(conn, index_id, "foo-bar")] == marked
        assert [*files.list_all(conn, index_id)] == [*marked, OTHER]
        assert yanks.lift(conn, index_id, "foo-bar", "release", "1")
        assert not yanks.lift(conn, index_id, "foo-bar", "release", "1")
        assert [one.yanked for one in files.list_project(conn, index_id, "foo-bar")] == ["", None, None]
        assert [yank.target for yank in yanks.list(conn, index_id)] == [
            SDIST.filename.casefold(),
            "foo.bar-2.0.zip",
        ]


def test_the_project_list_follows_the_files(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        # The spelling of the latest upload (NAM-3); the serial of the last of its three lines.
        assert projects.find(conn, index_id, "foo-bar") == projects.Project("foo-bar", "Foo_Bar", 3, 3)
        assert [*projects.list(conn, index_id)] == [
            ProjectName("foo-bar", "Foo_Bar", 3),
            ProjectName("other", "other", 4),
        ]
        files.replace_many(conn, index_id, {WHEEL.filename.casefold(): None, OTHER.filename.casefold(): None})
        journal.record_many(
            conn,
            index_id,
            [journal.Event("foo-bar", "remove"), journal.Event("other", "remove")],
            at=1,
            by="x",
        )
        projects.refresh(conn, index_id, ["foo-bar", "other", "never"])
        assert projects.find(conn, index_id, "foo-bar") == projects.Project("foo-bar", "foo.bar", 2, 5)
        assert projects.find(conn, index_id, "other") is None
        assert projects.count(conn, index_id) == 1
        assert [*projects.starting(conn, index_id, "fo", 5)] == ["foo-bar"]
        assert [*projects.starting(conn, index_id, "ot", 5)] == []


def test_names_are_in_the_order_of_bytes_everywhere(catalogue: Catalogue) -> None:
    names = ["zope", "foo-bar", "foo", "foo2", "foobar", "foo-2", "a-b", "ab", "a1"]
    index_id = rows.listed(catalogue, [rows.file(f"{name}-1.0.zip") for name in names])
    with catalogue.read() as conn:
        assert [line.project for line in projects.list(conn, index_id)] == sorted(names)
        behind = projects.list(conn, index_id, behind=sorted(names)[1])
        assert [line.project for line in behind] == sorted(names)[2:]
        assert [one.project for one in files.list_all(conn, index_id)] == sorted(names)


def test_a_quarantined_project_is_left_out_of_the_list(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        statuses.put(
            conn,
            index_id,
            statuses.ProjectStatus("other", Status.QUARANTINED, "malware", "anna", rows.NOW_US),
        )
        statuses.put(conn, index_id, statuses.ProjectStatus("foo-bar", Status.ARCHIVED, None, "anna", 1))
        assert [line.project for line in projects.list(conn, index_id)] == ["foo-bar"]
        assert [line.project for line in projects.list(conn, index_id, withheld=True)] == ["foo-bar", "other"]
        assert [marker.status for marker in statuses.list(conn, index_id)] == [
            Status.ARCHIVED,
            Status.QUARANTINED,
        ]
        statuses.clear(conn, index_id, "other")
        assert statuses.find(conn, index_id, "other") is None
        assert [line.project for line in projects.list(conn, index_id)] == ["foo-bar", "other"]


def test_indexes_do_not_see_each_other_s_files(catalogue: Catalogue, index_id: int) -> None:
    second = rows.listed(catalogue, [replace(SDIST, sha256="f" * 64)], name="second")
    with catalogue.write() as conn:
        files.replace(conn, second, SDIST.filename.casefold(), None)
        projects.refresh(conn, second, ["foo-bar"])
        assert files.count(conn, second) == 0
        assert files.count(conn, index_id) == 4
        assert projects.count(conn, index_id) == 2


def test_contents_come_back_as_they_were(catalogue: Catalogue) -> None:
    metadata = "Name: Straße\r\n\r\nbody\x00".encode()
    wheel = rows.facts(b"w", metadata, name="Straße", version="1", requires_python=">=3", summary="S")
    bare = rows.facts(b"x")
    with catalogue.write() as conn:
        contents.put_many(
            conn, [(wheel, PackageType.WHEEL), (bare, PackageType.EGG), (bare, PackageType.EGG)]
        )
        assert contents.find(conn, wheel.sha256, PackageType.WHEEL) == wheel
        assert contents.find(conn, wheel.sha256, PackageType.EGG) is None
        assert contents.find(conn, bare.sha256, PackageType.EGG) == bare
        assert contents.find_many(conn, [wheel.sha256, bare.sha256, "0" * 64]) == {
            (wheel.sha256, PackageType.WHEEL): wheel,
            (bare.sha256, PackageType.EGG): bare,
        }
        assert contents.find_metadata(conn, wheel.sha256) == metadata
        assert contents.find_metadata(conn, wheel.sha256, PackageType.WHEEL) == metadata
        assert contents.find_metadata(conn, bare.sha256) is None
        # The same bytes under a name of another kind may say something else.
        contents.put(conn, replace(wheel, metadata=b"other"), PackageType.SDIST)
        assert contents.find_metadata(conn, wheel.sha256, PackageType.SDIST) == b"other"
        assert contents.find_metadata(conn, wheel.sha256, PackageType.WHEEL) == metadata


def test_hostile_texts_of_archives_are_stored_all_the_same(catalogue: Catalogue) -> None:
    hostile = rows.facts(b"h", b"\xff\x00", name="a\x00b", summary="\udcff\x00", requires_python="\x00")
    with catalogue.write() as conn:
        contents.put(conn, hostile, PackageType.SDIST)
        found = contents.find(conn, hostile.sha256, PackageType.SDIST)
    assert found == Facts(
        hostile.sha256,
        hostile.blake2b_256,
        hostile.md5,
        1,
        b"\xff\x00",
        name="ab",
        summary="?",
        requires_python="",
    )
