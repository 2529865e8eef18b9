"""Finished pages: found in the cache, or resolved, rendered and compressed once for all who wait for them."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol, TypeVar

from pidex.core import negotiation, simpleapi
from pidex.core.errors import Busy, NotAcceptable, NotFetched, NotFound, UpstreamDown
from pidex.core.interfaces import Clock
from pidex.core.listing import EVERYTHING
from pidex.core.model import Page, Principal
from pidex.core.permissions import Action
from pidex.core.written import Written
from pidex.mirror import Mirror
from pidex.resolver import Resolver
from pidex.web import bodies
from pidex.web.options import Options
from pidex.web.replies import EVERYBODY, SAFE, Audience, Headers, Reply
from pidex.web.shelf import Entry, Key, Shelf, Slot, Variant

#: Seconds between two looks whether a page that waits for its files is ready.
POLL_SECONDS = 0.05
#: Seconds after which such a page is tried again even where nothing seems to have changed.
RETRY_SECONDS = 1.0
#: How often one answer has the same thing fetched from an upstream.
MAX_FETCHES = 3
#: Pairs of Accept and Accept-Encoding whose outcome is remembered; clients send a few dozen.
REMEMBERED = 512
#: Higher than any serial: what has been seen by somebody who has seen nothing yet.
_NOTHING_SEEN = 1 << 62

#: What has to be allowed for what is kept here, in pypi-server's words.
ACTIONS = {"list": Action.LIST, "download": Action.READ}

_FRAGMENT = re.compile(rb'(<a href="[^"#]*)#sha256=[0-9a-f]{64}"')

T = TypeVar("T")


class Probe(Protocol):
    """Asks the catalogue whether anything changed (`catalogue.probe`)."""

    def changed(self) -> bool: ...

    def changes(self, since: int) -> tuple[int, list[tuple[str, str]] | None]: ...


@dataclass(frozen=True, slots=True)
class Built:
    """A page before it is compressed: its chunks and what its headers need.

    `directives`: its Cache-Control, but for 'private'. `mirrored`: an upstream has a part in it. `packed`:
    its bytes in zstd, where somebody packed them already.
    """

    chunks: Iterable[bytes]
    content_type: str
    directives: str
    serial: int | None = None
    valid_until: float | None = None
    more: Mapping[str, str] | None = None
    mirrored: bool = False
    packed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a page is kept and what drops it: its path as asked for, its index, and its project or ''.

    A page of a project is the same for all who may see it; a list shows what its audience may see.
    """

    path: str
    index: str
    project: str
    action: str = "list"
    kind: str = "page"
    typed: bool = True
    audience: Audience = EVERYBODY

    @property
    def key(self) -> Key:
        """Where the page is kept."""
        view = self.audience.view
        return self.path if view is None else (self.path, view)


@dataclass(slots=True)
class _Flight:
    address: Address
    task: asyncio.Task[Variant]
    stale: bool = False


class Pages:
    """The page cache and how it is filled. Everything but rendering runs on the event loop's thread.

    `want(index, project)` asks the reconciler to look into a project's files first; it may block.
    `dropped(index, project)` is told of each change: project '' of its lists, None of all of the index.
    `rights(index)` is told of changed rights (None: perhaps everywhere) and says whether what is kept for
    strangers, or about them, is out of date.
    """

    def __init__(
        self,
        resolver: Resolver,
        probe: Probe,
        options: Options,
        *,
        want: Callable[[str, str | None], None],
        pool: Executor,
        dropped: Callable[[str | None, str | None], None] = lambda _index, _project: None,
        rights: Callable[[str | None], bool] = lambda _index: True,
        mirror: Mirror | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._mirror, self._clock = mirror, clock
        if mirror is not None:
            mirror.pages.completed = self._completed
        self._resolver, self._probe, self._options = resolver, probe, options
        self._want, self._pool, self._dropped, self._rights = want, pool, dropped, rights
        self.shelf = Shelf(options.page_cache)
        self._serial = _NOTHING_SEEN
        #: How often something changed since the start, and how many representations of each kind were made.
        self.changes = 0
        self.made: Counter[str] = Counter()
        self._flights: dict[tuple[Key, Slot], _Flight] = {}
        self._slots: dict[tuple[bytes | None, bytes | None], Slot] = {}
        self._directives = f"max-age={options.max_age}, must-revalidate"
        #: Asks a catalogue that is across a network, for all who wait; None: `look` costs next to nothing.
        self.ask: Callable[[], Awaitable[int]] | None = getattr(probe, "ask", None)
        self._stamp, self._turn = -1, asyncio.Lock()

    def look(self) -> None:
        """Ask the probe, and forget what changed. Called before each look-up, where there is no `ask`."""
        if self._probe.changed():
            self._refresh(*self._probe.changes(self._serial))

    async def current(self) -> None:
        """As `look`, of any catalogue: what was committed before this was called is known when it returns.

        Raises `CatalogueError` while the catalogue is away: nothing is answered from memory alone.
        """
        if self.ask is None:
            self.look()
            return
        stamp = await self.ask()
        if stamp > self._stamp:
            async with self._turn:  # who waits finds that it was done for all
                if stamp > self._stamp:
                    loop = asyncio.get_running_loop()
                    found = await loop.run_in_executor(self._pool, self._probe.changes, self._serial)
                    self._refresh(*found)
                    self._stamp = stamp

    def find(self, entry: Entry, accept: bytes | None, accept_encoding: bytes | None) -> Variant | None:
        """The finished representation that two headers ask for; None where it has to be made, or refused."""
        asked = (accept, accept_encoding)
        slot = self._slots.get(asked)
        if slot is None:
            slot = self.slot(_text(accept), _text(accept_encoding), None)
            if slot is None:
                return None
            if len(self._slots) >= REMEMBERED:
                self._slots.clear()
            if len(accept or b"") + len(accept_encoding or b"") <= negotiation.REMEMBERED_CHARS:
                self._slots[asked] = slot
        return entry.variants.get(slot if entry.typed else (None, slot[1]))

    def slot(self, accept: str | None, accept_encoding: str | None, wanted: str | None) -> Slot | None:
        """The representation that headers and `?format=` ask for; None where none of it is offered."""
        media = negotiation.media_type(accept, wanted)
        if media is None:
            if wanted or self._options.unmatched_accept == "406":
                return None
            media = simpleapi.HTML
        return media, negotiation.encoding(accept_encoding)

    async def project(self, address: Address, slot: Slot, *, by: Principal) -> Variant:
        """A project's page. Raises `NotFound`, or `Busy` after `page_wait` seconds."""
        media = slot[0] or simpleapi.HTML

        def build(*, wait: bool = True) -> Built:
            packed = None
            if media == simpleapi.V1_JSON:
                page, lines = self._resolver.outline(
                    address.index, address.project, by=by, epoch=self.changes, wait=wait
                )
                body = simpleapi.page_json(page, file_base="../../packages/", lines=lines)
                packed = lines.packed if isinstance(lines, Written) and body is lines.text else None
            else:
                page = self._resolver.page(address.index, address.project, by=by)
                body = simpleapi.page_html(page, file_base="../../packages/")
                if self._options.hash_fragment == "none":
                    body = _FRAGMENT.sub(rb'\1"', body)
            age = self._age(page)
            more = None if age is None else {"age": str(age)}
            kind, until = _content_type(media), page.valid_until
            mirrored = bool(page.origin)
            return Built((body,), kind, self._directives, page.serial, until, more, mirrored, packed)

        at_once = media == simpleapi.V1_JSON and slot[1] != "gzip"
        quick = partial(build, wait=False) if at_once else None
        return await self.get(address, slot, build, by=by, quick=quick)

    async def renew(self, address: Address, *, by: Principal) -> None:
        """Ask the upstreams that a project's page is from whether it changed, for who does not want a cache.

        Raises what resolving it raises. An upstream that is down is no error where its page is held.
        """
        page = await self.patiently(
            lambda: self._resolver.page(address.index, address.project, by=by),
            address.index,
            address.project,
        )
        origins = {file.origin for file in page.files} | {page.origin}
        if self._mirror is not None and origins - {"", "+"}:
            for origin in sorted(origins - {"", "+"}):
                await self._mirror.refresh(origin, address.project, force=True)
            self.shelf.drop(address.key)

    def _age(self, page: Page) -> int | None:
        """Seconds since the upstream confirmed a page, where it is served because the upstream fails."""
        if self._mirror is None or page.origin in ("", "+"):
            return None
        return self._mirror.age(page.origin, page.project)

    async def names(self, address: Address, slot: Slot, *, by: Principal) -> Variant:
        """The list of projects."""
        media = slot[0] or simpleapi.HTML

        def build() -> Built:
            serial, names = self._resolver.names(address.index, by=by)
            render = simpleapi.names_json if media == simpleapi.V1_JSON else simpleapi.names_html
            return Built(render(names, serial), _content_type(media), self._directives, serial)

        return await self.get(address, slot, build, by=by)

    async def flat(self, address: Address, slot: Slot, *, by: Principal) -> Variant:
        """All files on one page, for `--find-links`."""

        def build() -> Built:
            files = self._resolver.files(address.index, by=by)
            chunks = simpleapi.flat_html(files, file_base="")
            if self._options.hash_fragment == "none":
                chunks = (_FRAGMENT.sub(rb'\1"', chunk) for chunk in chunks)
            return Built(chunks, _content_type(simpleapi.HTML), self._directives)

        return await self.get(address, slot, build, by=by)

    async def get(
        self,
        address: Address,
        slot: Slot,
        build: Callable[[], Built],
        *,
        by: Principal,
        quick: Callable[[], Built] | None = None,
    ) -> Variant:
        """The representation of a page, built once for all who ask for it meanwhile.

        `quick` builds it on the loop, where all that it takes is in memory and it is not much to do; else it
        raises `BlockingIOError`, and a thread builds it.
        Raises `NotFound` where `by` may not see its project: what is kept was made for somebody else.
        """
        if address.project:
            visible = self._resolver.visible(address.index, by=by, action=ACTIONS[address.action])
            if not visible.sees(address.project):
                raise NotFound(f"Index {address.index} has no project {address.project}.")
        deadline = monotonic() + self._options.page_wait
        key = (address.key, slot)
        while True:
            entry = self.shelf.entries.get(address.key)
            if entry is not None and entry.valid_until is not None and self._clock() >= entry.valid_until:
                self.shelf.drop(address.key)
                entry = None
            found = entry.variants.get(slot) if entry else None
            if found is not None:
                return found
            flight = self._flights.get(key)
            if flight is None:
                task = asyncio.ensure_future(self._fill(address, slot, build, quick))
                flight = self._flights[key] = _Flight(address, task)
                task.add_done_callback(partial(self._landed, key, flight))
            try:
                return await asyncio.shield(flight.task)
            except Busy:
                # Who came late waits for as long as who came first.
                if monotonic() >= deadline - POLL_SECONDS:
                    raise

    async def once(self, address: Address, slot: Slot, build: Callable[[], Built]) -> Variant:
        """The representation of a page that is made for one request and kept nowhere."""

        def make() -> Variant:
            return self._variant(build(), address, slot)

        return await self.patiently(make, address.index, address.project or None)

    async def patiently(
        self,
        function: Callable[[], T],
        index: str,
        project: str | None,
        *,
        quick: Callable[[], T] | None = None,
    ) -> T:
        """Call `function` in a thread until it no longer raises `Busy`, for `page_wait` seconds at most.

        What it lacks of upstreams is fetched meanwhile. `quick` as for `get`.
        """
        loop = asyncio.get_running_loop()
        deadline = monotonic() + self._options.page_wait
        told = False
        fetched: Counter[tuple[object, ...]] = Counter()
        while True:
            seen, tried = self.changes, monotonic()
            try:
                if quick is not None:
                    with suppress(BlockingIOError):
                        return quick()
                return await loop.run_in_executor(self._pool, function)
            except NotFetched as missing:
                what = (missing.upstream, missing.project, missing.file)
                fetched[what] += 1
                # What is fetched again and again cannot be held here: no space, or no leave to write.
                if self._mirror is None or fetched[what] > MAX_FETCHES:
                    raise UpstreamDown(str(missing), retry_after=missing.retry_after) from None
                await self._mirror.provide(missing)
                await self.current()
                continue
            except Busy:
                if monotonic() >= deadline:
                    raise
            if not told:
                told = True
                await loop.run_in_executor(self._pool, self._want, index, project)
            while self.changes == seen and monotonic() < min(deadline, tried + RETRY_SECONDS):
                await asyncio.sleep(POLL_SECONDS)
                await self.current()

    async def _fill(
        self,
        address: Address,
        slot: Slot,
        build: Callable[[], Built],
        quick: Callable[[], Built] | None,
    ) -> Variant:
        def make(build: Callable[[], Built]) -> tuple[Variant, float | None, bool]:
            built = build()
            return self._variant(built, address, slot), built.valid_until, built.mirrored

        variant, valid_until, mirrored = await self.patiently(
            partial(make, build),
            address.index,
            address.project or None,
            quick=None if quick is None else partial(make, quick),
        )
        flight = self._flights.get((address.key, slot))
        if flight is not None and not flight.stale and flight.task is asyncio.current_task():
            entry = Entry(
                address.index,
                address.project,
                address.action,
                address.audience.private,
                address.kind,
                address.typed,
                valid_until,
                mirrored,
            )
            self.shelf.put(address.key, entry, slot, variant)
        return variant

    def _landed(self, key: tuple[Key, Slot], flight: _Flight, _: object) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # whoever asked has seen it, or has gone

    def _refresh(self, serial: int, touched: list[tuple[str, str]] | None) -> None:
        """Forget what changed up to a serial (None: everything)."""
        self._serial = serial
        self.changes += 1
        if touched is None:
            self._rights(None)
            self.shelf.clear()
            self._dropped(None, None)
            self._ground(lambda _: True)
            return
        if not touched:
            return
        indexes = {index for index, _ in touched}
        # A row without a project: rights changed. Grants of others change nothing that strangers see.
        opened = {index for index, project in touched if not project and self._rights(index)}
        # What strangers see of a base, they see of its heirs.
        others = self._options.indexes.others
        opened |= {index for index in indexes if not opened.isdisjoint(others(index))}
        # All pages of these say other things: bases, upstreams, rules, whose names are whose.
        opened |= {index for index, project in touched if project == EVERYTHING}
        for index in opened:
            self.shelf.drop_index(index)
            self._dropped(index, None)
        self._ground(lambda address: address.index in opened)
        pairs = {*touched, *((index, "") for index in indexes)}
        for index, project in pairs:
            self.shelf.drop_project(index, project)
            self._dropped(index, project)
        self._ground(lambda address: (address.index, address.project) in pairs)

    def _completed(self, project: str) -> None:
        """Forget what says less of a mirrored project than is known of it by now."""
        self.shelf.drop_everywhere(project)
        self._ground(lambda address: address.project == project and address.kind == "page")

    def _ground(self, touched: Callable[[Address], bool]) -> None:
        """What is being made of an older state is still sent to who asked before, but not kept."""
        for key, flight in list(self._flights.items()):
            if touched(flight.address):
                flight.stale = True
                del self._flights[key]

    def _variant(self, built: Built, address: Address, slot: Slot) -> Variant:
        self.made[address.kind] += 1
        body, coding, packed, length, digest = bodies.condense(
            built.chunks, slot[1], built.content_type, packed=built.packed
        )
        audience = address.audience
        always: Headers = {
            "etag": f'"{digest}-{coding}"' if coding else f'"{digest}"',
            "cache-control": audience.control(built.directives),
            **audience.vary(*["Accept"] * address.typed, "Accept-Encoding"),
            **audience.shared,
            **({} if built.serial is None else {"x-pypi-last-serial": str(built.serial)}),
        }
        headers: Headers = {
            "content-type": built.content_type,
            "content-length": str(length),
            **always,
            **SAFE,
        }
        headers |= built.more or {}
        if coding:
            headers["content-encoding"] = coding
        long = len(body) > bodies.LONG_BYTES or packed
        whole = Reply(200, headers.items(), b"" if long else body)
        return Variant(
            always["etag"],
            always["etag"].encode(),
            whole,
            Reply(200, headers.items()),
            Reply(304, always.items()),
            long=body if long else b"",
            packed=packed,
        )


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def acceptable(slot: Slot | None) -> Slot:
    """The slot. Raises `NotAcceptable` where there is none."""
    if slot is None:
        raise NotAcceptable(
            f"Pages are offered as {simpleapi.HTML}, {simpleapi.V1_HTML} and {simpleapi.V1_JSON};"
            " the request accepts none of them."
        )
    return slot


def _content_type(media: str) -> str:
    return f"{media}; charset=utf-8" if media == simpleapi.HTML else media
