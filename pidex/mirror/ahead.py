"""Metadata that is likely to be asked for next, fetched while whoever asked for a page still reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pidex.core import names
from pidex.core.errors import PidexError
from pidex.core.upstreams import UpstreamFile, UpstreamPage
from pidex.core.written import LOOKED_AT, Written

#: Fetches at the same time: what does not fit in is not fetched ahead.
AT_ONCE = 16

log = logging.getLogger("pidex.mirror")


class Ahead:
    """For one event loop. `fetch(upstream, file)` fetches the metadata of a listed file, and holds it."""

    def __init__(self, fetch: Callable[[str, UpstreamFile], Awaitable[bytes]]) -> None:
        self._fetch = fetch
        self._tasks: dict[str, asyncio.Task[bytes | None]] = {}

    def start(self, upstream: str, page: UpstreamPage) -> None:
        """A page came from an upstream: fetch what installers ask for next, where that is plain to see."""
        file = likely(page)
        if file is None or len(self._tasks) >= AT_ONCE:
            return
        key = key_of(upstream, file)
        if key not in self._tasks:
            task = self._tasks[key] = asyncio.ensure_future(self._run(upstream, file))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def __contains__(self, key: str) -> bool:
        """Whether something is on its way under a key."""
        return key in self._tasks

    async def find(self, key: str) -> bytes | None:
        """What is on its way under a key, when it has come; None where nothing is, or it cannot be had."""
        task = self._tasks.get(key)
        return None if task is None else await asyncio.shield(task)

    def stop(self) -> None:
        """Let go of what is on its way."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def _run(self, upstream: str, file: UpstreamFile) -> bytes | None:
        try:
            return await self._fetch(upstream, file)
        except PidexError as error:
            log.debug("The metadata of %s was not to be had ahead: %s", file.filename, error)
            return None


def key_of(upstream: str, file: UpstreamFile) -> str:
    """Under what metadata is held. What one upstream says of a wheel is not believed of another's."""
    return f"{upstream}/{file.digest(upstream)}"


def likely(page: UpstreamPage) -> UpstreamFile | None:
    """The only wheel of a project's newest final release, where it has metadata beside it; else None.

    Of a release with a wheel for each platform it cannot be known which one is wanted.
    """
    if isinstance(page.files, Written):
        only = page.files.newest()
        return only if only is not None and only.metadata and only.yanked is None else None
    wheels: dict[str, list[UpstreamFile]] = {}
    for file in page.files[-LOOKED_AT:]:
        if file.filename.endswith(".whl"):
            wheels.setdefault(file.filename.split("-", 2)[1], []).append(file)
    final = [version for version in wheels if not names.is_prerelease(version)]
    if not final:
        return None
    newest = wheels[max(final, key=names.version_key)]
    file = newest[0]
    return file if len(newest) == 1 and file.metadata and file.yanked is None else None
