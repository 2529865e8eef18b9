"""git over HTTP (the smart protocol): who may clone and push, and the way to git and back in pieces."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from starlette.routing import Route

from pidex.core import hooks
from pidex.core.errors import (
    Busy,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PidexError,
    TooSlow,
    Unauthenticated,
)
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.web.call import Call
from pidex.web.replies import CHALLENGE, SAFE, Reply, reply
from pidex.web.site import Site

#: Exchanges of one worker at a time, and what a client beyond them is told to wait, in seconds.
EXCHANGES, RETRY_SECONDS = 16, 5
#: Seconds without a byte of a request's body after which it is given up (T17).
IDLE_SECONDS = 120.0

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
_PATH = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]*)\.git(?:/(.*))?", re.DOTALL)
_PROTOCOL = re.compile(r"version=[0-9](:[a-z0-9=.-]{1,40})?")

Start = Callable[[int, list[tuple[str, str]]], Awaitable[None]]
Piece = Callable[[bytes], Awaitable[None]]


class Repositories(Protocol):
    """Where the repositories are, and who serves them (backends)."""

    def exists(self, index: str) -> bool:
        """Whether an index has a repository."""

    def check(self) -> None:
        """Raise `PidexError` where git cannot serve HTTP. May block."""

    async def answer(
        self,
        index: str,
        service: str,
        *,
        request: Mapping[str, str],
        body: AsyncIterator[bytes],
        start: Start,
        piece: Piece,
    ) -> None:
        """Let git answer one request, in pieces."""


class Left(Exception):
    """The client has gone in the middle."""


class Clones:
    """Answers `/<index>.git/...`: `info/refs`, `git-upload-pack` and `git-receive-pack`, nothing else."""

    def __init__(self, site: Site, repositories: Repositories) -> None:
        self._site, self._repositories = site, repositories
        self._running = 0

    def routes(self) -> Sequence[Route]:
        """The route of all repositories, before those of the indexes."""
        return [Route("/{repository}.git/{service:path}", self._endpoint())]

    def takes_body(self, call: Call) -> bool:
        """Whether a request is one of ours, which reads its body itself."""
        return call.method == "POST" and not call.named and _PATH.fullmatch(call.rest) is not None

    def _endpoint(self) -> Any:
        clones = self

        class Endpoint:
            """An ASGI application, which the router hands every method to."""

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await clones.respond(scope["pidex"])

        return Endpoint()

    async def respond(self, call: Call) -> None:
        """Answer one request. A refusal is text, which git prints to its user."""
        call.kind = "git"
        try:
            await self._exchange(call)
        except PidexError as error:
            if call.status:
                raise  # too late for another answer: the connection is cut
            if call.method == "POST":
                await call.drain()
            await call.reply(_refusal(error))
        except Left:
            return

    async def _exchange(self, call: Call) -> None:
        index, service, path = _asked(call)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._site.readers, self._admit, call, index, service)
        if self._running >= EXCHANGES:
            raise Busy("Too many clones and pushes at a time. Try again.", retry_after=RETRY_SECONDS)
        self._running += 1
        try:
            await _Exchange(call, pushing=service == PUSH).run(self._repositories, index, path)
        finally:
            self._running -= 1

    def _admit(self, call: Call, index: str, service: str) -> None:
        """Whether who asks may; the same whether or not there is anything.

        git sends credentials only after a 401, so strangers get one wherever signing in may help.
        """
        accounts = self._site.accounts
        by = call.by
        if service == FETCH:
            self._read(by, index)
        elif not any(accounts.allows(by, action, index) for action in (Action.UPLOAD, Action.DELETE)):
            raise accounts.refusal(by, Action.UPLOAD, index)
        if index not in self._site.options.indexes or not self._repositories.exists(index):
            raise NotFound(f"There is no repository {index}.git.")
        self._repositories.check()

    def _read(self, by: Principal, index: str) -> None:
        """Raise where somebody may not have the whole history of every project."""
        accounts = self._site.accounts
        seen = [accounts.visibility(by, index, action) for action in (Action.LIST, Action.READ)]
        if all(each.everything for each in seen):
            return
        if by.name is None:
            raise Unauthenticated("Sign in to clone this repository.")
        if any(each.nothing for each in seen):
            raise NotFound(f"There is no repository {index}.git.")
        raise Forbidden(
            "A clone holds all projects of the index, and you may read some of them only: use pip."
        )


class _Exchange:
    """One request on its way to git, and git's answer."""

    def __init__(self, call: Call, *, pushing: bool) -> None:
        self._call, self._pushing = call, pushing
        self._gone: asyncio.Future[None] | None = None

    async def run(self, repositories: Repositories, index: str, path: str) -> None:
        """Stream both ways. A push that git has whole is brought to its end, whoever listens."""
        try:
            await repositories.answer(
                index, path,
                request=self._variables(), body=self._body(), start=self._start, piece=self._piece,
            )  # fmt: skip
        except (PidexError, Left):
            raise
        except OSError as error:
            raise NotFound(f"git cannot be run: {error.strerror}.") from None
        finally:
            if self._gone is not None:
                self._gone.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._gone
        if not self._left():
            with suppress(RuntimeError):
                await self._call.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _variables(self) -> dict[str, str]:
        call, headers = self._call, self._call.headers
        found = {
            "REQUEST_METHOD": call.method,
            "QUERY_STRING": call.query.decode("ascii", "replace") if call.method == "GET" else "",
            "CONTENT_TYPE": headers.get("content-type", ""),
            "REMOTE_ADDR": call.origin.client,
            "REMOTE_USER": call.by.name or "anonymous",
            hooks.PUSHER: hooks.principal_text(call.by),
        }
        # Never CONTENT_LENGTH: git http-backend counts down to it, and turns for ever where the input ends
        # before, as it does when this process is killed. Without it, the end of the input is the end.
        if headers.get("content-encoding") in ("gzip", "x-gzip"):
            found["HTTP_CONTENT_ENCODING"] = "gzip"
        if _PROTOCOL.fullmatch(headers.get("git-protocol", "")):
            found["GIT_PROTOCOL"] = headers["git-protocol"]
        return found

    async def _body(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            try:
                message = await asyncio.wait_for(self._call.receive(), IDLE_SECONDS)
            except TimeoutError:
                raise TooSlow(f"Nothing came for {IDLE_SECONDS:g} seconds.") from None
            if message["type"] != "http.request":
                raise Left
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]
        self._gone = asyncio.ensure_future(self._disconnected())

    async def _disconnected(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass

    def _left(self) -> bool:
        return self._gone is not None and self._gone.done() and not self._gone.cancelled()

    async def _start(self, status: int, headers: list[tuple[str, str]]) -> None:
        known = [(name, value) for name, value in headers if name != "content-length"]
        await self._call.start(Reply(status, [*known, ("x-content-type-options", "nosniff")]))

    async def _piece(self, data: bytes) -> None:
        try:
            if not self._left():
                await self._call.send({"type": "http.response.body", "body": data, "more_body": True})
                self._call.sent += len(data)
                return
        except RuntimeError:
            pass  # the server's word for a connection that has gone
        if not self._pushing:
            raise Left


def _asked(call: Call) -> tuple[str, str, str]:
    """The index, the service and the path below the repository that a request names."""
    found = _PATH.fullmatch(call.rest)
    if call.named or found is None:
        raise NotFound(f"There is nothing at {call.path}.")
    index, path = found[1], found[2] or ""
    if path == "info/refs":
        if call.method != "GET":
            raise MethodNotAllowed("Only GET is offered here.")
        for service in (FETCH, PUSH):
            if call.query == f"service={service}".encode():
                return index, service, path
        raise Forbidden("Only git's smart protocol is spoken here: use git 1.6.6 or newer.")
    if path in (FETCH, PUSH):
        if call.method != "POST":
            raise MethodNotAllowed("Only POST is offered here.")
        return index, path, path
    raise NotFound(f"There is nothing here but a repository: git clone {call.origin.url}/{index}.git")


def _refusal(error: PidexError) -> Reply:
    """A refusal in plain text: what git shows its user."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **SAFE}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = CHALLENGE
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = "GET, POST"
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return reply(error.status, headers, f"{error}\n".encode())
