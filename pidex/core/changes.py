"""What changing an index means: the outcomes as values, what may be said of them, which releases are old."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pidex.core import names
from pidex.core.errors import BadRequest

#: Characters of a reason at most.
MAX_REASON = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """A mark that was set or taken away. `changed` False: it was so already, and nothing was written."""

    index: str
    project: str
    version: str | None
    filename: str | None
    files: tuple[str, ...]
    changed: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A deleted file. `restorable`: its bytes are kept for a while; else they are gone with the file."""

    filename: str
    version: str
    size: int
    restorable: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """What was (or would be) deleted. `left`: paths below the folder that stay, withheld from the index."""

    index: str
    project: str
    files: tuple[Removed, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a file name had until `replaced` (microseconds since 1970) and that can be brought back."""

    filename: str
    sha256: str
    size: int
    replaced: int
    by: str
    how: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A file that was brought back to `path`. `listed` False: it is listed as soon as it has been read."""

    index: str
    project: str
    filename: str
    sha256: str
    size: int
    path: str
    listed: bool


@dataclass(frozen=True, slots=True)
class Pruning:
    """Kept bytes that were (or would be) dropped for good."""

    files: int
    bytes: int
    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who ('user:NAME' or 'group:NAME') has which role on a project, by whom, since when (microseconds)."""

    subject: str
    role: str
    by: str
    at: int


def sentence(text: str, what: str) -> str:
    """What somebody wrote to be read by others: pages, terminals, logs. Raises `BadRequest`."""
    text = text.strip()
    if len(text) > MAX_REASON:
        raise BadRequest(f"The {what} is longer than {MAX_REASON} characters.")
    if not text.isprintable():
        raise BadRequest(f"The {what} has to be one line of printable characters.")
    return text


def subject(text: str) -> str:
    """Who is meant: 'user:NAME', 'group:NAME', or a plain user name. Raises `BadRequest`."""
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "user", text
    if kind not in ("user", "group") or not name or not name.isprintable():
        raise BadRequest(f"{text!r} names nobody: say user:NAME or group:NAME.")
    return f"{kind}:{name}"


def release(version: str) -> str:
    """What two spellings of one version have in common (VER-2)."""
    return names.canonical_version(version)


def outdated(versions: Iterable[str], keep: int) -> Sequence[str]:
    """All but the newest `keep` final releases and the newest `keep` pre-releases, oldest first."""
    spelled = {release(version): version for version in versions}
    ordered = sorted(spelled.values(), key=names.version_key, reverse=True)
    found: list[str] = []
    for early in (False, True):
        found += [version for version in ordered if names.is_prerelease(version) is early][keep:]
    return sorted(found, key=names.version_key)
