"""Where releases can be installed, by the names of their wheels."""

from __future__ import annotations

import dataclasses

import pytest

from pidex.core import compatibility, names
from pidex.core.compatibility import How
from pidex.core.model import File


def file(filename: str, requires: str | None = None) -> File:
    found = names.parse(filename)
    return File(
        filename, found.project, found.name, found.version, found.packagetype, "", "", "", "", 1, 0, requires
    )


def test_a_wheel_for_everything_is_one_row() -> None:
    found = compatibility.matrix([file("a-1-py3-none-any.whl", ">=3.10"), file("a-1.tar.gz", ">=3.9")])
    assert [platform for platform, _ in found.rows] == ["any"]
    cells = dict(zip(found.pythons, found.rows[0][1], strict=True))
    assert (cells["3.9"], cells["3.10"]) == (How.SOURCE, How.WHEEL)
    assert compatibility.pythons([file("a-1-py3-none-any.whl", ">=3.12")])[0] == "3.12"


@pytest.mark.parametrize(
    ("tag", "platforms", "pythons"),
    [
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", ["Linux x86_64"], ["3.11"]),
        ("cp311-abi3-win_amd64", ["Windows x86_64"], ["3.11", "3.12", "3.13", "3.14"]),
        ("cp312-cp312-macosx_11_0_universal2", ["macOS arm64", "macOS x86_64"], ["3.12"]),
        ("cp312-cp312-musllinux_1_2_aarch64", ["Linux aarch64 (musl)"], ["3.12"]),
        ("py2-none-any", [], []),
    ],
)
def test_tags_as_people_read_them(tag: str, platforms: list[str], pythons: list[str]) -> None:
    found = compatibility.matrix([file(f"a-1-{tag}.whl")])
    assert [platform for platform, _ in found.rows] == platforms
    for _, cells in found.rows:
        assert [p for p, how in zip(found.pythons, cells, strict=True) if how is How.WHEEL] == pythons


def test_what_cannot_be_read_hides_nothing() -> None:
    odd = dataclasses.replace(file("a-1.tar.gz"), requires_python=">=three")
    assert compatibility.pythons([odd]) == tuple(f"3.{minor}" for minor in compatibility.KNOWN)
    assert compatibility.tags("no-wheel.zip") is None
