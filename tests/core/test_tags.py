"""Compatibility tags."""

from __future__ import annotations

import pytest

from pidex.core.errors import BadRequest
from pidex.core.model import PackageType
from pidex.core.tags import Wanted, platforms_of, runs_on, tags_of, wanted_of

PY311 = Wanted(3, 11)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-py2-none-any.whl", False),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", True),
        ("a-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp312-cp312-win_amd64.whl", False),
        ("a-1-cp37-abi3-win_amd64.whl", True),
        ("a-1-cp312-abi3-win_amd64.whl", False),
        ("a-1-py310-none-any.whl", True),
        ("a-1-py312-none-any.whl", False),
        ("a-1-1build-cp311-cp311-any.whl", True),
    ],
)
def test_wheels_run_where_their_tags_say(filename: str, expected: bool) -> None:
    assert runs_on(filename, PackageType.WHEEL, None, PY311) is expected


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (">=3.8", True),
        (">=3.11.4", True),
        (">=3.12", False),
        ("<3.11", False),
        ("==3.11.7", True),
        ("!=3.11.*", False),
        ("~=3.11.0", True),
        ("rubbish", True),
        (None, True),
    ],
)
def test_requires_python_is_asked_of_every_patch(requires: str | None, expected: bool) -> None:
    assert runs_on("a-1.tar.gz", PackageType.SDIST, requires, PY311) is expected
    assert runs_on("a-1-py3-none-any.whl", PackageType.WHEEL, requires, PY311) is expected


def test_platforms() -> None:
    many = "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    assert platforms_of(many, ("manylinux2014*",))
    assert not platforms_of(many, ("win*", "manylinux*_aarch64"))
    assert platforms_of("a-1-py3-none-any.whl", ("win*",))
    assert not platforms_of("a-1.tar.gz", ("*",))


def test_what_is_no_wheel_has_no_tags() -> None:
    assert tags_of("a-1.tar.gz") is None
    assert tags_of("a.whl") is None
    assert tags_of("") is None


@pytest.mark.parametrize("text", ["", "3", "3.x", "three", "3.11.2", "3.٣"])
def test_versions_of_python_are_read_or_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        wanted_of(text)


def test_a_version_of_python_is_told_as_it_was_written() -> None:
    assert str(wanted_of(" 3.12 ")) == "3.12"
