"""Closed sets: what is chosen for which Pythons and platforms, and when nothing is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pidex.core import names
from pidex.core.closure import Closure, environment_of, tags_of, target_of
from pidex.core.errors import BadRequest
from pidex.core.model import File

Has = Mapping[str, Sequence[File]]

LINUX = target_of("3.12", "linux_x86_64")
WINDOWS = target_of("3.12", "win_amd64")
OLD = target_of("3.9", "linux_x86_64")


def file(filename: str, **said: object) -> File:
    named = names.parse(filename)
    return File(
        filename, named.project, named.name, named.version, named.packagetype, named.python_version,
        "", "", "", 1, 1, origin="up", **said,  # type: ignore[arg-type]
    )  # fmt: skip


def closed(
    closure: Closure, has: Mapping[str, Sequence[File]], needs: Mapping[str, Sequence[str]]
) -> set[str]:
    """The files of a set that is closed over what an index has."""
    for _ in range(100):
        project = closure.todo()
        if project is None:
            return set(closure.files)
        for each in closure.choose(project, has.get(project, ())):
            closure.learn(each, needs.get(each.filename, ()))
    raise AssertionError("it never ends")


def test_what_is_needed_comes_with_what_that_needs() -> None:
    has = {
        "a": [file("a-1.0-py3-none-any.whl"), file("a-2.0-py3-none-any.whl")],
        "b": [file("b-1.0.tar.gz"), file("b-1.5-py3-none-any.whl"), file("b-2.0-py3-none-any.whl")],
        "c": [file("c-1.0-py3-none-any.whl")],
    }
    needs = {
        "a-2.0-py3-none-any.whl": ["B<2; python_version >= '3.10'", "c; extra == 'x'"],
        "b-1.5-py3-none-any.whl": ["a>=1"],
    }
    plain, extra, old = Closure([LINUX], 1), Closure([LINUX], 1), Closure([OLD], 1)
    plain.require("a")
    extra.require("a[X]")
    old.require("a")
    assert closed(plain, has, needs) == {"a-2.0-py3-none-any.whl", "b-1.5-py3-none-any.whl"}
    assert closed(extra, has, needs) == {*closed(plain, has, needs), "c-1.0-py3-none-any.whl"}
    assert closed(old, has, needs) == {"a-2.0-py3-none-any.whl"}
    assert not plain.unmet


def test_what_meets_all_that_is_asked_for_is_there_too() -> None:
    has = {"x": [file(f"x-1.{number}-py3-none-any.whl") for number in range(5)]}
    closure = Closure([LINUX], 1)
    for text in ("x!=1.4", "x!=1.3"):
        closure.require(text)
    assert closed(closure, has, {}) == {f"x-1.{number}-py3-none-any.whl" for number in (2, 3, 4)}


def test_each_platform_gets_its_best_file() -> None:
    has = {
        "x": [
            file("x-1.0.tar.gz"),
            file("x-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
            file("x-1.0-cp312-abi3-manylinux_2_28_x86_64.whl"),
            file("x-1.0-cp312-cp312-win_amd64.whl"),
            file("x-1.0-cp312-cp312-macosx_11_0_arm64.whl"),
            file("x-1.0-cp39-cp39-musllinux_1_1_x86_64.whl"),
        ]
    }
    found = {}
    for target in (
        LINUX,
        WINDOWS,
        OLD,
        target_of("3.12", "macosx_arm64"),
        target_of("3.9", "musllinux_x86_64"),
    ):
        closure = Closure([target], 1)
        closure.require("x")
        (found[target.platform, target.python],) = closed(closure, has, {})
    assert found == {
        ("linux_x86_64", "3.12"): "x-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        ("win_amd64", "3.12"): "x-1.0-cp312-cp312-win_amd64.whl",
        ("linux_x86_64", "3.9"): "x-1.0.tar.gz",
        ("macosx_arm64", "3.12"): "x-1.0-cp312-cp312-macosx_11_0_arm64.whl",
        ("musllinux_x86_64", "3.9"): "x-1.0-cp39-cp39-musllinux_1_1_x86_64.whl",
    }


def test_what_is_not_meant_to_be_installed_is_passed_over() -> None:
    has = {
        "x": [
            file("x-1.0-py3-none-any.whl"),
            file("x-2.0-py3-none-any.whl", yanked="broken"),
            file("x-3.0-py3-none-any.whl", requires_python=">=3.99"),
            file("x-4.0rc1-py3-none-any.whl"),
        ]
    }
    plain, pinned, early = Closure([LINUX], 5), Closure([LINUX], 1), Closure([LINUX], 1)
    plain.require("x")
    pinned.require("x==2.0")
    early.require("x>=4.0rc1")
    assert closed(plain, has, {}) == {"x-1.0-py3-none-any.whl"}
    assert closed(pinned, has, {}) == {"x-2.0-py3-none-any.whl"}
    assert closed(early, has, {}) == {"x-4.0rc1-py3-none-any.whl"}


def test_the_newest_releases_are_taken() -> None:
    has = {"x": [file(f"x-{number}.0-py3-none-any.whl") for number in (1, 10, 9, 2)]}
    closure = Closure([LINUX], 2)
    closure.require("x")
    assert closed(closure, has, {}) == {"x-10.0-py3-none-any.whl", "x-9.0-py3-none-any.whl"}


def test_what_nothing_meets_is_told_and_does_not_go_on_for_ever() -> None:
    closure = Closure([LINUX], 1)
    closure.require("x>9")
    closure.require("nothing")
    assert closed(closure, {"x": [file("x-1.0-py3-none-any.whl")]}, {}) == set()
    assert list(closure.unmet) == ["x>9 for Python 3.12", "nothing for Python 3.12"]


@pytest.mark.parametrize("text", ["x @ http://x.example/x.whl", "x y", "", "==1"])
def test_what_is_no_requirement_of_an_index_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Closure([LINUX], 1).require(text)


@pytest.mark.parametrize(("python", "platform"), [("3", "linux_x86_64"), ("2.7", "win32"), ("3.12", "beos")])
def test_targets_that_are_none_are_refused(python: str, platform: str) -> None:
    with pytest.raises(BadRequest):
        target_of(python, platform)


def test_nonsense_in_metadata_is_passed_over() -> None:
    has = {"x": [file("x-1.0-py3-none-any.whl"), file("x-0.1.tar.gz")]}
    needs = {"x-1.0-py3-none-any.whl": ["!!", "y; nonsense == 'x'", "z @ http://z.example/z.whl"]}
    closure = Closure([LINUX, WINDOWS], 1)
    closure.require("x")
    assert closed(closure, has, needs) == {"x-1.0-py3-none-any.whl"}


def test_a_target_says_what_markers_ask() -> None:
    assert environment_of(WINDOWS)["platform_system"] == "Windows"
    assert environment_of(WINDOWS)["platform_machine"] == "AMD64"
    assert environment_of(LINUX)["sys_platform"] == "linux"
    assert len(tags_of(LINUX)) > 100
