"""Where a release can be installed: Pythons by platforms, read from wheel names and Requires-Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pidex.core.limits import MAX_FILENAME
from pidex.core.metadata import identify
from pidex.core.model import File, PackageType

#: Python 3 minors that are spoken of where nothing else is known, and the highest that is believed in.
KNOWN: Final = tuple(range(9, 15))
HIGHEST: Final = 40
#: Rows of a matrix at most.
MAX_PLATFORMS: Final = 24

_CP: Final = re.compile(r"(?:cp|pp|py|graalpy|ip|jy)(\d)_?(\d*)")
_GLIBC: Final = re.compile(r"(?:manylinux(?:1|2010|2014|_\d+_\d+)|linux)_(\w+)")
_MUSL: Final = re.compile(r"musllinux_\d+_\d+_(\w+)")
_MAC: Final = re.compile(r"macosx_\d+_\d+_(\w+)")
_MACHINES: Final = {"amd64": "x86_64", "arm64": "arm64", "win32": "x86"}
_UNIVERSAL: Final = {"universal2": ("arm64", "x86_64"), "universal": ("x86_64",), "intel": ("x86_64",)}


class How(StrEnum):
    """How a release gets onto a Python on a platform."""

    WHEEL = "wheel"  # ready to be unpacked
    SOURCE = "source"  # to be built from source
    NO = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """`rows`: a platform ('any' is every one) with a `How` for each of `pythons` ('3.9')."""

    pythons: tuple[str, ...]
    rows: tuple[tuple[str, tuple[How, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Reach:
    """What one wheel fits: platforms, Python 3 minors from `least` to `most` (None: without end)."""

    platforms: tuple[str, ...]
    least: int
    most: int | None

    def fits(self, minor: int) -> bool:
        return self.least <= minor and (self.most is None or minor <= self.most)


def matrix(files: Iterable[File]) -> Matrix:
    """What the files of one release fit. Python 2 is left out; yanked files count."""
    found = [*files]
    wheels = [
        (file, reach)
        for file in found
        if file.packagetype is PackageType.WHEEL and (reach := _reach(file.filename)) is not None
    ]
    sources = [file for file in found if file.packagetype is PackageType.SDIST]
    minors = sorted(_minors(found, [reach for _, reach in wheels]))
    platforms = sorted({each for _, reach in wheels for each in reach.platforms}, key=_order)
    rows = []
    for platform in platforms[:MAX_PLATFORMS] or (["any"] if sources else []):
        cells = []
        for minor in minors:
            ready = any(
                _is_on(platform, reach) and reach.fits(minor) and takes(file.requires_python, minor)
                for file, reach in wheels
            )
            built = any(takes(file.requires_python, minor) for file in sources)
            cells.append(How.WHEEL if ready else How.SOURCE if built else How.NO)
        rows.append((platform, tuple(cells)))
    return Matrix(tuple(f"3.{minor}" for minor in minors), tuple(rows))


def pythons(files: Iterable[File]) -> tuple[str, ...]:
    """The Pythons ('3.11') on which some file can be installed."""
    found = matrix(files)
    return tuple(
        python
        for number, python in enumerate(found.pythons)
        if any(cells[number] is not How.NO for _, cells in found.rows)
    )


def families(files: Iterable[File]) -> tuple[str, ...]:
    """The platforms with a wheel, in few words: 'any', 'linux', 'macos', 'windows', 'other'; or 'source'."""
    found = set()
    for file in files:
        reach = _reach(file.filename) if file.packagetype is PackageType.WHEEL else None
        if file.packagetype is PackageType.SDIST:
            found.add("source")
        for platform in reach.platforms if reach else ():
            word = platform.partition(" ")[0].lower()
            found.add(word if word in ("any", "linux", "macos", "windows") else "other")
    return tuple(sorted(found))


def takes(requires_python: str | None, minor: int) -> bool:
    """Whether Python 3.`minor`, in some patch release, is within a Requires-Python; an unreadable one is."""
    if not requires_python or len(requires_python) > MAX_FILENAME:
        return True
    try:
        wanted = SpecifierSet(requires_python)
        return any(wanted.contains(f"3.{minor}.{patch}") for patch in (99, 0))
    except (InvalidSpecifier, ValueError, RecursionError):
        return True


def required(metadata: bytes) -> str | None:
    """The Requires-Python of core metadata; None where there is none, or it is no specifier."""
    said = identify(metadata).requires_python
    try:
        return said if said and SpecifierSet(said) else None
    except ValueError:  # `InvalidSpecifier`, or a number that nobody can mean
        return None


def tags(filename: str) -> tuple[str, str, str] | None:
    """The Python, ABI and platform tags of a wheel's name as they are spelled; None where it has none."""
    if len(filename) > MAX_FILENAME or not filename.lower().endswith(".whl"):
        return None
    parts = filename[:-4].split("-")
    return None if len(parts) < 5 else (parts[-3], parts[-2], parts[-1])


def _reach(filename: str) -> _Reach | None:
    found = tags(filename)
    if found is None:
        return None
    python, abi, platform = (each.lower() for each in found)
    least, most = HIGHEST + 1, -1
    for tag in python.split("."):
        match = _CP.fullmatch(tag)
        if match is None or match[1] != "3":
            continue
        minor = int(match[2][:3]) if match[2] else 0
        least = min(least, minor)
        open_end = "abi3" in abi.split(".") or tag.startswith("py")
        most = max(most, HIGHEST if open_end else minor)
    if most < 0:
        return None
    platforms = dict.fromkeys(name for tag in platform.split(".") for name in _platforms(tag))
    return _Reach(tuple(platforms), least, None if most == HIGHEST else most)


def _platforms(tag: str) -> Sequence[str]:
    if tag == "any":
        return ("any",)
    if match := _GLIBC.fullmatch(tag):
        return (f"Linux {match[1]}",)
    if match := _MUSL.fullmatch(tag):
        return (f"Linux {match[1]} (musl)",)
    if match := _MAC.fullmatch(tag):
        return [f"macOS {machine}" for machine in _UNIVERSAL.get(match[1], (match[1],))]
    if tag.startswith("win"):
        return (f"Windows {_MACHINES.get(tag.removeprefix('win_'), tag.removeprefix('win_'))}",)
    return (tag,)


def _is_on(platform: str, reach: _Reach) -> bool:
    return platform in reach.platforms or "any" in reach.platforms


def _order(platform: str) -> tuple[int, str]:
    families_first = ("any", "Linux", "macOS", "Windows")
    word = platform.partition(" ")[0]
    return (families_first.index(word) if word in families_first else len(families_first), platform)


def _minors(files: Sequence[File], reaches: Sequence[_Reach]) -> set[int]:
    """The minors worth a column: those known, those that wheels name, and none that no file takes."""
    minors = {*KNOWN}
    for reach in reaches:
        named = {reach.least} if reach.most is None else set(range(reach.least, reach.most + 1))
        minors |= {minor for minor in named if 5 < minor <= HIGHEST}
    known = [file.requires_python for file in files]
    return {minor for minor in minors if any(takes(each, minor) for each in known)}
