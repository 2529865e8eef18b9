"""One request on its way through the routes, and the ways to answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from pidex.core.errors import BadRequest, TooLarge, TooSlow
from pidex.core.model import ANONYMOUS, Principal
from pidex.web.origin import Origin
from pidex.web.replies import EVERYBODY, Reply

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Bytes of a body that nobody wants, and seconds, that are read so that the answer is heard (AUT-9).
DRAIN_BYTES, DRAIN_SECONDS = 64 * 1024 * 1024, 10.0
#: Seconds without a byte after which a body is given up (T17).
IDLE_SECONDS = 30.0


class Call:
    """A request. `path` is as asked for, percent-decoded; `rest` is what follows prefix and index name.

    `up` is the way from `rest`'s folder to the index's root, and `root` to the server's: relative, so that
    links hold behind any proxy.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self._begun = self._ended = False  # the request's body, as far as it was read
        self.method: str = scope["method"]
        self.head = self.method == "HEAD"
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.index = ""
        self.named = False  # whether the index's name stands in the path
        self.depth = 0  # the segments that name it
        self.rest: str = self.path
        self.origin = Origin("", "", False, False)
        self.params: Mapping[str, str] = {}  # what the route's path holds
        self.by: Principal = ANONYMOUS
        self.audience = EVERYBODY  # who else may have the answer
        self.kind = "other"
        self.status = 0
        self.sent = 0

    @property
    def accept(self) -> str | None:
        found = self.headers.get("accept")
        if found is not None and "text/plain" in found and self.method == "POST" and self.path[:3] != "/-/":
            # `uv publish` asks for JSON first and prints only its code; of plain text it prints everything.
            return "text/plain"
        return found

    @property
    def up(self) -> str:
        return "../" * (self.rest.count("/") - 1)

    @property
    def root(self) -> str:
        return self.up + "../" * self.depth

    @property
    def url(self) -> str:
        """The absolute URL of the index, without a slash at its end."""
        return self.origin.url + (f"/{self.index}" if self.named else "")

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece of the request's body, or the client's leaving."""
        message = await self._receive()
        self._begun = True
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `TooSlow` where nothing comes, `BadRequest` where it is cut."""
        more = True
        while more:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self.receive()
            except TimeoutError:
                raise TooSlow(f"Nothing was sent for {IDLE_SECONDS:g} s. Send it again.") from None
            if message["type"] != "http.request":
                raise BadRequest("The connection ended before the request did. Send it again.")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def body(self, most: int, what: str) -> bytes:
        """A small body, whole. Raises as `pieces`, and `TooLarge`: `what` has at most `most` bytes."""
        data = bytearray()
        async for piece in self.pieces():
            data += piece
            if len(data) > most:
                raise TooLarge(f"{what} has at most {most:,} bytes.")
        return bytes(data)

    async def reply(self, reply: Reply, body: bytes | None = None) -> None:
        """Send a finished answer, or its headers with another body."""
        await self.start(reply)
        await self._send(reply.end if body is None else {"type": "http.response.body", "body": body})
        self.sent = len(reply.body if body is None else body)

    async def start(self, reply: Reply) -> None:
        """Send status and headers; the body follows by `send`."""
        self.status = reply.status
        await self._send(reply.start)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a piece of the body."""
        await self._send(message)

    async def stream(self, reply: Reply, pieces: Iterable[bytes]) -> None:
        """Send an answer in pieces that are made on the way; stop when the client has gone."""
        await self.start(reply)
        gone = asyncio.ensure_future(self._disconnected())
        loop = asyncio.get_running_loop()
        iterator = iter(pieces)
        try:
            while not gone.done():
                data = await loop.run_in_executor(None, next, iterator, b"")
                await self._send({"type": "http.response.body", "body": data, "more_body": bool(data)})
                self.sent += len(data)
                if not data:
                    return
        except RuntimeError:
            return  # the server's word for a connection that has gone
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await gone

    async def drain(self) -> None:
        """Read what is left of a body that nobody wants, within bounds: clients that send do not listen.

        One that asks before it sends (`Expect: 100-continue`) is not told to.
        """
        if not self._begun and "100-continue" in self.headers.get("expect", "").lower():
            return
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._ended and size < DRAIN_BYTES:
                    size += len((await self.receive()).get("body", b""))

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
