"""Multipart form bodies, read as they arrive: bounded, in any order, without holding a file in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pidex.core.errors import BadRequest, TooLarge

_KIB = 1024

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: One `; name=value` parameter. Both alternatives start differently and repeat one class: linear (T19).
_PARAMETER = re.compile(rf';[ \t]*({_WORD})=(?:"((?:[^"\\\r\n]|\\.)*)"|({_WORD}))[ \t]*')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """What a form may cost before it is refused (T16). Bytes unless the name says otherwise."""

    parts: int = 1200
    headers: int = 8 * _KIB  # all header lines of one part
    preamble: int = 4 * _KIB
    name_characters: int = 256


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins. `filename` is None for an ordinary field."""

    name: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the current part, at most as many as were fed at once."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The current part is complete."""


Event = PartStart | PartData | PartEnd


def boundary(content_type: str | None) -> bytes:
    """The boundary of a `multipart/form-data` Content-Type (RFC 2046 5.1.1: 1 to 70 characters).

    Raises `BadRequest` for any other type, and where the boundary is missing or malformed.
    """
    kind, _, rest = (content_type or "").partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise BadRequest(
            "An upload is a multipart/form-data body, "
            f"this one is {kind.strip()[:80] or 'of no declared type'!r}. "
            "Use twine, uv publish, or another upload tool."
        )
    value = _parameters(";" + rest).get("boundary") if rest else None
    if not value or not _BOUNDARY.fullmatch(value):
        raise BadRequest("The multipart body has no usable boundary in its Content-Type.")
    return value.encode("ascii")


def _parameters(text: str) -> dict[str, str]:
    """`; a=b; c="d"` as a mapping; the first of a repeated name wins. Raises `BadRequest`."""
    found: dict[str, str] = {}
    position = 0
    text = text.rstrip(" \t;")
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            shown = text[position : position + 60]
            raise BadRequest(f"A header parameter of the form body is malformed: {shown!r}.")
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain)
        position = match.end()
    return found


class MultipartParser:
    """A push parser: `feed` bytes, get events, `close` at the end.

    Memory is bounded by the fed chunk plus the limits. Every malformed body raises `BadRequest`, every
    exceeded limit `TooLarge`, with a sentence.
    """

    def __init__(self, boundary: bytes, limits: MultipartLimits | None = None) -> None:
        self._limits = limits or MultipartLimits()
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter has no line break before it: lend it one.
        self._buffer = b"\r\n"
        self._state = self._preamble
        self._parts = 0
        self._skipped = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter was seen."""
        return self._ended

    def feed(self, data: bytes) -> Iterator[Event]:
        """Events that `data` completes. The iterator must be exhausted before the next call."""
        if self._ended:
            return  # an epilogue says nothing (RFC 2046)
        self._buffer = self._buffer + data if self._buffer else data
        while not self._ended:
            state = self._state
            size = len(self._buffer)
            event = state()
            if event is not None:
                yield event
            elif self._state == state and len(self._buffer) == size:
                return  # no progress without more bytes

    def close(self) -> None:
        """Raise `BadRequest` unless the body was complete."""
        if not self._ended:
            raise BadRequest(
                "The upload ended before its closing boundary: the connection or the client was cut. "
                "Send it again."
            )

    # Each state consumes what it can from the buffer, sets the next state, and returns at most one event.

    def _preamble(self) -> Event | None:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            keep = len(self._delimiter) - 1
            self._skipped += max(0, len(self._buffer) - keep)
            self._buffer = self._buffer[-keep:]
            if self._skipped > self._limits.preamble:
                raise BadRequest("The form body does not begin with the boundary of its Content-Type.")
            return None
        self._buffer = self._buffer[at + len(self._delimiter) :]
        self._state = self._after_delimiter
        return None

    def _after_delimiter(self) -> Event | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer.startswith(b"--"):
            self._ended = True
            self._buffer = b""
            return None
        line, found, rest = buffer.partition(b"\r\n")
        if not found:
            if len(buffer) > 128:
                raise BadRequest("A boundary of the form body is followed by other text.")
            return None
        if line.strip(b" \t"):
            raise BadRequest("A boundary of the form body is followed by other text.")
        self._parts += 1
        if self._parts > self._limits.parts:
            raise TooLarge(f"The form has more than {self._limits.parts} fields.")
        self._buffer = b"\r\n" + rest  # so that a part without headers ends its (empty) block at once
        self._state = self._headers
        return None

    def _headers(self) -> Event | None:
        block, found, rest = self._buffer.partition(b"\r\n\r\n")
        if len(block) > self._limits.headers:
            raise TooLarge(f"The headers of a form field are longer than {self._limits.headers} bytes.")
        if not found:
            return None
        # A delimiter may follow at once: lend it the line break that the headers ended with.
        self._buffer = b"\r\n" + rest
        self._state = self._body_start
        return self._start(block)

    def _body_start(self) -> Event | None:
        """An empty part: its delimiter stands directly behind the headers."""
        delimiter = self._delimiter
        if self._buffer.startswith(delimiter):
            self._buffer = self._buffer[len(delimiter) :]
            self._state = self._after_delimiter
            return PartEnd()
        if len(self._buffer) < len(delimiter) and delimiter.startswith(self._buffer):
            return None
        self._buffer = self._buffer[2:]
        self._state = self._body
        return None

    def _body(self) -> Event | None:
        delimiter = self._delimiter
        at = self._buffer.find(delimiter)
        if at == 0:
            self._buffer = self._buffer[len(delimiter) :]
            self._state = self._after_delimiter
            return PartEnd()
        if at > 0:
            data, self._buffer = self._buffer[:at], self._buffer[at:]
            return PartData(data)
        keep = self._unfinished()
        data = self._buffer[: len(self._buffer) - keep] if keep else self._buffer
        if not data:
            return None
        self._buffer = self._buffer[len(data) :]
        return PartData(data)

    def _unfinished(self) -> int:
        """How many bytes at the end of the buffer may be the beginning of a delimiter."""
        at = self._buffer.find(b"\r", max(0, len(self._buffer) - len(self._delimiter) + 1))
        while at >= 0 and not self._delimiter.startswith(self._buffer[at:]):
            at = self._buffer.find(b"\r", at + 1)
        return len(self._buffer) - at if at >= 0 else 0

    def _start(self, block: bytes) -> PartStart:
        """The header block of one part as an event."""
        try:
            lines = block.decode("utf-8").split("\r\n")
        except UnicodeDecodeError:
            raise BadRequest("The headers of a form field are not UTF-8.") from None
        fields: dict[str, str] = {}
        for line in lines:
            if not line:
                continue
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise BadRequest(f"A header of a form field is malformed: {line[:60]!r}.")
            fields.setdefault(name.lower(), value.strip(" \t"))
        disposition = fields.get("content-disposition", "")
        kind, semicolon, rest = disposition.partition(";")
        if kind.strip().lower() != "form-data":
            raise BadRequest("A part of the form has no 'Content-Disposition: form-data' header.")
        parameters = _parameters(semicolon + rest)
        field = parameters.get("name")
        if field is None:
            raise BadRequest("A part of the form has no name.")
        if len(field) > self._limits.name_characters:
            limit = self._limits.name_characters
            raise BadRequest(f"The name of a form field is longer than {limit} characters.")
        return PartStart(field, _filename(parameters), fields.get("content-type"))


def _filename(parameters: dict[str, str]) -> str | None:
    """The file name of a part; `filename*` counts only where it is plain ASCII after all (UPL-10)."""
    extended = parameters.get("filename*")
    if extended is None:
        return parameters.get("filename")
    charset, _, rest = extended.partition("'")
    _, quote, value = rest.partition("'")
    if not quote or charset.lower() not in {"utf-8", "us-ascii", "iso-8859-1"} or "%" in value:
        raise BadRequest("The name of the uploaded file is not plain ASCII; package file names are.")
    return value
