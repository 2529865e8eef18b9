"""Compatibility tags: which wheels are for a platform, and what runs on a version of Python (PEP 425)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pidex.core.errors import BadRequest
from pidex.core.model import PackageType

_INTERPRETER = re.compile(r"([a-z]+)(\d)?(\d*)", re.ASCII)
_VERSION = re.compile(r"(\d{1,2})\.(\d{1,3})", re.ASCII)
#: A patch release newer than any: '>=3.11.2' is met by some 3.11.
_NEWEST_PATCH = 999
#: Patch releases that are tried one by one: specifiers name some of them.
_PATCHES = 30


class Wanted(NamedTuple):
    """A version of Python that is in use."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def wanted_of(text: str) -> Wanted:
    """Read '3.12'. Raises `BadRequest`."""
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"{text[:40]!r} is no version of Python: write '3.12'.")
    return Wanted(int(found[1]), int(found[2]))


class Tags(NamedTuple):
    """The three compressed sets at the end of a wheel's name."""

    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]


def tags_of(filename: str) -> Tags | None:
    """The tags of a wheel by its file name; None for what is no wheel."""
    stem, dot, end = filename.rpartition(".")
    pieces = stem.split("-")
    if not dot or end.lower() != "whl" or len(pieces) < 5:
        return None
    python, abi, platform = (tuple(piece.lower().split(".")) for piece in pieces[-3:])
    return Tags(python, abi, platform)


def platforms_of(filename: str, patterns: Sequence[str]) -> bool:
    """Whether a wheel is for one of the platforms; one for 'any' always is."""
    tags = tags_of(filename)
    if tags is None:
        return False
    return any(
        platform == "any" or any(fnmatchcase(platform, pattern) for pattern in patterns)
        for platform in tags.platforms
    )


def runs_on(filename: str, kind: PackageType, requires_python: str | None, wanted: Wanted) -> bool:
    """Whether a file may run on some release of a Python, by its tags and by Requires-Python."""
    if requires_python and not _admits(requires_python, wanted):
        return False
    if kind is not PackageType.WHEEL:
        return True
    tags = tags_of(filename)
    return tags is None or any(_is_for(python, tags.abis, wanted) for python in tags.pythons)


def _is_for(python: str, abis: Sequence[str], wanted: Wanted) -> bool:
    found = _INTERPRETER.fullmatch(python)
    if found is None or found[2] is None or int(found[2]) != wanted.major:
        return False
    if not found[3]:
        return True
    minor = int(found[3])
    if found[1] == "py" or "abi3" in abis or abis == ("none",):
        return minor <= wanted.minor
    return minor == wanted.minor


@lru_cache(maxsize=4_096)
def _admits(requires_python: str, wanted: Wanted) -> bool:
    try:
        specifier = SpecifierSet(requires_python)
    except (InvalidSpecifier, ValueError):
        return True  # what cannot be read excludes nobody, as in pip
    return any(specifier.contains(f"{wanted}.{patch}") for patch in (*range(_PATCHES), _NEWEST_PATCH))
