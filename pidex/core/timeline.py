"""What an index had at an earlier time: its journal read again up to then."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pidex.core import names
from pidex.core.errors import BadRequest
from pidex.core.rulebook import moment_of

#: What a path says a time with: '/main/@2026-08-01T12:00Z/simple/'.
MARK = "@"
_ADD = re.compile(r"add \S+ file ")
#: How the journal's line of a file that goes begins.
REMOVE = "remove file "
_YANK = re.compile(r"(un)?yank (release|file .+)")


class Event(NamedTuple):
    """A line of a project's journal. `at` in microseconds since 1970."""

    at: int
    action: str
    version: str | None
    filename: str | None


class Version(NamedTuple):
    """Bytes that a file name had from `since` until `until` (microseconds; None: it has them still)."""

    filename: str
    sha256: str
    since: int
    until: int | None


class Then(NamedTuple):
    """What a project had: the bytes of each casefolded file name, and what was yanked.

    `yanked`: canonical versions and casefolded file names.
    """

    files: Mapping[str, Version]
    yanked: frozenset[str]


def moment(text: str, now: float) -> int:
    """The time that a path names, in microseconds since 1970. Raises `BadRequest`, also for the future."""
    found = moment_of("the time after @", text)
    if found > now * 1_000_000:
        raise BadRequest(f"{text[:40]} is still to come: name a time that has been.")
    if found < 0:
        raise BadRequest(f"{text[:40]} is too long ago: there was no package then.")
    return found


def is_add(action: str) -> bool:
    """Whether a line of the journal says that a file came."""
    return _ADD.match(action) is not None


def then(events: Iterable[Event], versions: Iterable[Version], at: int) -> Then:
    """What a project had at `at`. `events` in the order of their serials, `versions` in any.

    A file that is dated before its first line in the journal was there before the journal was: it is in since
    its own date.
    """
    present: dict[str, bool] = {}
    yanked: set[str] = set()
    for event in events:
        if event.at > at:
            continue  # not the end: clocks have been set back
        name = None if event.filename is None else event.filename.casefold()
        mark = _YANK.fullmatch(event.action)
        if mark is not None:
            subject = name if name is not None else names.canonical_version(event.version or "")
            (yanked.discard if mark[1] else yanked.add)(subject)
        elif name is not None and event.action.startswith(REMOVE):
            present[name] = False
        elif name is not None and is_add(event.action):
            present[name] = True
    found: dict[str, Version] = {}
    for version in _oldest_first(versions):
        key = version.filename.casefold()
        ended = version.until is not None and version.until <= at
        if ended or not present.get(key, version.since <= at):
            continue
        # Of two versions that have not ended by then, the older one was there.
        found.setdefault(key, version)
    return Then(found, frozenset(yanked))


def _oldest_first(versions: Iterable[Version]) -> Sequence[Version]:
    return sorted(versions, key=lambda each: (each.until is None, each.until or 0, each.since))
