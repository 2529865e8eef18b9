"""Requests to an upstream: guarded addresses, credentials for it alone, redirects, retries, and a breaker."""

from __future__ import annotations

import asyncio
import base64
import netrc
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, lru_cache, partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pidex import __version__
from pidex.backends.upstream.bodies import PackedBody, Unpacking
from pidex.backends.upstream.breaker import Breaker
from pidex.core.destinations import (
    Place,
    cleaned,
    literal_refusal,
    may_have_credentials,
    own_addresses,
    place,
    proxy_for,
    refusal,
    shown,
)
from pidex.core.errors import UpstreamDown, UpstreamFault
from pidex.core.upstreams import UpstreamSettings

#: Requests to one upstream under way at a time, and redirects that one follows.
AT_ONCE, REDIRECTS = 64, 3
#: Seconds of the longest wait that `Retry-After` may ask of us, and of the first wait where it says nothing.
LONGEST_WAIT, FIRST_WAIT = 5.0, 0.2
#: Bytes of a body that wait to be unpacked at most. Most bodies are less.
BATCH = 128 * 1024
#: Servers whose breakers are remembered.
SERVERS = 256
RETRIED = frozenset({429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527})
#: What goes wrong between us and a server, whatever the layer.
TROUBLE = (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, EOFError)
#: What means that a server is not there.
UNREACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


#: Told of each request: how it was answered ('200', or 'failed'), and the seconds until its headers came.
Told = Callable[[str, float], None]


class Refused(OSError):
    """A connection that is not made, because of where it would lead."""


class _Resolver(AbstractResolver):
    """The system's resolver, without the addresses that may not be connected to."""

    def __init__(self, allowed: Callable[[str, int], str | None]) -> None:
        self._inner, self._allowed = aiohttp.ThreadedResolver(), allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        reasons = [self._allowed(each["host"], port) for each in found]
        kept = [each for each, reason in zip(found, reasons, strict=True) if reason is None]
        if found and not kept:
            raise Refused(f"{host}: {reasons[0]}")
        return kept

    async def close(self) -> None:
        await self._inner.close()


class Requests:
    """Asks one upstream. For one event loop; connections are kept between requests."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        variables: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        told: Told = lambda _outcome, _seconds: None,
    ) -> None:
        self._settings, self._variables, self._clock = settings, variables or {}, clock
        self._told = told
        self._own = place(settings.url)
        self._own_addresses = own = own_addresses(settings.url)
        # Of the few servers that an upstream leads to, each is looked at once.
        self._forbidden = lru_cache(SERVERS)(partial(literal_refusal, private=settings.private, own=own))
        self._environs = lru_cache(SERVERS)(partial(proxy_for, variables=self._variables))
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._breakers: OrderedDict[tuple[str, int], Breaker] = OrderedDict()
        self._netrc: netrc.netrc | None = None

    def allowed(self, address: str, port: int) -> str | None:
        """Why an IP address may not be connected to, or None."""
        return refusal(address, port, private=self._settings.private, own=self._own_addresses)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        retries: int | None = None,
        prompt: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, after redirects, with its body to come.

        `prompt`: its head comes within `head_timeout`, connecting included, or the server counts as not
        reached. Of what a server may first have to fetch or to make, it may take as long as a body.
        Statuses that say that trying again helps raise `UpstreamDown`, 401, 403 and other refusals
        `UpstreamFault`; 200, 206, 304, 404, 405, 410, 416 and 501 come back. A failure while the body is read
        raises the two errors as well.
        """
        async with self._places:
            bound = self._settings.head_timeout if prompt else None
            response = await self._asked(method, url, headers, retries, bound)
            try:
                yield response
            except TROUBLE as error:
                self._breaker(place(str(response.url))).faulted()
                raise self._failure(error, url) from None
            finally:
                # What was read to its end keeps its connection; the rest of anything else is not wanted.
                if not response.content.at_eof():
                    response.close()
                response.release()

    async def body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """A whole body, unpacked, of at most `limit` bytes."""
        return (await self.packed(response, limit)).unpack()

    async def packed(self, response: aiohttp.ClientResponse, limit: int) -> PackedBody:
        """A whole body as it came: whoever reads it unpacks it first, in the same thread."""
        what = shown(str(response.url))
        body = PackedBody(Unpacking(response.headers.get("Content-Encoding", ""), what), limit)
        async for data in response.content.iter_any():
            body.add(data)
            if body.waiting >= BATCH:
                await asyncio.to_thread(body.feed)
        return body

    @property
    def shut(self) -> int:
        """How many servers are left alone now, because they do not answer. From any thread."""
        return sum(breaker.shut for breaker in [*self._breakers.values()])

    async def close(self) -> None:
        """Let go of every connection. A later request makes new ones."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str], retries: int | None, bound: float | None
    ) -> aiohttp.ClientResponse:
        left = self._settings.retries if retries is None else retries
        wait = FIRST_WAIT
        while True:
            try:
                response = await self._followed(method, url, headers, bound)
            except TROUBLE as error:
                # A server that is not reached is told at once, and tried again when its breaker lets us.
                if left <= 0 or isinstance(error, (aiohttp.ClientConnectorError, TimeoutError)):
                    raise self._failure(error, url) from None
            else:
                if response.status not in RETRIED:
                    return self._judged(response)
                pause = _retry_after(response.headers.get("Retry-After"))
                status = response.status
                response.release()
                wait = wait if pause is None else pause
                if left <= 0 or wait > LONGEST_WAIT:
                    raise UpstreamDown(
                        f"{shown(url)} answers {status}.", retry_after=max(1, round(min(wait, 300)))
                    )
            left -= 1
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def _judged(self, response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
        status = response.status
        if status in (200, 206, 304, 404, 405, 410, 416, 501):
            return response
        response.release()
        where = shown(str(response.url))
        if status in (401, 403, 407):
            raise UpstreamFault(f"{where} answers {status}: check the credentials of {self._settings.name}.")
        if status >= 500:
            raise UpstreamDown(f"{where} answers {status}.", retry_after=5)
        raise UpstreamFault(f"{where} answers {status}, which means nothing to us.")

    async def _followed(
        self, method: str, url: str, headers: Mapping[str, str], bound: float | None
    ) -> aiohttp.ClientResponse:
        for _ in range(REDIRECTS + 1):
            response = await self._once(method, url, headers, bound)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            location = response.headers.get("Location", "")
            response.release()
            before, url = url, cleaned(url, location)
            if before.startswith("https:") and not url.startswith("https:"):
                raise UpstreamFault(f"{shown(before)} leads from https to plain http, which is not followed.")
        raise UpstreamFault(f"{shown(url)} leads on and on: more than {REDIRECTS} redirects.")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], bound: float | None
    ) -> aiohttp.ClientResponse:
        where = place(url)
        proxy = self._proxy(where)
        reason = self._forbidden(where)
        if reason is not None:
            raise UpstreamFault(f"{shown(url)} is not asked: {reason}.")
        said = dict(headers)
        credentials = self._credentials(where)
        if credentials is not None:
            said["Authorization"] = credentials
        breaker = self._breaker(where)
        breaker.enter()
        began = self._clock()
        session = self._session(proxied=proxy is not None)
        try:
            async with asyncio.timeout(bound) as silence:
                response = await session.request(
                    method, url, headers=said, allow_redirects=False, proxy=proxy
                )
        except asyncio.CancelledError:
            breaker.left()
            raise
        except TROUBLE as error:
            if _refused(error) is not None or isinstance(error, aiohttp.ClientConnectorCertificateError):
                breaker.left()
            elif silence.expired() or isinstance(error, UNREACHED):
                breaker.unreachable()
            else:
                breaker.faulted()
            self._told("failed", self._clock() - began)
            raise
        self._told(str(response.status), self._clock() - began)
        if response.status >= 500 and response.status != 501:
            breaker.faulted()
        else:
            breaker.answered()
        return response

    def _breaker(self, where: Place) -> Breaker:
        key = (where.host, where.port)
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = Breaker(where.host, self._clock)
            if len(self._breakers) > SERVERS:
                self._breakers.popitem(last=False)
        return breaker

    def _proxy(self, where: Place) -> str | None:
        """The settings' proxy ('none': none), else the environment's."""
        if self._settings.proxy is not None:
            return None if self._settings.proxy in ("", "none") else self._settings.proxy
        return self._environs(where)

    def _credentials(self, where: Place) -> str | None:
        """The Authorization header for a server; None for all but the upstream's own (and netrc's hosts)."""
        settings = self._settings
        if settings.auth == "netrc":
            return self._netrc_login(where)
        if settings.secret is None or not may_have_credentials(self._own, where):
            return None
        if settings.auth == "bearer":
            return f"Bearer {settings.secret}"
        return f"Basic {_base64(settings.secret)}" if settings.auth == "basic" else None

    def _netrc_login(self, where: Place) -> str | None:
        if where.scheme == "http" and not may_have_credentials(self._own, where):
            return None
        if self._netrc is None:
            try:
                self._netrc = netrc.netrc(self._settings.netrc)
            except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
                raise UpstreamFault(
                    f"The netrc file of upstream {self._settings.name} cannot be read: check it."
                ) from None
        if where.host not in self._netrc.hosts:
            return None
        login, _, password = self._netrc.hosts[where.host]
        return f"Basic {_base64(f'{login}:{password}')}"

    def _session(self, *, proxied: bool) -> aiohttp.ClientSession:
        """Through a proxy its resolver decides, and our guard sees only what is written as an address."""
        session = self._sessions.get(proxied)
        if session is None:
            timeout = aiohttp.ClientTimeout(
                total=None,
                connect=self._settings.connect_timeout,
                sock_connect=self._settings.connect_timeout,
                sock_read=self._settings.read_timeout,
            )
            guard: dict[str, Any] = {}
            if not proxied:
                guard = {"resolver": _Resolver(self.allowed), "socket_factory": self._socket}
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=30, ssl=_trust(self._settings.ca), keepalive_timeout=30, **guard
            )
            session = self._sessions[proxied] = aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False, trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"pidex/{__version__}", "Accept-Encoding": "identity"},
            )  # fmt: skip
        return session

    def _socket(self, address: Any) -> socket.socket:
        """The last look, at the very address that is connected to."""
        family, kind, protocol, _, where = address
        reason = self.allowed(str(where[0]), int(where[1]))
        if reason is not None:
            raise Refused(reason)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def _failure(self, error: BaseException, url: str) -> UpstreamDown | UpstreamFault:
        """What a failure of the network means, without anything that the other side wrote."""
        if isinstance(error, (UpstreamDown, UpstreamFault)):
            return error
        reason = _refused(error)
        if reason is not None:
            return UpstreamFault(f"{shown(url)} is not asked: {reason}.")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return UpstreamFault(
                f"{shown(url)} has a certificate that is not trusted: set the upstream's CA."
            )
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
            return UpstreamDown(f"{shown(url)} does not answer in time.", retry_after=5)
        if isinstance(error, (aiohttp.ClientResponseError, aiohttp.InvalidURL, ValueError)):
            return UpstreamFault(f"{shown(url)} does not answer in HTTP ({type(error).__name__}).")
        return UpstreamDown(f"{shown(url)} cannot be reached ({type(error).__name__}).", retry_after=5)


def _refused(error: BaseException | None) -> str | None:
    """The reason of our own guard, where that is behind an error."""
    for _ in range(10):
        if error is None:
            return None
        if isinstance(error, Refused):
            return str(error)
        error = getattr(error, "os_error", None) or error.__cause__
    return None


def _retry_after(text: str | None) -> float | None:
    """Seconds that `Retry-After` asks for; dates are taken for the longest wait."""
    if text is None:
        return None
    return (
        float(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 10 else LONGEST_WAIT
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@cache  # they are hundreds, and take their time to read
def trusted() -> ssl.SSLContext:
    """The system's certificates."""
    return ssl.create_default_context()


def _trust(ca: str | None) -> ssl.SSLContext:
    """The system's certificates, and those of one's own."""
    context = trusted()
    if ca is not None:
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(cafile=ca)
        except OSError:
            raise UpstreamFault("The upstream's CA file cannot be read as PEM.") from None
    return context
