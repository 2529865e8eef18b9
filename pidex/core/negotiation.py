"""Content negotiation: the media type, coding and kind of error body to send, and ETag comparison."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from pidex.core.simpleapi import HTML, V1_HTML, V1_JSON

ErrorType = Literal["text/html", "application/problem+json", "application/json", "text/plain"]

#: Characters: a longer header is answered, but not remembered (a stranger must not fill the memory).
REMEMBERED_CHARS = 1_000
#: Answers remembered for each kind of question; real clients send a few dozen different headers.
REMEMBERED = 512
#: Characters: a longer header says nothing at all. Servers in front of us stop earlier.
HEADER_CHARS = 8_192

_OFFERED = (HTML, V1_HTML, V1_JSON)  # PyPI's order: among equals the first wins (NEG-5)
_ALIASES = {
    V1_HTML: (V1_HTML, "application/vnd.pypi.simple.latest+html"),
    V1_JSON: (V1_JSON, "application/vnd.pypi.simple.latest+json"),
    HTML: (HTML,),
}
_FORMATS = {
    "html": HTML,
    "json": V1_JSON,
    "v1+html": V1_HTML,
    "v1+json": V1_JSON,
    **{alias: offered for offered, aliases in _ALIASES.items() for alias in aliases},
}

# A quoted string swallows separators; an unclosed one swallows the rest. The alternatives differ in their
# first character, so matching is linear whatever is sent.
_ELEMENTS = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_PARAMETERS = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_WEIGHT = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")
_ENTITY_TAG = re.compile(r'"[^"]*"')


def media_type(accept: str | None, format: str | None = None) -> str | None:  # noqa: A002
    """The type to answer a simple page with, or None where nothing that is asked for is offered.

    `format` is the value of `?format=`, percent-decoded: it wins over `accept`, and None then means 406
    (NEG-6). For an unmatched `accept` the caller decides between HTML and 406 (NEG-3). Never raises.
    """
    if format:
        if len(format) > REMEMBERED_CHARS:
            return None
        # A `+` that was not percent-encoded arrives as a space.
        return _FORMATS.get(format.strip().lower().replace(" ", "+"))
    if accept is not None and len(accept) > REMEMBERED_CHARS:
        return _media_type(accept)
    return _remembered_media_type(accept)


def encoding(accept_encoding: str | None, available: tuple[str, ...] = ("zstd", "gzip")) -> str | None:
    """The content coding to send, or None for the bytes as they are (CAC-8).

    `available` is in our order of preference, the one that everybody can read last: a bare `*` gets that.
    A client that refuses even identity gets identity when nothing else is left: better than no answer.
    """
    if not accept_encoding:
        return None
    if len(accept_encoding) > REMEMBERED_CHARS:
        return _encoding(accept_encoding, available)
    return _remembered_encoding(accept_encoding, available)


def error_type(accept: str | None) -> ErrorType:
    """The kind of body in which a refusal is told to this client (ERR-1, ERR-2).

    Who asks for a simple page as JSON, or for problem details, gets `application/problem+json`; who asks for
    `application/json` (uv's upload) gets that; browsers get HTML; who says nothing gets plain text.
    """
    if accept is not None and len(accept) > REMEMBERED_CHARS:
        return _error_type(accept)
    return _remembered_error_type(accept)


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names `etag` (quotes included), by weak comparison (RFC 9110, 13.1.2).

    Lists, `W/` and `*` work; unquoted tags of careless clients are compared as they are.
    """
    if if_none_match == etag:
        return True
    text = if_none_match.strip()
    if text == "*":
        return True
    if len(text) > HEADER_CHARS:
        return False
    tag = etag.removeprefix("W/")
    if '"' in text:
        return tag in _ENTITY_TAG.findall(text)
    return tag.strip('"') in (part.strip() for part in text.split(","))


def weights(header: str) -> dict[str, float]:
    """The elements of an Accept-like header, lower case, with their q-values from 0 to 1.

    Other parameters are ignored; of repeated elements the highest q counts; an element whose q cannot be read
    says nothing. Never raises.
    """
    found: dict[str, float] = {}
    if len(header) > HEADER_CHARS:
        return found
    quoted = '"' in header
    for element in _ELEMENTS.findall(header) if quoted else header.split(","):
        if element.lstrip(" \t")[:1] in ("", ";"):
            continue  # nothing, or parameters of nothing
        name, *parameters = _PARAMETERS.findall(element) if quoted else element.split(";")
        name = name.strip(" \t").lower()
        q = _quality(parameters)
        if name and q is not None and q >= found.get(name, 0.0):
            found[name] = q
    return found


def _quality(parameters: list[str]) -> float | None:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip(" \t") in ("q", "Q"):
            value = value.strip(" \t")
            return min(float(value), 1.0) if _WEIGHT.fullmatch(value) else None
    return 1.0


def _q(ranges: dict[str, float], names: tuple[str, ...]) -> float:
    """The q of a type known by `names`: an exact name counts before `type/*`, and that before `*/*`."""
    exact = [ranges[name] for name in names if name in ranges]
    if exact:
        return max(exact)
    kind = names[0].partition("/")[0] + "/*"
    return ranges.get(kind, ranges.get("*/*", 0.0))


def _media_type(accept: str | None) -> str | None:
    if accept is None or not accept.strip():
        return HTML  # NEG-2, NEG-4: no header is `*/*`, and that is HTML
    ranges = weights(accept)
    best = max(_OFFERED, key=lambda offered: _q(ranges, _ALIASES[offered]))  # max keeps the first of equals
    return best if _q(ranges, _ALIASES[best]) > 0 else None


def _encoding(header: str, available: tuple[str, ...]) -> str | None:
    asked = weights(header)
    if "x-gzip" in asked:
        asked.setdefault("gzip", asked["x-gzip"])
    named = [(asked[coding], -rank, coding) for rank, coding in enumerate(available) if coding in asked]
    unnamed = [coding for coding in available if coding not in asked]
    if "*" in asked and unnamed:
        named.append((asked["*"], -len(available), unnamed[-1]))
    q, _, best = max(named, default=(0.0, 0, None))
    # Identity that is not named is always allowed, and always the last choice.
    return best if q > 0 and q >= asked.get("identity", 0.0) else None


def _error_type(accept: str | None) -> ErrorType:
    ranges = weights(accept or "")
    best: ErrorType = "text/plain"
    best_q = ranges.get("text/plain", 0.0)
    for name, q in ranges.items():
        answer = _error_answer(name)
        if answer is None or q <= 0:
            continue
        if q > best_q or (q == best_q and _ERROR_ORDER[answer] < _ERROR_ORDER[best]):
            best, best_q = answer, q
    return best


_ERROR_ORDER: dict[ErrorType, int] = {
    "application/problem+json": 0,
    "application/json": 1,
    "text/html": 2,
    "text/plain": 3,
}


def _error_answer(name: str) -> ErrorType | None:
    if name == "application/json":
        return "application/json"
    if name in (HTML, "application/xhtml+xml"):
        return "text/html"
    if not name.startswith("application/"):
        return None
    if name.endswith("+html"):
        return "text/html"
    return "application/problem+json" if name.endswith(("/*", "+json")) else None


_remembered_media_type = lru_cache(maxsize=REMEMBERED)(_media_type)
_remembered_encoding = lru_cache(maxsize=REMEMBERED)(_encoding)
_remembered_error_type = lru_cache(maxsize=REMEMBERED)(_error_type)
