"""What another index says, as values: its files, its pages, how it is reached, and how fresh a page is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pidex.core.model import Status

#: The upstream that is known by name alone.
PYPI = "pypi"
#: A size or a time that nobody knows.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file as an upstream lists it. Sizes in bytes and times in microseconds since 1970, or `UNKNOWN`.

    `hashes`: lower-case names and hexadecimal digits, sorted by name; perhaps none. `metadata`: the SHA-256
    of the announced `.metadata`, '' where it is announced without one, None where it is not announced.
    `time_source`: 'upstream', 'last-modified' or 'seen' (MIR-1).
    """

    filename: str
    url: str
    hashes: tuple[tuple[str, str], ...] = ()
    size: int = UNKNOWN
    upload_time: int = UNKNOWN
    time_source: str = "upstream"
    requires_python: str | None = None
    yanked: str | None = None
    metadata: str | None = None
    provenance: str | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 that the upstream declared, or ''."""
        return dict(self.hashes).get("sha256", "")


@dataclass(frozen=True, slots=True)
class UpstreamPage:
    """What an upstream says of one project, as it was fetched. `files` in the upstream's order.

    `etag` and `last_modified` are what the upstream sent, for asking again whether anything changed.
    """

    project: str
    name: str
    files: tuple[UpstreamFile, ...] = ()
    status: Status = Status.ACTIVE
    status_reason: str | None = None
    serial: int | None = None
    etag: str | None = None
    last_modified: str | None = None


class Held(NamedTuple):
    """What is held of an upstream's page. `page` None: the upstream has no such project.

    `fetched`: Unix time of the last answer that confirmed it; `fresh_until`: it need not be asked before.
    """

    page: UpstreamPage | None
    fetched: float
    fresh_until: float


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """How an upstream is reached. Times in seconds.

    `kind`: 'simple' (an index), 'links' (one page of links, a bare listing) or 'auto'. `auth`: 'none',
    'basic' (secret `user:password`), 'bearer' (secret: the token) or 'netrc'. `private`: addresses of private
    networks are allowed (set in the settings or by command, never by a redirect).
    """

    name: str
    url: str
    kind: str = "auto"
    auth: str = "none"
    secret: str | None = None
    netrc: str | None = None
    proxy: str | None = None
    ca: str | None = None
    private: bool = False
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    retries: int = 2
    max_age: float = 300.0
    absent_age: float = 30.0
