"""What all pages have in common: who may see them, forms that are ours, the layout, headers and refusals."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.routing import Route

from pidex import __version__
from pidex.accounts.administration import Administration
from pidex.accounts.sessions import Session, Sessions, is_form_of
from pidex.core import negotiation
from pidex.core.errors import (
    BadRequest,
    Busy,
    Forbidden,
    MethodNotAllowed,
    NotFetched,
    NotFound,
    PidexError,
    Unauthenticated,
    UpstreamDown,
)
from pidex.core.names import is_name, normalize
from pidex.core.permissions import Action
from pidex.core.sentences import said
from pidex.curator import Curator
from pidex.doctor import Check
from pidex.indexing import Indexing
from pidex.intake import Intake
from pidex.interior import Interior
from pidex.overview import Overview
from pidex.readme import Readmes
from pidex.search import Search
from pidex.statistics import Statistics
from pidex.verify import Verifier
from pidex.web import welcome
from pidex.web.auth import COOKIE
from pidex.web.bodies import COMPRESS_BYTES, compress
from pidex.web.call import Call
from pidex.web.replies import CHALLENGE, refusal, reply
from pidex.web.site import Site
from pidex.web.ui import formats, language
from pidex.web.ui.recall import Recall
from pidex.web.ui.templates import environment
from pidex.web.ui.visit import Moved, Outcome, Raw, Shown, Visit, cookies_of, is_ours, pairs_of

#: Pages of one worker that are made at a time; others wait for a thread.
THREADS = 8
#: Bytes of a form without files.
FORM_BYTES = 64 * 1024
#: The field of a form that says whose page it came from.
CSRF = "csrf"

#: Things of upstreams that are fetched for one page.
MAX_FETCHES = 16
#: Nothing from elsewhere, nothing inline, nothing framed (B-A3, T11).
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
log = logging.getLogger("pidex.web")

T = TypeVar("T")

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VARY = "Accept-Encoding, Accept-Language, Cookie, Authorization"
_BY_ORIGIN = "Host, Forwarded, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-Prefix"


@dataclass(frozen=True, slots=True)
class Parts:
    """What pages ask."""

    site: Site
    intake: Intake
    curator: Curator
    administration: Administration
    search: Search
    readmes: Readmes
    interior: Interior
    sessions: Sessions
    indexing: Indexing
    overview: Overview
    examine: Callable[[], Iterable[Check]]
    verifier: Verifier
    statistics: Statistics
    recall: Recall

    def recalled(
        self,
        visit: Visit,
        what: str,
        make: Callable[[], T],
        *more: Hashable,
        keeps: Callable[[T], bool] = lambda _answer: True,
    ) -> T:
        """What `make` says of the index to whoever has these rights; `more`: what else it hangs on."""
        view = self.site.gate.audience(visit.by, visit.index, "list").view
        return self.recall.get((what, visit.index, view, *more), make, keeps)


Handler = Callable[[Parts, Visit], Outcome]
#: Answers a POST whose body it reads itself.
Taker = Callable[["Frame", Call], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Path:
    """A path of pages. `own`: of the server, not of an index. `takes`: reads the body of a POST itself."""

    path: str
    get: Handler | None = None
    post: Handler | None = None
    own: bool = False
    takes: Taker | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        return (*(["GET", "HEAD"] if self.get else []), *(["POST"] if self.post or self.takes else []))


class Frame:
    """Answers requests for pages. What they show comes from services, as whoever asks may see it."""

    def __init__(self, parts: Parts, paths: Sequence[Path]) -> None:
        self.parts, self._paths = parts, paths
        self._pool = ThreadPoolExecutor(THREADS, "pidex-ui")
        self._posts = [each.path for each in paths if "POST" in each.methods]

    def routes(self) -> Sequence[Route]:
        """One route a path."""
        return [Route(each.path, _Endpoint(self, each)) for each in self._paths]

    def home(self, path: Path) -> Callable[[Site, Call], Awaitable[None]]:
        """What answers the first page of an index, which is among the routes of its protocols."""

        async def answer(_: Site, call: Call) -> None:
            await self.respond(call, path)

        return answer

    def takes_body(self, call: Call) -> bool:
        """Whether a request is one of ours, which reads its body itself."""
        if call.method != "POST":
            return False
        parts = call.rest.split("/")
        return any(_fits(path.split("/"), parts) for path in self._posts)

    def close(self) -> None:
        """End the threads that wait; those that work end with their work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def thread(self, work: Callable[[], Any]) -> Any:
        """What a function returns, which may block."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # --- a request ------------------------------------------------------------------------------------------

    async def respond(self, call: Call, path: Path) -> None:
        """Answer one request; a refusal is a page, too, or leads to where one signs in."""
        call.kind = "ui"
        try:
            if path.own and call.named:
                raise NotFound(f"There is nothing at {call.path}.")
            if call.method == "OPTIONS":
                await call.reply(reply(204, {"allow": ", ".join([*path.methods, "OPTIONS"])}))
            elif call.method in ("GET", "HEAD") and path.get is not None:
                await self._read(call, path.get)
            elif call.method == "POST" and path.takes is not None:
                await path.takes(self, call)
            elif call.method == "POST" and path.post is not None:
                visit = await self.visit(call, await _form(call))
                await self.send(visit, await self._ask(path.post, visit))
            else:
                raise MethodNotAllowed(f"{call.method} is not offered here.")
        except PidexError as error:
            await call.drain()
            await self._refuse(call, error, path)

    async def lost(self, call: Call, error: PidexError) -> None:
        """Say by a page that there is nothing at a path which no route has."""
        call.kind = "ui"
        await self._refuse(call, error, Path(call.rest))

    async def _read(self, call: Call, handler: Handler) -> None:
        name = call.params.get("name")
        if name is not None:
            await self.parts.site.admit(call, "list", normalize(name))
            if not is_name(name):
                raise NotFound("That is no project name.")
            if name != normalize(name):
                rest = call.rest.removeprefix(f"/project/{name}/")
                target = f"project/{normalize(name)}/{quote(rest)}"
                await self.send(await self.visit(call), Moved(target, status=301))
                return
        visit = await self.visit(call)
        try:
            outcome = await self._ask(handler, visit)
        except Busy:
            site = self.parts.site
            project = normalize(name) if name else None
            if project is not None:  # as installers do: wait a little for its files to be read
                page = partial(site.resolver.page, call.index, project, by=visit.by)
                await site.pages.patiently(page, call.index, project)
            outcome = await self._ask(handler, visit)
        await self.send(visit, outcome)

    async def _ask(self, handler: Handler, visit: Visit) -> Outcome:
        mirror = self.parts.site.mirror
        for _ in range(MAX_FETCHES):
            try:
                outcome: Outcome = await self.thread(partial(handler, self.parts, visit))
            except NotFetched as missing:
                if mirror is None:
                    raise
                await mirror.provide(missing)
                continue
            return outcome
        raise UpstreamDown("What an upstream said could not be kept. Try again.", retry_after=5)

    async def visit(self, call: Call, form: Sequence[tuple[str, str]] | None = None) -> Visit:
        """Who asks for what. With a form: only from a page of ours, else `Forbidden` (T23)."""
        cookies = cookies_of(call.headers.get("cookie"))
        pairs = pairs_of(call.query.decode("latin-1"))
        session = await self.session(cookies)
        if form is not None:
            by = self.sender(call, session, dict(form).get(CSRF, ""))
        else:
            by = call.by
            session = session if by.via == "session" else None
        call.by = by
        accounts = self.parts.site.accounts
        indexes = [name for name in self.parts.site.options.indexes if accounts.allows(by, Action.LIST, name)]
        many: dict[str, list[str]] = {}
        for name, value in form or ():
            many.setdefault(name, []).append(value)
        given = None if form is None else dict(form)
        return Visit(call, by, session, cookies, dict(pairs), given, many, indexes)

    async def session(self, cookies: Mapping[str, str]) -> Session | None:
        """The session of a cookie, or None."""
        text = cookies.get(COOKIE)
        found: Session | None = None
        if text is not None:
            found = await self.thread(partial(self.parts.sessions.find, text))
        return found

    @staticmethod
    def sender(call: Call, session: Session | None, csrf: str) -> Any:
        """Who sent a form. Raises `Forbidden` where it was not sent from a page of ours."""
        ours = is_ours(call)
        if ours is False:
            raise Forbidden(
                "This form was sent from a page of another origin, or a proxy in front hides the name of this"
                " server: then set public_url, or trusted_proxies."
            )
        if session is not None and call.by.name is None:
            if not is_form_of(session, _unmasked(csrf)):
                raise Forbidden("This form is out of date. Load the page again, and send it from there.")
            return session.principal._replace(address=call.origin.client)
        if ours is None:
            raise Forbidden("A form has to be sent by a browser, from a page of this server.")
        return call.by

    # --- the answer -----------------------------------------------------------------------------------------

    async def send(self, visit: Visit, outcome: Outcome) -> None:
        """Render a page and send it, or lead on to another."""
        call = visit.call
        headers = {"cache-control": self._control(visit), "vary": f"{_VARY}, {_BY_ORIGIN}"}
        if isinstance(outcome, Moved):
            headers |= {"location": call.up + outcome.path or "./"}
            moved = reply(outcome.status, headers)
            raw = [(b"set-cookie", each.encode("latin-1")) for each in outcome.cookies]
            moved.start["headers"] = [*moved.start["headers"], *raw]  # type: ignore[misc]
            await call.reply(moved)
            return
        coding = negotiation.encoding(call.headers.get("accept-encoding"))
        body = await self.thread(partial(self._body, visit, outcome, coding))
        headers |= _HEADERS
        if isinstance(outcome, Raw):
            headers["content-type"] = outcome.content_type
        body, used = body
        if used is not None:
            headers["content-encoding"] = used
        if outcome.status == 401:
            headers["www-authenticate"] = CHALLENGE
        await call.reply(reply(outcome.status, headers, body, head=call.head))

    def _body(self, visit: Visit, outcome: Shown | Raw, coding: str | None) -> tuple[bytes, str | None]:
        body = outcome.body if isinstance(outcome, Raw) else self.rendered(visit, outcome).encode()
        if coding is None or len(body) < COMPRESS_BYTES:
            return body, None
        return compress(body, coding), coding

    def rendered(self, visit: Visit, shown: Shown) -> str:
        """The text of a page."""
        call, site, accounts = visit.call, self.parts.site, self.parts.site.accounts
        root = visit.root
        told: dict[str, Any] = {
            "visit": visit,
            "up": visit.up,
            "root": root,
            "program": __version__,
            "assets": {name: f"{root}-/static/{each.hash}/{name}" for name, each in welcome.assets().items()},
            "csrf": _masked(visit.session.csrf) if visit.session else "",
            "languages": language.LANGUAGES,
            "when": formats.when(visit.text, site.clock()),
            "can_upload": accounts.allows(visit.by, Action.UPLOAD, call.index),
            "is_admin": accounts.allows(visit.by, Action.ADMIN, call.index),
            "runs": accounts.allows(visit.by, Action.ADMIN, None),
            "done": visit.query.get("done", ""),
        }
        text: str = environment(visit.language).get_template(shown.template).render(told | {**shown.values})
        # What was uploaded, or asked, may hold half a surrogate pair or a control, which no page can.
        return _UNPRINTABLE.sub("\ufffd", text)

    def _control(self, visit: Visit) -> str:
        if visit.by.name is not None or visit.form is not None:
            return "private, no-store"
        return visit.call.audience.control("no-cache")

    async def _refuse(self, call: Call, error: PidexError, path: Path) -> None:
        told = self.parts.site.told(call, error)
        if error.status >= 500 and error.retry_after is None:
            log.error("%s %s: %s", call.method, call.path, error)
        more = (
            {"allow": ", ".join([*path.methods, "OPTIONS"])} if isinstance(told, MethodNotAllowed) else None
        )
        accept = call.headers.get("accept")
        kind = negotiation.error_type(accept)
        lost = isinstance(told, Unauthenticated) and call.method != "POST" and call.by.name is None
        if more or call.status or (kind != "text/html" and (kind.endswith("json") or not lost)):
            if path.takes is not None:  # what a page's script shows to its reader
                told = _translated(call, told)
            await call.reply(refusal(told, accept, private=True, head=call.head, more=more))
            return
        cookies, session = cookies_of(call.headers.get("cookie")), None
        if call.by.via == "session":
            session = await self.session(cookies)
        visit = Visit(call, call.by, session, cookies, {})
        if lost:
            await self.send(visit, Moved(f"-/login?next={quote(visit.here, safe='')}"))
            return
        await self.send(visit, Shown("error.html", {"error": told}, told.status))


class _Endpoint:
    """A path as an ASGI application, which the router hands every method to."""

    def __init__(self, frame: Frame, path: Path) -> None:
        self._frame, self._path = frame, path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call: Call = scope["pidex"]
        call.params = scope["path_params"]
        await self._frame.respond(call, self._path)


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    return len(pattern) == len(parts) and all(
        one == other or (one.startswith("{") and other) for one, other in zip(pattern, parts, strict=True)
    )


async def _form(call: Call) -> Sequence[tuple[str, str]]:
    """The fields of a small form."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("A form is sent as application/x-www-form-urlencoded.")
    data = await call.body(FORM_BYTES, said("A form without files"))
    return pairs_of(data.decode("utf-8", "replace"))


def _translated(call: Call, error: PidexError) -> PidexError:
    """An error that says the same in the language of whoever asks."""
    visit = Visit(call, call.by, None, cookies_of(call.headers.get("cookie")), {})
    made = copy(error)
    made.args = (language.said_in(visit.language, error), *error.args[1:])
    return made


def _masked(csrf: str) -> str:
    """A form's secret, another text each time: what is compressed beside it tells nothing (BREACH)."""
    mask, secret = secrets.token_bytes(len(csrf) // 2), bytes.fromhex(csrf)
    return mask.hex() + bytes(one ^ other for one, other in zip(mask, secret, strict=True)).hex()


def _unmasked(text: str) -> str:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return ""
    half = len(data) // 2
    return bytes(one ^ other for one, other in zip(data[:half], data[half:], strict=False)).hex()
