"""The web face: finished pages and small files by the shortest way, everything else by the routes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Router

from pidex.accounts import Accounts
from pidex.core.errors import BadRequest, MethodNotAllowed, NotFound, PathTooLong, PidexError, Unauthenticated
from pidex.core.interfaces import Clock
from pidex.core.model import ANONYMOUS, File, Principal
from pidex.core.negotiation import etag_matches
from pidex.metrics import FLUSH_SECONDS, Metrics
from pidex.resolver import Resolver
from pidex.web import rsgi
from pidex.web.call import Call, Receive, Scope, Send
from pidex.web.files import OpenFiles, file_headers
from pidex.web.ledger import Ledger, Line
from pidex.web.options import Options
from pidex.web.origin import Origins
from pidex.web.pages import Pages, Probe
from pidex.web.replies import ALLOW, Reply, problem, redirect, refusal

#: Threads that ask the resolver and render, and threads that wait for the disk.
RESOLVERS, READERS = 4, 8
#: Characters of a path at most.
PATH_CHARS = 8_192

log = logging.getLogger("pidex.web")

Header = Callable[[str], str | None]


class Site:
    """An ASGI application, and for Granian an RSGI one (`__rsgi__`), over a resolver.

    `signature(file)` returns the bytes of the `.asc` beside a file, or None. `want(index, project)` asks for
    a project to be looked into first. Both may block.
    `accounts` counts where `options.guard` names actions.
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
    ) -> None:
        self.resolver, self.accounts, self.options = resolver, accounts, options
        self.clock, self.signature, self.metrics, self.ledger = clock, signature, metrics, ledger
        self.pool = ThreadPoolExecutor(RESOLVERS, "pidex-resolve")
        self.readers = ThreadPoolExecutor(READERS, "pidex-read")
        self.files = OpenFiles(options.open_files)
        self.pages = Pages(
            resolver, probe, options, want=want, pool=self.pool, dropped=self.files.drop_project
        )
        self.origins = Origins(options)
        self.file_headers = file_headers(options.file_cache_control, private="download" in options.guard)
        self.cut = metrics.counter(
            "pidex_downloads_cut", "Downloads ended early: the file changed or the client left."
        )
        self.router = Router(redirect_slashes=False, default=_nowhere)
        self._ticker: asyncio.TimerHandle | None = None

    # --- the hot path ---------------------------------------------------------------------------------------

    def quick(self, path: str, header: Header, *, head: bool) -> tuple[Reply, bytes, str] | None:
        """A finished answer, its body and its kind, for GET or HEAD without a query; None: ask the routes."""
        pages = self.pages
        pages.look()
        entry = pages.shelf.entries.get(path)
        if entry is None:
            return self._quick_file(path, header, head=head)
        if entry.valid_until is not None and self.clock() >= entry.valid_until:
            pages.shelf.drop(path)
            return None
        if entry.action in self.options.guard and not self._known(header("authorization"), entry.action):
            return None
        variant = pages.find(path, header("accept"), header("accept-encoding"))
        if variant is None:
            return None
        asked = header("if-none-match")
        if asked is not None and etag_matches(asked, variant.etag):
            return variant.unchanged, b"", entry.kind
        if head:
            return variant.head, b"", entry.kind
        return None if variant.long else (variant.whole, variant.whole.body, entry.kind)

    def _quick_file(self, path: str, header: Header, *, head: bool) -> tuple[Reply, bytes, str] | None:
        opened = self.files.find(path)
        if opened is None or header("range") is not None:
            return None
        if "download" in self.options.guard and not self._known(header("authorization"), "download"):
            return None
        if opened.unchanged(header("if-none-match"), header("if-modified-since")):
            return None
        data = opened.small()
        return None if data is None else (opened.whole, b"" if head else data, "file")

    def _known(self, authorization: str | None, action: str) -> bool:
        by = self.accounts.remembered(authorization)
        return by is not None and self.accounts.allows(by, action)

    # --- the two interfaces ---------------------------------------------------------------------------------

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one request of Granian's."""
        began = perf_counter()
        method = scope.method
        if (method == "GET" or method == "HEAD") and not scope.query_string:  # noqa: PLR1714  # faster
            get = scope.headers.get
            try:
                found = self.quick(scope.path, get, head=method == "HEAD")
            except Exception:
                found = None  # the routes will meet it again, and say so
            if found is not None:
                reply, body, kind = found
                if body:
                    proto.response_bytes(reply.status, reply.text, body)
                else:
                    proto.response_empty(reply.status, reply.text)
                client = scope.client
                if self.origins.trusting:
                    client = self._client(client, scope.headers)
                took = perf_counter() - began
                line = (self.clock() - took, took, client, method, scope.path, reply.status, len(body))
                self.ledger.add(Line(*line, get("user-agent"), kind))
                return
        converted, channel = rsgi.asgi(scope, proto)
        await self(converted, channel.receive, channel.send)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self.tick)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI event stream."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        began, at = perf_counter(), self.clock()
        call = Call(scope, receive, send)
        try:
            await self._answer(call)
        finally:
            took = perf_counter() - began
            client, path = call.origin.client, call.path
            agent = call.headers.get("user-agent")
            self.ledger.add(
                Line(at, took, client, call.method, path, call.status, call.sent, agent, call.kind)
            )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.tick()
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # --- the way through the routes -------------------------------------------------------------------------

    async def _answer(self, call: Call) -> None:
        client = call.scope.get("client")
        peer = client[0] if client and client[0] else "unix"
        try:
            call.origin = self.origins.of(peer, call.scope.get("scheme", "http"), call.headers)
            self._place(call)
            if call.method in ("GET", "HEAD") and not call.query:
                found = self.quick(call.path, call.headers.get, head=call.head)
                if found is not None:
                    call.kind = found[2]
                    await call.reply(found[0], found[1])
                    return
            if call.method not in ("GET", "HEAD", "OPTIONS"):
                await call.drain()
            if not call.rest:  # the prefix or the index's name, without its slash
                await call.reply(redirect(301, call.path.rpartition("/")[2] + "/", call.query))
                return
            self.pages.look()
            await self.router({**call.scope, "path": call.rest, "pidex": call}, call.receive, call.send)
        except HTTPException as error:  # the router's own: no such route, or another method
            await self._refuse(call, NotFound(f"There is nothing at {call.path}."), error.headers)
        except MethodNotAllowed as error:
            await self._refuse(call, error, {"allow": ALLOW})
        except PidexError as error:
            if error.status >= 500 and error.retry_after is None:
                log.error("%s %s: %s", call.method, call.path, error)
            await self._refuse(call, error)
        except Exception:
            await self._fail(call)

    def _place(self, call: Call) -> None:
        """Find prefix and index in the path. Raises `BadRequest` for paths that name nothing anywhere."""
        path = call.path
        if len(path) > PATH_CHARS:
            raise PathTooLong(f"The path is longer than {PATH_CHARS} characters.")
        if (
            not path.startswith("/")
            or "\ufffd" in path
            or "\\" in path
            or any(ord(c) < 32 or ord(c) == 127 for c in path)
        ):
            raise BadRequest("The path holds control characters, a backslash, or bytes that are not UTF-8.")
        if any(0xD800 <= ord(c) < 0xE000 for c in path):
            raise BadRequest("The path holds bytes that are not UTF-8.")
        prefix = self.options.prefix
        rest = path[len(prefix) :] if prefix and f"{path}/".startswith(f"{prefix}/") else path
        if any(segment in (".", "..") for segment in rest.split("/")):
            raise BadRequest("The path holds '.' or '..' as a segment.")
        first, _, below = rest[1:].partition("/")
        call.index = self.options.default_index
        if first in self.options.indexes:
            call.index, call.named = first, True
            rest = f"/{below}" if rest.startswith(f"/{first}/") else ""
        call.rest = rest

    async def admit(self, call: Call, action: str) -> None:
        """Let a caller through to an action: open to all, or to who signed in (AUT-2). Sets `call.by`.

        Raises `Unauthenticated` for missing or wrong credentials, `NotFound` where the action is not allowed.
        """
        if action not in self.options.guard:
            return
        header = call.headers.get("authorization")
        by: Principal | None = self.accounts.remembered(header)
        if by is None:
            by = await asyncio.get_running_loop().run_in_executor(
                self.readers, self.accounts.authenticate, header
            )
        if not self.accounts.allows(by, action):
            if by == ANONYMOUS:
                raise Unauthenticated(
                    "Sign in to use this index: put user name and password into netrc or keyring."
                )
            raise NotFound(f"There is nothing at {call.path}.")
        call.by = by

    async def _refuse(self, call: Call, error: PidexError, more: Any = None) -> None:
        private = bool(self.options.guard & {"list", "download"})
        await self._send(call, refusal(error, call.accept, private=private, head=call.head, more=more))

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

    def _client(self, peer: str, headers: Any) -> str:
        names = ("forwarded", "x-forwarded-for")
        known = {name: value for name in names if (value := headers.get(name)) is not None}
        host = rsgi.address(peer)
        return self.origins.of(host[0] if host else "unix", "http", known).client

    def tick(self) -> None:
        """Twice a second: hand the numbers over."""
        self.metrics.flush()
        self._ticker = asyncio.get_event_loop().call_later(FLUSH_SECONDS, self.tick)

    def close(self) -> None:
        """Write what waits, end the threads."""
        if self._ticker is not None:
            self._ticker.cancel()
        self.ledger.flush()
        self.metrics.flush()
        self.files.drop_project(None, None)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.readers.shutdown(wait=False, cancel_futures=True)


async def _nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise HTTPException(404)
