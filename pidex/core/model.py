"""The nouns of pidex as frozen values: who asks, what lies where, what a file is, what a page says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pidex.core.tokens import TokenScope

DEFAULT_INDEX = "main"


class Principal(NamedTuple):
    """Who is asking. `name` is None for anonymous; `groups` are what grants speak of.

    `token` narrows what the user may do; `via` says how the caller was known ('password', 'token',
    'session', 'proxy', 'htpasswd', 'command'), `address` from where; both go into the audit.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset({"anonymous"})
    token: TokenScope | None = None
    via: str = ""
    address: str | None = None


ANONYMOUS = Principal()
#: pidex itself: loops and commands run by whoever owns the data directory.
OPERATOR = Principal("pidex", frozenset({"operator", "authenticated"}))


class Stat(NamedTuple):
    """What decides whether a file must be read again. Times in ns, size in bytes."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


NO_STAT = Stat(0, 0, 0, 0, 0)


class PlaceState(StrEnum):
    """What is known of one path in a folder."""

    UNREAD = (
        "unread"  # found by the first listing since the start, never looked into: its project's page waits
    )
    PENDING = "pending"  # not whole yet (growing, truncated): looked at again with doubling pauses
    WHOLE = "whole"  # a whole archive; sha256 is known
    REFUSED = "refused"  # will never be listed as it is; the reason says why


class Shelf(StrEnum):
    """Where the bytes of a listed file are read from."""

    KEPT = "kept"  # the hard link in the data directory, named by sha256
    FOLDER = "folder"  # the path in the folder itself (no hard link possible)


class Entry(NamedTuple):
    """One file as a listing of a folder saw it. `path` is relative to the root, with `/`."""

    root: int
    path: str
    stat: Stat


@dataclass(frozen=True, slots=True)
class Problem:
    """A thing in a folder that cannot be served, and why: broken link, loop, unreadable, not a package."""

    root: int
    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """What pidex knows of one path of one index's folders (derived; key: root, path)."""

    root: int
    path: str
    stat: Stat
    state: PlaceState
    sha256: str | None = None
    code: str | None = None
    reason: str | None = None
    looks: int = 0
    next_look: float | None = None  # Unix time of the next look at a pending file, None: only on a change

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def key(self) -> str:
        """The name under which an index holds a file: casefolded."""
        return self.filename.casefold()


class PackageType(StrEnum):
    """Kinds of distribution, in PyPI's words."""

    SDIST = "sdist"
    WHEEL = "bdist_wheel"
    EGG = "bdist_egg"
    WININST = "bdist_wininst"
    MSI = "bdist_msi"
    RPM = "bdist_rpm"


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a file name says. `project` is normalised (PEP 503), `name` and `version` as spelled."""

    filename: str
    name: str
    project: str
    version: str
    packagetype: PackageType
    python_version: str  # 'source', 'any', or the python tag as PyPI's JSON API has it
    build: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Framing:
    """What the strict rules on archives found (ARC-1 to ARC-12): sentences, a bounded number of each."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read out of a file's bytes (derived; the same for the same bytes and kind)."""

    sha256: str
    blake2b_256: str
    md5: str
    size: int
    metadata: bytes | None = None  # METADATA, PKG-INFO, byte for byte; None where the kind has none
    name: str | None = None
    version: str | None = None
    requires_python: str | None = None
    summary: str | None = None
    framing: Framing | None = None  # only where it was asked for; never stored


@dataclass(frozen=True, slots=True)
class Admission:
    """A file's membership of an index (decided). Times in microseconds since 1970, UTC."""

    filename: str
    sha256: str
    size: int
    first_seen: int
    source: str  # where first_seen comes from: 'upload', 'seen' or 'mtime'
    by: str
    how: str  # 'folder', 'upload', 'git', 'ftp', 'promotion'

    @property
    def key(self) -> str:
        return self.filename.casefold()


@dataclass(frozen=True, slots=True)
class File:
    """A file as an index lists it."""

    filename: str
    project: str
    name: str
    version: str
    packagetype: PackageType
    python_version: str
    sha256: str
    blake2b_256: str
    md5: str
    size: int
    upload_time: int  # microseconds since 1970, UTC
    requires_python: str | None = None
    metadata_sha256: str | None = None  # set exactly where `.metadata` is served (wheels)
    yanked: str | None = None  # None: not yanked; '' : yanked without a reason
    shelf: Shelf = Shelf.FOLDER
    root: int = 0
    path: str = ""
    stat: Stat = NO_STAT
    index: str = ""  # the index whose own file it is; empty for one of an upstream
    origin: str = ""  # the upstream that it comes from; empty for an own file
    url: str = ""  # where the upstream has it
    # Mirrored files alone: all that the upstream said of hashes, and what it announces of metadata (PEP 714).
    hashes: tuple[tuple[str, str], ...] = ()
    announced: bool = False  # `.metadata` can be had, whether or not its hash is known beforehand
    provenance: str | None = None


class Status(StrEnum):
    """PEP 792 project status markers."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Withholding:
    """A file that is kept back. `rule` names what does it; `until` is when that ends (Unix time), if ever."""

    file: File
    rule: str
    reason: str
    until: float | None = None


#: From least to worst; `any` takes in what nobody has rated.
SEVERITIES = ("any", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Span:
    """Versions from one on (`introduced`, '0' for the first of all) to before `fixed` or up to `last`."""

    introduced: str
    fixed: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class Advisory:
    """What one record says of one project. `severity` counts in `SEVERITIES`; 0 where nobody rated it."""

    id: str
    modified: str
    malware: bool
    severity: int
    summary: str
    details: str
    aliases: tuple[str, ...]
    versions: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def told(self) -> str:
        """The record in a few words."""
        return f"{self.id}: {self.summary}" if self.summary else self.id

    @property
    def link(self) -> str:
        """Where people read more."""
        return f"https://osv.dev/vulnerability/{self.id}"

    @property
    def fixed_in(self) -> tuple[str, ...]:
        """The versions that mend it, in their order."""
        return tuple(dict.fromkeys(span.fixed for span in self.spans if span.fixed))

    @property
    def rating(self) -> str:
        """Its severity as a word; empty where nobody rated it."""
        return SEVERITIES[self.severity] if self.severity else ""


@dataclass(frozen=True, slots=True)
class Page:
    """What an index says about one project. `files` sorted by (version, filename), `versions` ascending."""

    index: str
    project: str  # normalised
    name: str  # as its latest file spells it
    serial: int
    versions: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    status: Status = Status.ACTIVE
    status_reason: str | None = None
    valid_until: float | None = None  # Unix time; None: until the catalogue changes
    origin: str = ""  # the upstream that answered; empty: this installation alone, '+': merged
    withheld: tuple[Withholding, ...] = ()  # files that a rule keeps back; in no list
    layers: tuple[str, ...] = ()  # other indexes whose contents these are: their rights hold, too
    advisories: tuple[Advisory, ...] = ()  # what is known of the public project of this name


class ProjectName(NamedTuple):
    """One line of an index's project list."""

    project: str
    name: str
    serial: int


class Change(NamedTuple):
    """A line of an index's journal as readers see it. `at` in microseconds since 1970, UTC."""

    serial: int
    project: str
    version: str | None
    action: str  # PyPI's words (13.2): 'create', 'new release', 'add py3 file F', 'remove project', ...
    at: int


class Release(NamedTuple):
    """A release, or a project by its first one: `at` is when its first file was seen, in microseconds."""

    project: str
    name: str
    version: str
    at: int
    summary: str | None


class Hit(NamedTuple):
    """A project that a search found, with its latest version (VER-6). `score`: 3 the name itself ... 0."""

    project: str
    name: str
    version: str
    summary: str | None
    score: int


@dataclass(frozen=True, slots=True)
class Look:
    """The outcome of looking into one place: whole with facts, pending or refused with a reason."""

    entry: Entry
    state: PlaceState
    facts: Facts | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What `pidex scan` and the log say about an index's folders."""

    listed: int = 0
    pending: tuple[Place, ...] = ()
    refused: tuple[Place, ...] = ()
    shadowed: tuple[tuple[str, str], ...] = ()  # (path that lost, path that is served)
    withheld: tuple[tuple[str, str], ...] = ()  # (path, reason)
    problems: tuple[Problem, ...] = field(default=())
