"""Byte ranges: what part of a file a Range header asks for, and whether If-Range lets it apply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

#: Characters: a longer Range header is ignored, and the whole file is sent.
HEADER_CHARS = 1_000
#: Digits that are converted; a number of more digits is larger than any file.
_DIGITS = 18

_SPEC = re.compile(r"[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")


@dataclass(frozen=True, slots=True)
class Whole:
    """Send the whole file with 200: no range was asked for, or one that is not understood."""


class Slice(NamedTuple):
    """Send bytes `start` up to, and without, `end` with 206. Never empty."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes, for Content-Length."""
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The value of Content-Range; its last position is inclusive."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Answer 416: the range begins behind the end of the file."""

    def content_range(self, size: int) -> str:
        """The value of Content-Range that goes with 416."""
        return f"bytes */{size}"


def parse(range_header: str | None, size: int) -> Whole | Slice | Unsatisfiable:
    """What a Range header asks of a file of `size` bytes (FIL-4; RFC 9110, 14.1.2 and 14.2).

    One range only: several are answered with the whole file, which the RFC allows and which makes overlapping
    ranges harmless. What cannot be understood is ignored. Takes linear time and never raises.
    """
    if range_header is None or len(range_header) > HEADER_CHARS:
        return Whole()
    unit, _, rest = range_header.partition("=")
    if unit.strip(" \t").lower() != "bytes":
        return Whole()
    specs = [spec for spec in rest.split(",") if spec.strip(" \t")]
    match = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if match is None:
        return Whole()
    first, last = (_number(text) for text in match.groups())
    if first is None:
        return _suffix(last, size)
    if last is not None and last < first:
        return Whole()
    if first >= size:
        return Unsatisfiable()
    return Slice(first, size if last is None else min(last + 1, size))


def applies(if_range: str | None, etag: str, last_modified: str | None) -> bool:
    """Whether the Range header counts, given If-Range, the ETag and the Last-Modified header that we send.

    An entity tag has to be the same and strong on both sides; a date has to be the one that we sent, letter
    for letter (RFC 9110, 13.1.5). Everything else: the whole file.
    """
    if if_range is None:
        return True
    text = if_range.strip(" \t")
    if text.startswith('"'):
        return text == etag
    return last_modified is not None and text == last_modified


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def _suffix(length: int | None, size: int) -> Whole | Slice | Unsatisfiable:
    if length is None:
        return Whole()
    if length == 0:
        return Unsatisfiable()
    # An empty file has no last bytes that 206 could name, and 416 would be wrong: send it whole.
    return Slice(max(size - length, 0), size) if size else Whole()
