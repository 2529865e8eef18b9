"""How a file is listed and what the journal says of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pidex.core.listing import REFRESH, Change, journal, listed
from pidex.core.model import Admission, Facts, File, PackageType, Place, PlaceState, Shelf, Stat

STAT = Stat(10, 1_000, 2_000, 7, 1)
KEPT = Stat(10, 1_000, 3_000, 7, 1)
FACTS = Facts("a" * 64, "b" * 64, "c" * 32, 10, b"Name: Foo.Bar\n", "Foo.Bar", "1.0", ">=3.9", "text")


def file(filename: str = "foo_bar-1.0-py3-none-any.whl", sha256: str = "a" * 64) -> File:
    facts = replace(FACTS, sha256=sha256)
    admission = Admission(filename, sha256, 10, 77, "seen", "pidex", "folder")
    place = Place(1, f"sub/{filename}", STAT, PlaceState.WHOLE, sha256)
    return listed(place, facts, admission, Shelf.KEPT, KEPT)


def test_a_wheel_s_row() -> None:
    row = file()
    assert (row.project, row.name, row.version) == ("foo-bar", "Foo.Bar", "1.0")
    assert (row.packagetype, row.python_version) == (PackageType.WHEEL, "py3")
    assert row.metadata_sha256 == hashlib.sha256(b"Name: Foo.Bar\n").hexdigest()
    assert (row.upload_time, row.requires_python) == (77, ">=3.9")
    assert (row.shelf, row.root, row.path, row.stat) == (Shelf.KEPT, 1, f"sub/{row.filename}", KEPT)


def test_only_wheels_announce_metadata() -> None:
    assert file("foo.bar-1.0.tar.gz").metadata_sha256 is None


def test_a_name_inside_that_is_another_project_is_not_taken() -> None:
    assert file("other-1.0.tar.gz").name == "other"


def told(
    before: dict[str, File], changes: dict[str, File | None], **releases: dict[str, int]
) -> list[Change]:
    return journal(before, changes, {name.replace("_", "-"): found for name, found in releases.items()})


def test_the_first_file_creates_project_and_release() -> None:
    actions = [change.action for change in told({}, {"k": file()})]
    assert actions == ["create", "new release", "add py3 file foo_bar-1.0-py3-none-any.whl"]


def test_a_second_file_of_a_release_is_only_added() -> None:
    sdist = file("foo_bar-1.0.tar.gz")
    changes = told({}, {"k": sdist}, foo_bar={"1.0.0": 1})  # the same release, spelled otherwise (VER-2)
    assert changes == [Change("foo-bar", "add source file foo_bar-1.0.tar.gz", "1.0", "foo_bar-1.0.tar.gz")]


def test_the_last_file_takes_release_and_project_with_it() -> None:
    actions = [change.action for change in told({"k": file()}, {"k": None}, foo_bar={"1.0": 1})]
    assert actions == ["remove file foo_bar-1.0-py3-none-any.whl", "remove release", "remove project"]
    actions = [change.action for change in told({"k": file()}, {"k": None}, foo_bar={"1.0": 1, "2.0": 1})]
    assert actions[-1] == "remove release"


def test_other_bytes_are_a_removal_and_an_addition_of_the_file_alone() -> None:
    actions = [
        change.action for change in told({"k": file()}, {"k": file(sha256="d" * 64)}, foo_bar={"1.0": 1})
    ]
    assert actions == [
        "remove file foo_bar-1.0-py3-none-any.whl",
        "add py3 file foo_bar-1.0-py3-none-any.whl",
    ]


def test_the_same_bytes_elsewhere_are_told_once_a_project() -> None:
    one, two = file(), file("foo_bar-2.0-py3-none-any.whl")
    moved = {"a": replace(one, path="x"), "b": replace(two, path="y")}
    assert told({"a": one, "b": two}, dict(moved)) == [Change("foo-bar", REFRESH)]
