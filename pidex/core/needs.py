"""What a release needs: lines of Requires-Dist taken apart for people, and grouped by extra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from pidex.core.names import is_name, normalize

#: Characters of a line that is read; a longer one is shown as it is. Lines read at most.
MAX_LINE: Final = 2_000
MAX_LINES: Final = 2_000

_EXTRA: Final = re.compile(r"""extra\s*==\s*["']([A-Za-z0-9._-]{1,200})["']""")
_ALONE: Final = re.compile(r"""\A\(?\s*extra\s*==\s*["'][^"']*["']\s*\)?\Z""")
_JOINED: Final = re.compile(
    r"""\s+and\s+\(?extra\s*==\s*["'][^"']*["']\)?|\(?extra\s*==\s*["'][^"']*["']\)?\s+and\s+"""
)


@dataclass(frozen=True, slots=True)
class Need:
    """One requirement. `project` is normalised and empty for a line that cannot be read, which `text` holds.

    `extra`: the extra that asks for it, empty for none. `marker`: under which circumstances, without the
    extra's part.
    """

    text: str
    project: str = ""
    name: str = ""
    extras: tuple[str, ...] = ()
    versions: str = ""
    marker: str = ""
    extra: str = ""
    url: str | None = None


def read(lines: Iterable[str]) -> tuple[Need, ...]:
    """The requirements of a release, in the order of the file. Never raises, whatever a line holds."""
    return tuple(_need(line) for _, line in zip(range(MAX_LINES), lines, strict=False))


def by_extra(needs: Iterable[Need]) -> Mapping[str, tuple[Need, ...]]:
    """Requirements by the extra that asks for them, '' (always) first and the rest by name."""
    groups: dict[str, list[Need]] = {"": []}
    for need in needs:
        groups.setdefault(need.extra, []).append(need)
    return {extra: tuple(groups[extra]) for extra in sorted(groups)}


def _need(line: str) -> Need:
    if len(line) > MAX_LINE:
        return Need(line[:MAX_LINE])
    try:
        found = Requirement(line)
    except (InvalidRequirement, ValueError, RecursionError):  # nested brackets make it recurse
        return _old(line)
    marker = str(found.marker or "")
    extra = _EXTRA.search(marker)
    rest = "" if _ALONE.match(marker) else _JOINED.sub("", marker) if extra else marker
    return Need(
        line,
        normalize(found.name),
        found.name,
        tuple(sorted(found.extras)),
        str(found.specifier),
        rest,
        normalize(extra[1]) if extra else "",
        found.url,
    )


def _old(line: str) -> Need:
    """A line of old metadata: a name, and versions in a form that nobody reads any more."""
    name, _, versions = line.partition(" ")
    if not is_name(name):
        return Need(line)
    return Need(line, normalize(name), name, versions=versions.strip(" ()"))
