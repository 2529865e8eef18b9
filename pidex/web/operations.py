"""What operators and browsers ask for: health, metrics, the welcome page and its assets."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from functools import cache, partial

from pidex import __version__
from pidex.core.errors import Forbidden, NotFound, Unauthenticated
from pidex.core.model import OPERATOR
from pidex.core.negotiation import encoding
from pidex.core.simpleapi import to_json
from pidex.web import welcome as page
from pidex.web.bodies import compress
from pidex.web.call import Call
from pidex.web.replies import SAFE, reply
from pidex.web.site import Site

_NO_STORE = {"cache-control": "no-store", **SAFE}
_YEAR = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
_PAGE = {
    "content-type": "text/html; charset=utf-8",
    # Its author knows what else it needs.
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
_BY_ORIGIN = ("Host", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix")


async def health(site: Site, call: Call) -> None:
    """`/-/health`: 200 with who answers, or 503 where the catalogue cannot be asked."""
    await asyncio.get_running_loop().run_in_executor(site.pool, _count, site, site.options.default_index)
    told = {"status": "ok", "version": __version__, "worker": site.options.worker, "pid": os.getpid()}
    if site.options.instance:  # by it `pidex doctor` sees that a public URL leads here
        told["instance"] = site.options.instance
    if site.mirror is not None and (failing := site.mirror.failing()):
        # Held pages are served meanwhile: that is no reason to take this server out of service.
        told["upstreams"] = failing
    await call.reply(
        reply(200, {"content-type": "application/json", **_NO_STORE}, to_json(told), head=call.head)
    )


async def livez(site: Site, call: Call) -> None:
    """`/-/livez`: 200 as long as this process answers, whatever it could not do."""
    headers = {"content-type": "application/json", **_NO_STORE}
    await call.reply(reply(200, headers, to_json({"status": "alive"}), head=call.head))


async def readyz(site: Site, call: Call) -> None:
    """`/-/readyz`: 200 or 503 by whether this server can do its work; why not, for who may see numbers."""
    told: dict[str, object] = {"status": "ready"}
    status = 200
    if site.health is not None:
        found = await asyncio.get_running_loop().run_in_executor(site.readers, site.health.readiness)
        if not found.ready:
            status, told["status"] = 503, "not ready"
        if _is_insider(site, call):
            told["checks"] = {
                check.name: {"state": check.state, "reason": check.reason} for check in found.checks
            }
    headers = {"content-type": "application/json", **_NO_STORE}
    await call.reply(reply(status, headers, to_json(told), head=call.head))


async def short_health(site: Site, call: Call) -> None:
    """`/health`, or where the settings put it: pypiserver's `Ok`."""
    await asyncio.get_running_loop().run_in_executor(site.pool, _count, site, site.options.default_index)
    await call.reply(
        reply(200, {"content-type": "text/plain; charset=utf-8", **_NO_STORE}, b"Ok", head=call.head)
    )


async def metrics(site: Site, call: Call) -> None:
    """`/-/metrics`: numbers of all processes, without names of projects; not for everybody (design 4)."""
    _insider(site, call)
    loop = asyncio.get_running_loop()
    site.ledger.flush()

    def tell() -> bytes:
        projects, files = _count(site, site.options.default_index)
        gauges = {
            "pidex_projects": ("Projects listed by the default index.", projects),
            "pidex_files": ("Files listed by the default index.", files),
        }
        return site.metrics.exposition(gauges)

    body = await loop.run_in_executor(site.pool, tell)
    kind = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
    await call.reply(reply(200, {**kind, **_NO_STORE}, body, head=call.head))


async def welcome(site: Site, call: Call) -> None:
    """`/`: somebody's own first page, with its fields filled in."""
    options = site.options
    call.audience = audience = site.gate.audience(call.by, call.index, "list")
    guarded = not site.gate.may(call.by, call.index, "list")
    counts = None
    if not guarded:
        count = partial(site.resolver.count, call.index, by=call.by)
        counts = await asyncio.get_running_loop().run_in_executor(site.pool, count)
    text = page.filled(options.welcome or "", call.url, counts)
    headers = dict(_PAGE) | {"cache-control": audience.control("no-cache")}
    headers |= audience.vary(*_BY_ORIGIN)
    await call.reply(reply(200, headers, text.encode("utf-8", "replace"), head=call.head))


async def static(site: Site, call: Call) -> None:
    """`/-/static/<hash>/<name>`: a style sheet, script or icon, for ever the same under its hash."""
    asset = page.assets().get(call.params["name"])
    if asset is None or asset.hash != call.params["hash"]:
        raise NotFound(f"There is nothing at {call.path}.")
    headers, body = {"content-type": asset.content_type, "vary": "Accept-Encoding", **_YEAR}, asset.data
    coding = encoding(call.headers.get("accept-encoding"))
    if coding is not None:
        headers["content-encoding"], body = coding, _packed(asset, coding)
    await call.reply(reply(200, headers, body, head=call.head))


@cache
def _packed(asset: page.Asset, coding: str) -> bytes:
    """An asset compressed, once for all who ask."""
    return compress(asset.data, coding)


async def icon(site: Site, call: Call) -> None:
    """`/favicon.ico`."""
    asset = page.assets()["icon.svg"]
    headers = {"content-type": asset.content_type, **SAFE, "cache-control": "public, max-age=86400"}
    await call.reply(reply(200, headers, asset.data, head=call.head))


async def robots(site: Site, call: Call) -> None:
    """`/robots.txt`: nothing here is for search engines."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"}
    await call.reply(reply(200, headers, b"User-agent: *\nDisallow: /\n", head=call.head))


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address that is listened on."""
    if re.fullmatch(r"(?i)localhost|ip6-localhost", host):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_insider(site: Site, call: Call) -> bool:
    try:
        _insider(site, call)
    except (Unauthenticated, Forbidden):
        return False
    return True


def _insider(site: Site, call: Call) -> None:
    """Let through this machine itself, trusted proxies, and who may see all of the default index.

    Raises `Unauthenticated` or `Forbidden`. Numbers tell of what is hidden, too.
    """
    origin = call.origin
    near = origin.client == "unix" or is_loopback(origin.client) or site.origins.trusts(origin.client)
    # A proxy on this machine that nobody declared brings strangers, all from 127.0.0.1.
    if near and (origin.trusted or not origin.forwarded):
        return
    who = "Metrics are for this machine, for trusted_proxies, and for who signs in and may see everything."
    if call.by.name is None:
        raise Unauthenticated(who)
    if not site.gate.sees_all(call.by, site.options.default_index):
        raise Forbidden(who)


def _count(site: Site, index: str) -> tuple[int, int]:
    """Of everything: for who may know how much there is, and as a question to the catalogue."""
    return site.resolver.count(index, by=OPERATOR)
