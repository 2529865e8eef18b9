"""What another index says, as values: its files, its pages, how it is reached, and how fresh a page is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from pidex.core.model import Status

#: The upstream that is known by name alone.
PYPI = "pypi"
#: A size or a time that nobody knows.
UNKNOWN = -1

_PYPI_TAIL = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{60})/[^/?#]+\Z")


class UpstreamFile(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """A file as an upstream lists it. Sizes in bytes and times in microseconds since 1970, or `UNKNOWN`.

    There are pages of thousands, hence no dataclass: this is made, kept and packed in a fifth of the time.

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

    def digest(self, upstream: str) -> str:
        """What its address here holds, in 64 digits: that in a URL of PyPI's form, else one that we make."""
        found = _PYPI_TAIL.search(self.url)
        if found is not None:
            return "".join(found.groups())
        said = "\n".join([upstream, self.url, *(f"{name}={value}" for name, value in self.hashes)])
        return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True)
class UpstreamPage:
    """What an upstream says of one project, as it was fetched. `files` in the upstream's order, or ours.

    They are a `written.Written` where they were not looked at one by one. `etag` and `last_modified` are what
    the upstream sent, for asking again whether anything changed.
    """

    project: str
    name: str
    files: Sequence[UpstreamFile] = ()
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

    `head_timeout`: until the answer for a page or a `.metadata` begins; `read_timeout`: until any other one
    does, and between two pieces of any.
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
    head_timeout: float = 10.0
    read_timeout: float = 30.0
    retries: int = 2
    max_age: float = 300.0
    absent_age: float = 30.0
