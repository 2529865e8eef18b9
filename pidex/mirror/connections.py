"""The upstreams that are connected to, and the loop and threads on which everything of them runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from pidex.core.errors import NotFound
from pidex.core.interfaces import Upstream
from pidex.core.upstreams import UpstreamSettings

#: Threads that read and write what is held.
THREADS = 4
#: Seconds for which it is not read again how an upstream is reached.
KNOWN_SECONDS = 1.0

T = TypeVar("T")


class Connections:
    """Upstreams by name, connected to at their first use and anew where their settings have changed.

    `settings(name)` says how one is reached (None: there is none of that name; it may block), `connect` makes
    its client. For one loop at a time: the clients of one that has ended are left behind.
    """

    def __init__(
        self,
        settings: Callable[[str], UpstreamSettings | None],
        connect: Callable[[UpstreamSettings], Upstream],
    ) -> None:
        self._settings, self._connect = settings, connect
        self.pool = ThreadPoolExecutor(THREADS, "pidex-mirror")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[str, tuple[UpstreamSettings, Upstream]] = {}
        self._known: dict[str, tuple[UpstreamSettings, float]] = {}
        self._background: set[asyncio.Task[None]] = set()

    def attach(self) -> asyncio.AbstractEventLoop:
        """Take the running loop as the one to use."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._clients.clear()
            self._background.clear()
            self._loop = loop
        return loop

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call what may block."""
        return await self.attach().run_in_executor(self.pool, partial(function, *args))

    async def find(self, name: str) -> tuple[Upstream, UpstreamSettings]:
        """The client of an upstream. Raises `NotFound`."""
        settings = self.known(name)
        if settings is None:
            settings = await self.in_thread(self.settings, name)
        return self.client(settings), settings

    def known(self, name: str) -> UpstreamSettings | None:
        """How an upstream was reached a moment ago; None: nobody has looked since."""
        settings, at = self._known.get(name, (None, 0.0))
        return settings if 0 <= monotonic() - at < KNOWN_SECONDS else None

    def settings(self, name: str) -> UpstreamSettings:
        """How an upstream is reached now. It may block. Raises `NotFound`."""
        settings = self._settings(name)
        if settings is None:
            raise NotFound(f"There is no upstream {name} (any more).")
        self._known[name] = settings, monotonic()
        return settings

    def client(self, settings: UpstreamSettings) -> Upstream:
        """The client of an upstream that is reached so. For the running loop."""
        self.attach()
        known = self._clients.get(settings.name)
        if known is not None and known[0] == settings:
            return known[1]
        client = self._connect(settings)
        self._clients[settings.name] = (settings, client)
        if known is not None:
            self.start(known[1].close())
        return client

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something on the running loop that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something on the loop, from any thread; nothing where no loop runs."""
        loop = self._loop
        if loop is not None and loop.is_running():
            with suppress(RuntimeError):  # it has ended just now
                loop.call_soon_threadsafe(lambda: self.start(work()))

    async def close(self) -> None:
        """Let go of the upstreams, and of what is still going on. They are connected to again when used."""
        for task in list(self._background):
            task.cancel()
        closing: list[Awaitable[None]] = [client.close() for _, client in self._clients.values()]
        self._clients.clear()
        await asyncio.gather(*closing, return_exceptions=True)
