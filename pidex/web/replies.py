"""Answers ready to be sent, the headers that every kind of answer has, and refusals in the caller's words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from pidex.core import negotiation
from pidex.core.errors import PidexError

Headers = dict[str, str]

#: What says that a page or file is data, and nothing to run (CAC-11).
SAFE: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}
#: Lets pages of other origins read an index that anybody may read (CAC-10).
SHARED: Mapping[str, str] = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "X-PyPI-Last-Serial",
}
#: What a browser asks for before it sends a conditional request from another origin (CAC-10).
PREFLIGHT: Mapping[str, str] = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "Content-Type, If-Match, If-Modified-Since, If-None-Match, "
    "If-Unmodified-Since, Range",
    "access-control-max-age": "86400",
    "access-control-expose-headers": "X-PyPI-Last-Serial",
}
ALLOW = "GET, HEAD, OPTIONS"
CHALLENGE = 'Basic realm="pidex", charset="UTF-8"'


class Audience(NamedTuple):
    """Who else may have an answer: what its headers say of that, and its place in the page cache.

    `private`: strangers may not. `varies`: somebody else may get another one. `view`: the rights that others
    need to share a list; None: those of strangers.
    """

    private: bool = False
    varies: bool = False
    view: Hashable = None

    def control(self, directives: str) -> str:
        """The Cache-Control of such an answer."""
        if not self.private:
            return directives
        # Also where the settings say for all files that they are public.
        kept = [word for word in map(str.strip, directives.split(",")) if word not in ("public", "private")]
        return ", ".join(["private", *kept])

    def vary(self, *names: str) -> Headers:
        """The Vary header of an answer that `names` choose."""
        every = [*names, *(["Authorization"] if self.varies else [])]
        return {"vary": ", ".join(every)} if every else {}

    @property
    def shared(self) -> Mapping[str, str]:
        """What lets pages of other origins read it: nothing where strangers may not (CAC-10)."""
        return {} if self.private else SHARED


EVERYBODY = Audience()
#: Of an answer that is for who may read a project, and not for strangers.
ALONE = Audience(private=True, varies=True)


class Reply:
    """One finished answer, and the ASGI messages that it is sent by: made once, sent often."""

    __slots__ = ("body", "end", "headers", "start", "status")

    def __init__(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        self.status = status
        self.headers = list(headers)
        self.body = body
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        self.start = {"type": "http.response.start", "status": status, "headers": raw}
        self.end = {"type": "http.response.body", "body": body}


def reply(status: int, headers: Mapping[str, str], body: bytes = b"", *, head: bool = False) -> Reply:
    """An answer whose Content-Length is that of `body`, which `head` leaves out."""
    every = [*headers.items(), ("content-length", str(len(body)))]
    return Reply(status, every, b"" if head else body)


def redirect(status: int, location: str, query: bytes = b"", *, private: bool = False) -> Reply:
    """A redirect to a relative or absolute `location`, with the query that was asked with (NEG-9).

    Nothing that is not plain ASCII gets into the header, so no line of it can end early.
    """
    if query:
        location += "?" + quote(query, safe="!$&'()*+,;=:@/?%~-._")
    headers = {
        "location": location,
        "cache-control": "no-cache" if status in (302, 303, 307) else "max-age=0, must-revalidate",
        "vary": "Accept, Accept-Encoding" + (", Authorization" if private else ""),
        **({} if private else SHARED),
    }
    return reply(status, headers)


def refusal(
    error: PidexError,
    accept: str | None,
    *,
    private: bool = False,
    head: bool = False,
    more: Mapping[str, str] | None = None,
) -> Reply:
    """A refusal as problem details, JSON, HTML or text, whichever the caller reads (ERR-1 to ERR-3).

    `private`: what is refused depends on who asks. `more`: further headers, such as Allow.
    """
    return problem(
        error.status,
        error.title,
        str(error),
        accept,
        code=error.code,
        retry_after=error.retry_after,
        private=private,
        head=head,
        more=more,
    )


def problem(
    status: int,
    title: str,
    detail: str,
    accept: str | None,
    *,
    code: str,
    retry_after: int | None = None,
    private: bool = False,
    head: bool = False,
    more: Mapping[str, str] | None = None,
) -> Reply:
    """As `refusal`, from its parts."""
    kind = negotiation.error_type(accept)
    headers: Headers = {
        "content-type": kind if kind.endswith("json") else f"{kind}; charset=utf-8",
        # A name that is missing now may be there in a second (CAC-9).
        "cache-control": "no-cache" if status in (404, 405) else "no-store",
        "vary": "Accept, Accept-Encoding" + (", Authorization" if private else ""),
        **SAFE,
    }
    if not private:
        headers |= SHARED
    if status == 401:
        headers["www-authenticate"] = CHALLENGE
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    headers |= more or {}
    return reply(status, headers, _body(kind, status, title, detail, code), head=head)


def _body(kind: str, status: int, title: str, detail: str, code: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    if kind == "application/problem+json":
        told = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
        return json.dumps(told).encode() + b"\n"
    if kind == "application/json":
        return json.dumps({"code": f"{status} {code}", "message": detail, "title": title}).encode() + b"\n"
    if kind == "text/html":
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{status} {escape(phrase)}</title>\n</head>\n<body>\n"
            f"<h1>{escape(title)}</h1>\n<p>{escape(detail)}</p>\n</body>\n</html>\n"
        ).encode("utf-8", "replace")
    return f"{detail}\n".encode("utf-8", "replace")
