"""The web face: finished pages and small files by the shortest way, everything else by the routes."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Router

from pidex.accounts import Accounts
from pidex.core.agents import wants_fresh
from pidex.core.errors import (
    BadRequest,
    CatalogueError,
    MethodNotAllowed,
    NotFound,
    PathTooLong,
    PidexError,
    Unauthenticated,
)
from pidex.core.interfaces import Clock
from pidex.core.model import File
from pidex.core.negotiation import etag_matches
from pidex.metrics import FLUSH_SECONDS, Metrics
from pidex.mirror import Mirror
from pidex.resolver import Resolver
from pidex.verify.health import Health
from pidex.web import aliases
from pidex.web.auth import Gate, Sessions
from pidex.web.call import Call, Receive, Scope, Send
from pidex.web.files import OpenFile, OpenFiles
from pidex.web.ledger import Ledger
from pidex.web.options import Options
from pidex.web.origin import Origins
from pidex.web.pages import Pages, Probe
from pidex.web.replies import ALLOW, Reply, problem, redirect, refusal
from pidex.web.shelf import Entry

#: Threads that ask the resolver and render, and threads that wait for the disk.
RESOLVERS, READERS = 4, 8
#: Characters of a path at most.
PATH_CHARS = 8_192
#: Whether this process lives is told without a look at the catalogue: starting it again would not help.
ALIVE = "/-/livez"
#: What browsers read, and no client does.
XHTML = "application/xhtml+xml"
#: Ticks after which freed memory is given back, also where no page of an upstream came: a minute of them.
TIDY_TICKS = int(60 / FLUSH_SECONDS)
#: What clients are told while the catalogue is away.
AWAY = "The catalogue does not answer now. Try again in a moment."

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")

log = logging.getLogger("pidex.web")

#: The head of an answer, the message with its body, the bytes in that, and what log and metrics call it.
Quick = tuple[Reply, MutableMapping[str, Any], int, str]


class Site:
    """An ASGI application over a resolver.

    `signature(file)` returns the bytes of the `.asc` beside a file, or None. `want(index, project)` asks for
    a project to be looked into first. Both may block.
    `accounts` and `sessions` say who asks, and what they may have. `mirror` has what upstreams have.
    """

    def __init__(
        self,
        resolver: Resolver,
        probe: Probe,
        accounts: Accounts,
        options: Options,
        *,
        clock: Clock,
        want: Callable[[str, str | None], None],
        signature: Callable[[File], bytes | None],
        ledger: Ledger,
        metrics: Metrics,
        sessions: Sessions | None = None,
        health: Health | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.mirror = mirror
        self.resolver, self.accounts, self.options = resolver, accounts, options
        self.clock, self.signature, self.metrics, self.ledger = clock, signature, metrics, ledger
        self.health = health
        self.pool = ThreadPoolExecutor(RESOLVERS, "pidex-resolve")
        self.readers = ThreadPoolExecutor(READERS, "pidex-read")
        self.files = OpenFiles(options.open_files)
        self.origins = Origins(options)
        self.gate = Gate(accounts, options, self.origins, self.readers, clock=clock, sessions=sessions)
        self.pages = Pages(
            resolver,
            probe,
            options,
            want=self._wanting(want),
            pool=self.pool,
            dropped=self._drop,
            rights=self.gate.changed,
            mirror=mirror,
            clock=clock,
        )
        self.cut = metrics.counter(
            "pidex_downloads_cut", "Downloads ended early: the file changed or the client left."
        )
        self.router = Router(redirect_slashes=False, default=_nowhere)
        #: Whether the route of a request reads its body; all others are read and thrown away.
        self.closers: list[Callable[[], None]] = []
        self.takes_body: Callable[[Call], bool] = lambda _call: False
        #: Tells people in a browser that there is nothing at a path.
        self.lost: Callable[[Call, PidexError], Awaitable[None]] | None = None
        #: Called in a thread where pages of upstreams came: what to read them took is not needed any more.
        self.tidy: Callable[[], None] = lambda: None
        self._came = self._ticks = 0
        self._ticker: asyncio.TimerHandle | None = None

    def _wanting(self, want: Callable[[str, str | None], None]) -> Callable[[str, str | None], None]:
        """What a page waits for may lie in the folders of any index that it has contents of."""

        def wanting(index: str, project: str | None) -> None:
            for each in (index, *self.options.indexes.others(index)):
                want(each, project)

        return wanting

    def _drop(self, index: str | None, project: str | None) -> None:
        """Told of what changed; where that is all of an index, it may be new, gone, or have other bases."""
        if project is None:
            for gone in self.options.indexes.renew():
                self.pages.shelf.drop_index(gone)
                self.files.drop_project(gone, None)
        self.files.drop_project(index, project)

    # --- the hot path ---------------------------------------------------------------------------------------

    def quick(self, path: str, headers: Mapping[bytes, bytes], peer: Any, *, head: bool) -> Quick | None:
        """A finished answer, for GET or HEAD without a query; None: ask the routes."""
        pages = self.pages
        if pages.ask is None:
            pages.look()
        entry = pages.shelf.entries.get(path)
        if entry is None:
            opened = self.files.find(path)
            return None if opened is None else self._quick_file(opened, headers, peer, head=head)
        if entry.valid_until is not None and self.clock() >= entry.valid_until:
            pages.shelf.drop(path)
            return None
        stranger = not entry.private and self.gate.is_strange(headers)
        if not stranger and not self._admits(headers, peer, entry):
            return None
        get = headers.get
        control = get(b"cache-control") if entry.mirrored else None
        if control and wants_fresh(control.decode("latin-1"), get(b"user-agent", b"").decode("latin-1")):
            return None
        variant = pages.find(entry, get(b"accept"), get(b"accept-encoding"))
        if variant is None:
            return None
        pages.shelf.entries.move_to_end(path)
        asked = get(b"if-none-match")
        if asked is not None and (
            asked == variant.tag or etag_matches(asked.decode("latin-1"), variant.etag)
        ):
            reply = variant.unchanged
        elif head:
            reply = variant.head
        elif variant.long:
            return None
        else:
            reply = variant.whole
        return reply, reply.end, len(reply.body), entry.kind

    def _quick_file(
        self, opened: OpenFile, headers: Mapping[bytes, bytes], peer: Any, *, head: bool
    ) -> Quick | None:
        if b"range" in headers or b"if-none-match" in headers or b"if-modified-since" in headers:
            return None
        if opened.until is not None and self.clock() >= opened.until:
            return None
        if opened.private or not self.gate.is_strange(headers):
            asked = opened.index, "download", opened.file.project
            if not self.gate.admits(headers, _address(peer), asked, epoch=self.pages.changes):
                return None
        data = opened.small()
        if data is None:
            return None
        if head:
            data = b""
        return opened.whole, {"type": "http.response.body", "body": data}, len(data), "file"

    def _admits(self, headers: Mapping[bytes, bytes], peer: Any, entry: Entry) -> bool:
        """Whether who asks is known already and may have a page that is kept under its path alone."""
        asked = entry.index, entry.action, entry.project
        return self.gate.admits(headers, _address(peer), asked, epoch=self.pages.changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI event stream."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            return
        began, method, path, looked = perf_counter(), scope["method"], scope["path"], False
        if (method == "GET" or method == "HEAD") and not scope["query_string"]:  # noqa: PLR1714  # faster
            pairs = scope["headers"]
            headers = dict(pairs)
            try:
                if self.pages.ask is not None:
                    await self.pages.current()
                # A header sent twice means both, which only the long way knows.
                found = (
                    self.quick(path, headers, scope["client"], head=method == "HEAD")
                    if len(headers) == len(pairs)
                    else None
                )
                looked = len(headers) == len(pairs)
            except Exception:
                found = None  # the routes meet it again, and tell
            if found is not None:
                reply, end, size, kind = found
                await send(reply.start)
                await send(end)
                peer = self._client(scope, headers) if self.origins.trusting else scope["client"]
                took = perf_counter() - began
                agent = headers.get(b"user-agent")
                self.ledger.add(
                    (self.clock() - took, took, peer, method, path, reply.status, size, agent, kind)
                )
                return
        await self._routed(Call(scope, receive, send), began, looked=looked)

    async def _routed(self, call: Call, began: float, *, looked: bool) -> None:
        at = self.clock()
        try:
            await self._answer(call, looked=looked)
        finally:
            took = perf_counter() - began
            peer, agent = (call.origin.client, 0), call.headers.get("user-agent", "").encode("latin-1")
            self.ledger.add(
                (at, took, peer, call.method, call.path, call.status, call.sent, agent, call.kind)
            )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.tick()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self.mirror is not None:
                    await self.mirror.stop()
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # --- the way through the routes -------------------------------------------------------------------------

    async def _answer(self, call: Call, *, looked: bool) -> None:
        try:
            call.origin = self.origins.of(_peer(call.scope), call.scope.get("scheme", "http"), call.headers)
            self._place(call)
            if call.method not in ("GET", "HEAD", "OPTIONS") and not self.takes_body(call):
                await call.drain()
            if call.rest != ALIVE and not looked:  # that was just now, and nothing was waited for since
                await self.pages.current()
            await self._recognise(call)
            if not call.rest:  # the prefix or the index's name, without its slash
                await call.reply(redirect(301, call.path.rpartition("/")[2] + "/", call.query))
                return
            await self.router({**call.scope, "path": call.rest, "pidex": call}, call.receive, call.send)
        except HTTPException as error:  # the router's own: no such route, or another method
            await self._nothing(call, NotFound(f"There is nothing at {call.path}."), error.headers)
        except MethodNotAllowed as error:
            await self._refuse(call, error, {"allow": ALLOW})
        except PidexError as error:
            if error.status >= 500 and error.retry_after is None:
                log.error("%s %s: %s", call.method, call.path, error)
            await self._refuse(call, self.told(call, error))
        except Exception:
            await self._fail(call)

    async def _recognise(self, call: Call) -> None:
        """Find out who asks, on every route; sets `call.by`. Raises `Unauthenticated` or `TooMany`."""
        try:
            call.by = await self.gate.principal(call)
        except PidexError:
            if self.takes_body(call):
                await call.drain()
            raise

    def _place(self, call: Call) -> None:
        """Find prefix and index in the path. Raises `BadRequest` for paths that name nothing anywhere."""
        path = call.path
        if len(path) > PATH_CHARS:
            raise PathTooLong(f"The path is longer than {PATH_CHARS} characters.")
        if not path.startswith("/") or "\ufffd" in path or "\\" in path or _CONTROLS.search(path) is not None:
            raise BadRequest("The path holds control characters, a backslash, or bytes that are not UTF-8.")
        if _SURROGATES.search(path) is not None:
            raise BadRequest("The path holds bytes that are not UTF-8.")
        prefix = self.options.prefix
        rest = path[len(prefix) :] if prefix and f"{path}/".startswith(f"{prefix}/") else path
        if any(segment in (".", "..") for segment in rest.split("/")):
            raise BadRequest("The path holds '.' or '..' as a segment.")
        first, _, below = rest[1:].partition("/")
        call.index = self.options.default_index
        if first in self.options.indexes:
            call.index, call.named, call.depth = first, True, 1
            rest = f"/{below}" if rest.startswith(f"/{first}/") else ""
        elif first in aliases.FIRST:
            found = aliases.place(rest, self.options.indexes, self.options.default_index)
            if found is not None:
                (call.index, call.depth, rest), call.named = found, True
        call.rest = rest

    async def admit(self, call: Call, action: str, project: str | None = None) -> None:
        """Let a caller through to 'list' or 'download' something here; sets `call.audience` (AUT-2).

        Whether they may have what they ask for, the resolver says, which they name to it. Raises
        `Unauthenticated` for strangers where they may have nothing, `NotFound` for others.
        """
        self.gate.require(call.by, call.index, action)
        call.audience = self.gate.audience(call.by, call.index, action, project)

    def told(self, call: Call, error: PidexError) -> PidexError:
        """What a caller is told in place of an error: strangers have to sign in where an index says so.

        By their rights alone, whether there is such a thing or not: clients send credentials only when asked.
        """
        if isinstance(error, CatalogueError) and error.retry_after is not None:
            # Where the database is and what it says is for the log, not for who asks.
            if str(error) != AWAY:  # which is told once, not for each who asks
                log.warning("%s %s: %s", call.method, call.path, error)
            return CatalogueError(AWAY, retry_after=error.retry_after)
        if not isinstance(error, NotFound) or call.by.name is not None or not call.index:
            return error
        about_names = call.kind == "api" or not call.rest.startswith("/-/")
        if not about_names or not self.accounts.rights.challenges(call.index):
            return error
        return Unauthenticated("Sign in to see whether that is here: there may be more for you than for all.")

    async def _refuse(self, call: Call, error: PidexError, more: Any = None) -> None:
        private = bool(call.index)
        if private and not isinstance(error, CatalogueError):  # else nobody knows, and asking may take long
            try:
                private = not self.gate.is_open(call.index)
            except CatalogueError:
                private = True
        # Below the API its description says how it refuses, also what no route ever sees.
        described = call.path.startswith(f"{self.options.prefix}/-/api/")
        accept = "application/problem+json" if described else call.accept
        await self._send(call, refusal(error, accept, private=private, head=call.head, more=more))

    async def _nothing(self, call: Call, error: NotFound, more: Any) -> None:
        people = call.method in ("GET", "HEAD") and XHTML in (call.accept or "")
        if self.lost is None or not people or call.rest.startswith("/-/api/"):
            await self._refuse(call, error, more)
            return
        try:
            await self.lost(call, error)
        except Exception:
            await self._fail(call)

    async def _fail(self, call: Call) -> None:
        """Answer what nobody foresaw: the traceback goes to the log, its number to the caller."""
        number = secrets.token_hex(4)
        log.exception("Unexpected error %s in %s %s", number, call.method, call.path)
        detail = f"Something went wrong here. The server's log says more, under {number}."
        title = "Internal server error"
        await self._send(call, problem(500, title, detail, call.accept, code="internal", head=call.head))

    async def _send(self, call: Call, reply: Reply) -> None:
        if call.status:
            return  # too late for another answer: returning now cuts the connection
        try:
            await call.reply(reply)
        except Exception:
            log.debug("The client of %s has gone.", call.path)

    def _client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[str, int]:
        """The client that a trusted proxy speaks of."""
        names = (b"forwarded", b"x-forwarded-for")
        told = {name.decode(): headers[name].decode("latin-1") for name in names if name in headers}
        return self.origins.of(_peer(scope), "http", told).client, 0

    def tick(self) -> None:
        """Twice a second: hand the numbers over, and tidy up."""
        self.metrics.flush()
        came = 0 if self.mirror is None else self.mirror.pages.told["fetched"]
        self._ticks += 1
        if came != self._came or self._ticks % TIDY_TICKS == 0:
            self._came = came
            self.readers.submit(self.tidy)
        self._ticker = asyncio.get_event_loop().call_later(FLUSH_SECONDS, self.tick)

    def close(self) -> None:
        """Write what waits, end the threads."""
        if self._ticker is not None:
            self._ticker.cancel()
        self.ledger.flush()
        self.metrics.flush()
        self.files.drop_project(None, None)
        for close in self.closers:
            close()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.readers.shutdown(wait=False, cancel_futures=True)


def _peer(scope: Scope) -> str:
    return _address(scope.get("client"))


def _address(client: Any) -> str:
    return client[0] if client and client[0] else "unix"


async def _nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise HTTPException(404)
