"""The web face: finished pages and small files by the shortest way, everything else by the routes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, MutableMapping
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
from pidex.web.call import Call, Receive, Scope, Send
from pidex.web.files import OpenFile, OpenFiles, file_headers
from pidex.web.ledger import Ledger
from pidex.web.options import Options
from pidex.web.origin import Origins
from pidex.web.pages import Pages, Probe
from pidex.web.replies import ALLOW, Reply, problem, redirect, refusal

#: Threads that ask the resolver and render, and threads that wait for the disk.
RESOLVERS, READERS = 4, 8
#: Characters of a path at most.
PATH_CHARS = 8_192

log = logging.getLogger("pidex.web")

#: The head of an answer, the message with its body, the bytes in that, and what log and metrics call it.
Quick = tuple[Reply, MutableMapping[str, Any], int, str]


class Site:
    """An ASGI application over a resolver.

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
        #: Whether the route of a request reads its body; all others are read and thrown away.
        self.closers: list[Callable[[], None]] = []
        self.takes_body: Callable[[Call], bool] = lambda _call: False
        self._ticker: asyncio.TimerHandle | None = None

    # --- the hot path ---------------------------------------------------------------------------------------

    def quick(self, path: str, headers: Mapping[bytes, bytes], *, head: bool) -> Quick | None:
        """A finished answer, for GET or HEAD without a query; None: ask the routes."""
        pages = self.pages
        pages.look()
        entry = pages.shelf.entries.get(path)
        if entry is None:
            opened = self.files.find(path)
            return None if opened is None else self._quick_file(opened, headers, head=head)
        if entry.valid_until is not None and self.clock() >= entry.valid_until:
            pages.shelf.drop(path)
            return None
        if entry.action in self.options.guard and not self._known(headers, entry.action):
            return None
        get = headers.get
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

    def _quick_file(self, opened: OpenFile, headers: Mapping[bytes, bytes], *, head: bool) -> Quick | None:
        if b"range" in headers or b"if-none-match" in headers or b"if-modified-since" in headers:
            return None
        if "download" in self.options.guard and not self._known(headers, "download"):
            return None
        data = opened.small()
        if data is None:
            return None
        if head:
            data = b""
        return opened.whole, {"type": "http.response.body", "body": data}, len(data), "file"

    def _known(self, headers: Mapping[bytes, bytes], action: str) -> bool:
        header = headers.get(b"authorization")
        by = self.accounts.remembered(None if header is None else header.decode("latin-1"))
        return by is not None and self.accounts.allows(by, action)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI event stream."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            return
        began, method, path = perf_counter(), scope["method"], scope["path"]
        if (method == "GET" or method == "HEAD") and not scope["query_string"]:  # noqa: PLR1714  # faster
            pairs = scope["headers"]
            headers = dict(pairs)
            try:
                # A header sent twice means both, which only the long way knows.
                found = (
                    self.quick(path, headers, head=method == "HEAD") if len(headers) == len(pairs) else None
                )
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
        await self._routed(Call(scope, receive, send), began)

    async def _routed(self, call: Call, began: float) -> None:
        at = self.clock()
        try:
            await self._answer(call)
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
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # --- the way through the routes -------------------------------------------------------------------------

    async def _answer(self, call: Call) -> None:
        try:
            call.origin = self.origins.of(_peer(call.scope), call.scope.get("scheme", "http"), call.headers)
            self._place(call)
            if call.method not in ("GET", "HEAD", "OPTIONS") and not self.takes_body(call):
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

    def _client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[str, int]:
        """The client that a trusted proxy speaks of."""
        names = (b"forwarded", b"x-forwarded-for")
        told = {name.decode(): headers[name].decode("latin-1") for name in names if name in headers}
        return self.origins.of(_peer(scope), "http", told).client, 0

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
        for close in self.closers:
            close()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.readers.shutdown(wait=False, cancel_futures=True)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client and client[0] else "unix"


async def _nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise HTTPException(404)
