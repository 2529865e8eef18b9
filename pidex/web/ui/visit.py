"""One request for a page: who asks, in which language, what was sent along, and the way to other pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pidex.accounts.sessions import Session
from pidex.core.errors import BadRequest, Forbidden
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.web.auth import COOKIE, COOKIE_CHARS
from pidex.web.call import Call
from pidex.web.ui.language import Translations, chosen, translations

#: Cookies that hold what somebody likes, and nothing else.
LANGUAGE_COOKIE, THEME_COOKIE = "pidex_language", "pidex_theme"
THEMES = ("light", "dark")
#: Characters of a query, and fields of it or of a form.
QUERY_CHARS, FIELDS = 4_096, 100
#: Seconds for which likes are kept.
YEAR = 31_536_000

_SAFE_PATH = re.compile(r"(?:[A-Za-z0-9_.~!$&'()*+,;=:@%-]+/)*[A-Za-z0-9_.~!$&'()*+,;=:@%-]*(?:\?[!-~]*)?")


@dataclass(slots=True)
class Visit:
    """A request, as what answers it sees it. `form` is None where nothing was sent."""

    call: Call
    by: Principal
    session: Session | None
    cookies: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] | None = None
    many: Mapping[str, Sequence[str]] = field(default_factory=dict)
    indexes: Sequence[str] = ()

    @property
    def index(self) -> str:
        return self.call.index

    @property
    def params(self) -> Mapping[str, str]:
        return self.call.params

    @property
    def language(self) -> str:
        return chosen(self.cookies.get(LANGUAGE_COOKIE), self.call.headers.get("accept-language"))

    @property
    def theme(self) -> str:
        liked = self.cookies.get(THEME_COOKIE, "")
        return liked if liked in THEMES else ""

    @property
    def text(self) -> Translations:
        return translations(self.language)

    @property
    def up(self) -> str:
        """The way to the index's root, relative, so that it holds behind any proxy."""
        return self.call.up or "./"

    @property
    def root(self) -> str:
        """The way to the server's root."""
        return self.call.root or "./"

    @property
    def here(self) -> str:
        """This page as the index's root sees it, with its query."""
        path = quote(self.call.rest[1:], safe="/!$&'()*+,;=:@~%-._")
        query = self.call.query.decode("latin-1")[:QUERY_CHARS]
        return f"{path}?{quote(query, safe=_QUERY)}" if query else path

    def value(self, name: str) -> str:
        """A field of the form, or else of the query; empty where there is none."""
        found = self.form if self.form is not None else self.query
        return found.get(name, "").strip()

    def kept(self, deed: str, name: str, default: str = "") -> str:
        """What was typed into a field of a form that was refused (`do` says which), or else `default`."""
        sent = self.form or {}
        return sent.get(name, default) if sent.get("do", "") == deed else default

    def link(self, **changes: object) -> str:
        """This page with its query changed; empty values are left out."""
        values = {**self.query, **{name: str(value) for name, value in changes.items()}}
        return "?" + urlencode({name: value for name, value in values.items() if value not in ("", "None")})

    def require_known(self) -> str:
        """The name of who asks. Raises `Forbidden` for strangers: pages that need it send them to sign in."""
        if self.by.name is None:
            raise Forbidden("Sign in first.")
        return self.by.name


_QUERY = "!$&'()*+,;=:@/?~%-._"


@dataclass(frozen=True, slots=True)
class Shown:
    """A page to be rendered: its template and what it shows."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Moved:
    """On to another page: `path` as the index's root sees it. `cookies`: Set-Cookie values."""

    path: str
    cookies: Sequence[str] = ()
    status: int = 303


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is no page of ours: text for a tool, or JSON for the script."""

    content_type: str
    body: bytes
    status: int = 200


Outcome = Shown | Moved | Raw


def cookies_of(header: str | None) -> Mapping[str, str]:
    """The cookies of a request that mean anything here."""
    if header is None or "pidex_" not in header or len(header) > COOKIE_CHARS:
        return {}
    try:
        found = SimpleCookie(header)
    except CookieError:
        return {}
    wanted = (COOKIE, LANGUAGE_COOKIE, THEME_COOKIE)
    return {name: found[name].value for name in wanted if name in found}


def pairs_of(text: str) -> Sequence[tuple[str, str]]:
    """The fields of a query or of a form. Raises `BadRequest` for one that cannot be read."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise BadRequest("The form cannot be read.") from None


def cookie(name: str, value: str, *, seconds: int, secure: bool, http_only: bool = True) -> str:
    """A Set-Cookie value. `seconds` 0: the cookie goes."""
    parts = [f"{name}={value}", "Path=/", f"Max-Age={seconds}", "SameSite=Lax"]
    parts += ["HttpOnly"] * http_only + ["Secure"] * secure
    return "; ".join(parts)


def is_ours(call: Call) -> bool | None:
    """Whether the browser says that a request came from a page of this server; None: nothing (T23)."""
    site = call.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = call.headers.get("origin")
    if origin is None:
        return None
    return urlsplit(origin).netloc.lower() == urlsplit(call.origin.url).netloc.lower() and origin != "null"


def back(path: str) -> str:
    """A path that was sent along, where it leads to a page of this index; else the index's root."""
    return (
        path if _SAFE_PATH.fullmatch(path) and ".." not in path and ":" not in path.partition("/")[0] else ""
    )


#: What one may do decides on what is offered.
WRITES = (Action.YANK, Action.DELETE, Action.MANAGE)
