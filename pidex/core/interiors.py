"""What is inside an archive, for people to read: its members, and the beginning of one of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from pidex.core import tarballs, zips
from pidex.core.errors import BadName, NotFound, Unsound
from pidex.core.limits import MIB, Limits
from pidex.core.names import extension

#: Members that a list names at most, and characters of a path that are shown.
MAX_MEMBERS: Final = 5_000
MAX_PATH: Final = 1_024
#: Bytes of a member that are read at most.
MAX_BYTES: Final = MIB

_FILES: Final = b"0\0"


@dataclass(frozen=True, slots=True)
class Members:
    """The files of an archive by path, with their sizes in bytes. `more`: there are others."""

    files: tuple[tuple[str, int], ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a member, and how many bytes it has in all."""

    data: bytes
    size: int


def members(file: BinaryIO, filename: str, limits: Limits) -> Members:
    """The files in an archive. Raises `Unsound`, `BadName`, or `NotFound` for kinds nobody looks into."""
    size, archive = file.seek(0, 2), _archive(filename)
    if archive == "zip":
        found = [(each.name, each.size) for each in zips.directory(file, size, limits).members]
        found = [(path, length) for path, length in found if not path.endswith("/")]
    else:
        found = _walked(file, size, archive, limits, tarballs.Tarball())
    ordered = sorted({(path, length) for path, length in found if len(path) <= MAX_PATH})
    return Members(tuple(ordered[:MAX_MEMBERS]), len(ordered) > MAX_MEMBERS or len(ordered) < len(found))


def excerpt(file: BinaryIO, filename: str, path: str, limits: Limits, length: int = MAX_BYTES) -> Excerpt:
    """The beginning of the member at `path`, as it is spelled there. Raises as `members` does."""
    size, archive = file.seek(0, 2), _archive(filename)
    if archive == "zip":
        where = zips.directory(file, size, limits)
        for member in where.members:
            if member.name == path and not path.endswith("/"):
                return Excerpt(zips.beginning(file, where, member, length), member.size)
    else:
        found = tarballs.Tarball(wanted=path, most=length)
        sizes = dict(_walked(file, size, archive, limits, found))
        if found.taken is not None:
            return Excerpt(found.taken, sizes.get(path, len(found.taken)))
    raise NotFound(f"There is no file {path[:200]!r} in {filename}.")


def _walked(
    file: BinaryIO, size: int, archive: str, limits: Limits, found: tarballs.Tarball
) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []

    def watch(member: tarballs.TarMember) -> None:
        if member.kind in _FILES:
            seen.append((shown(member.path), member.size))

    found.watch = watch
    with contextlib.suppress(Unsound):  # what comes before the fault is there all the same
        tarballs.walk(file, size, archive, limits, age=limits.settled_seconds, found=found)
    return seen


def shown(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes it has."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _archive(filename: str) -> str:
    kind = extension(filename)
    if kind is None:
        raise BadName(f"{filename!r} is no package")
    if kind.archive not in ("zip", "gz", "bz2", "xz"):
        raise NotFound(f"Nobody looks into files of the kind {kind.suffix}.")
    return kind.archive
