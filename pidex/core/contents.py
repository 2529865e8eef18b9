"""What an archive's members are together: one folder, links that stay inside it, a RECORD that lists them."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from pidex.core.limits import Limits
from pidex.core.model import Distribution
from pidex.core.names import canonical_version, normalize, split
from pidex.core.tarballs import TarMember

_FILES, _HARD, _SYMBOLIC, _DEVICES, _FOLDER = b"0\x007", b"1", b"2", b"346", b"5"
#: Faults remembered; the first is what is told.
_MAX_FAULTS = 20


class Contents:
    """Is told of each member of an archive, and knows in the end what is wrong with all of them together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._paths: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._tops: dict[str, None] = {}
        self._loose: str | None = None
        self._twice: str | None = None
        self._foreign = False
        self._faults: dict[str, None] = {}

    def add(self, member: TarMember) -> None:
        """Look at one member."""
        parts = [part for part in member.path.split("/") if part not in ("", ".")]
        shown = repr(_shown(member.path))
        for oddity in member.oddities:
            self._fault(f"{shown} {oddity}")
        if len(member.path.encode("utf-8", "surrogateescape")) > self._limits.path_bytes:
            self._fault(f"a path in it is longer than {self._limits.path_bytes:,} bytes")
            return
        if not parts:
            return  # the folder it was packed in
        if ".." in parts or member.path.startswith("/") or "\\" in member.path:
            self._fault(f"the name {shown} leads out of where it is unpacked")
            return
        if not member.path.isprintable():
            if any(unicodedata.category(character) == "Cc" for character in member.path):
                self._fault(f"the name {shown} has a control character")
            self._foreign = self._foreign or any("\udc80" <= c <= "\udcff" for c in member.path)
        path = "/".join(parts)
        self._tops.setdefault(parts[0])
        if len(parts) == 1 and member.kind != _FOLDER and self._loose is None:
            self._loose = path
        if member.kind in _DEVICES:
            self._fault(f"{shown} is a device or a pipe")
        elif member.kind not in _FILES + _HARD + _SYMBOLIC + _FOLDER:
            self._fault(f"{shown} is of the unusual type {member.kind!r}")
        self._link(member, parts, shown)
        if path in self._paths and member.kind != _FOLDER:
            if path.endswith("/PKG-INFO") and len(parts) == 2:
                self._fault(f"{shown} is in it more than once")
            self._twice = self._twice or path
        self._paths[path] = member.kind

    def holds(self, path: str) -> bool:
        """Whether a file lies at a path below the archive's one folder."""
        return len(self._tops) == 1 and self._paths.get(f"{self.top}/{path}", _FOLDER) != _FOLDER

    @property
    def top(self) -> str:
        """The first folder at the archive's top, empty where there is none."""
        return next(iter(self._tops), "")

    def faults(self) -> Iterator[str]:
        """What single members do that they must not (ARC-10, ARC-11, PEP 721)."""
        yield from self._faults
        yield from self._crossings()

    def shape_faults(self) -> Iterator[str]:
        """What an sdist must be: one folder with a PKG-INFO in it (ARC-10)."""
        tops = [*self._tops]
        if len(tops) != 1 or self._loose is not None:
            hidden = next((top for top in tops if top.startswith("._")), None)
            hint = " (made by macOS: pack it with COPYFILE_DISABLE=1)" if hidden else ""
            shown = ", ".join(repr(_shown(top)) for top in (tops if hidden is None else [hidden])[:3])
            yield (
                "Invalid source distribution: it must hold exactly one folder and nothing beside it, "
                f"and at its top is {shown or 'nothing'}{hint}."
            )
        elif self._paths.get(f"{tops[0]}/PKG-INFO", b"") not in (b"0", b"\0", b"7"):
            yield f"Invalid source distribution: PKG-INFO not found at {_shown(tops[0])}/PKG-INFO."

    def warnings(self, distribution: Distribution) -> Iterator[str]:
        """What is unusual and does no harm."""
        if self._twice is not None:
            yield f"{_shown(self._twice)!r} is in the archive more than once."
        if self._foreign:
            yield "Some names in the archive are not UTF-8."
        if len(self._tops) == 1:
            top = next(iter(self._tops))
            found = split(top)
            if found is None or (normalize(found[0]), canonical_version(found[1])) != (
                distribution.project,
                canonical_version(distribution.version),
            ):
                yield (
                    f"The folder in the archive is {_shown(top)!r}, the file's name says "
                    f"{distribution.name}-{distribution.version}."
                )

    def _fault(self, reason: str) -> None:
        if len(self._faults) < _MAX_FAULTS:
            self._faults.setdefault(reason)

    def _link(self, member: TarMember, parts: list[str], shown: str) -> None:
        if member.kind not in _HARD + _SYMBOLIC:
            return
        if len(member.target) > self._limits.path_bytes:
            self._fault(f"the target of a link in it is longer than {self._limits.path_bytes:,} characters")
            return
        target = _target(member, parts)
        if target is None or target[:1] != parts[:1]:
            self._fault(f"{shown} is a link that leads out of the archive's folder")
            return
        path = "/".join(target)
        if member.kind == _SYMBOLIC:
            self._links["/".join(parts)] = path
        elif path not in self._paths:
            self._fault(f"{shown} is a link to a file that does not stand before it")

    def _crossings(self) -> Iterator[str]:
        """Members and targets that are reached through a link: readers come out at different places."""
        if not self._links:
            return
        for path in (*self._paths, *self._links.values()):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if "/".join(parts[:depth]) in self._links:
                    yield f"{_shown(path)!r} is reached through a link"
                    return


def _target(member: TarMember, parts: list[str]) -> list[str] | None:
    """Where a link points, from the archive's root; None: outside of it."""
    if member.target.startswith("/") or "\\" in member.target:
        return None
    at = [] if member.kind == _HARD else parts[:-1]
    for part in member.target.split("/"):
        if part == "..":
            if not at:
                return None
            at = at[:-1]
        elif part not in ("", "."):
            at = [*at, part]
    return at


def _shown(path: str) -> str:
    return path[:200] if path.isascii() else path[:200].encode("utf-8", "replace").decode()


def record(text: str) -> Mapping[str, int | None]:
    """The files that a RECORD lists, with their sizes in bytes where it says them. Raises `ValueError`."""
    return dict(_record(text.split("\n")))


def _record(lines: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    try:
        for row in csv.reader(lines):
            if not row:
                continue
            size = row[2].strip() if len(row) > 2 else ""
            if len(row) != 3 or (size and not (size.isascii() and size.isdigit() and len(size) <= 20)):
                raise ValueError(f"{','.join(row)[:100]!r} is no line of a RECORD")
            yield row[0].replace("\\", "/"), int(size) if size else None
    except csv.Error as error:
        raise ValueError(str(error)) from None
