"""An upstream's answer as it came: JSON or HTML by what it is, not by what it says it is."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pidex.core import anchors
from pidex.core.destinations import shown
from pidex.core.errors import UpstreamFault

#: Links of a page.
MAX_LINKS: Final = 5_000_000

_META_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}charset\s{0,5}=\s{0,5}["']?([\w.:-]{1,40})""", re.I)
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.I)
_CHARSETS: Final = frozenset(
    {
        "utf-8",
        "utf8",
        "us-ascii",
        "ascii",
        "iso-8859-1",
        "latin-1",
        "latin1",
        "iso-8859-15",
        "windows-1252",
        "cp1252",
    }
)


class Body(NamedTuple):
    """An answer as it came: where from, after redirects, what it says it is, and its bytes."""

    url: str
    content_type: str
    data: bytes


def is_json(body: Body) -> bool:
    """By the first character, since types are often wrong."""
    start = body.data[:200].lstrip(b"\xef\xbb\xbf \t\r\n\x00\xff\xfe")[:1]
    if start in (b"{", b"["):
        return True
    return start != b"<" and "json" in body.content_type.lower()


def json_bytes(body: Body) -> bytes:
    data = body.data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode()
    return data


def document(body: Body) -> anchors.Document:
    data = body.data
    if not data.strip():
        raise UpstreamFault(f"{shown(body.url)} is empty.")
    if b"<" not in data or (b"\0" in data[:1_000] and data[:2] not in (b"\xff\xfe", b"\xfe\xff")):
        raise UpstreamFault(f"{shown(body.url)} is neither HTML nor JSON.")
    try:
        return anchors.read(_decoded(body), MAX_LINKS)
    except ValueError as error:
        raise UpstreamFault(f"{shown(body.url)} has {error}.") from None


def _decoded(body: Body) -> str:
    if body.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.data.decode("utf-16", "replace")
    said = _CHARSET.search(body.content_type)
    within = _META_CHARSET.search(body.data[:4_096])
    charset = said[1] if said else within[1].decode() if within else "utf-8"
    data = body.data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode(charset if charset.lower() in _CHARSETS else "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")
