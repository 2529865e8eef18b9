"""The simple API: project pages, project lists, the flat page, and the redirects that lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

from pidex.core.agents import wants_fresh
from pidex.core.errors import Claimed, NotFound
from pidex.core.names import is_name, normalize
from pidex.core.negotiation import etag_matches
from pidex.web.bodies import unpack
from pidex.web.call import Call
from pidex.web.files import BLOCK_BYTES
from pidex.web.pages import Address, acceptable
from pidex.web.replies import redirect
from pidex.web.shelf import Slot, Variant
from pidex.web.site import Site

#: Bytes of a query at most.
QUERY_BYTES = 2_048


async def slash(site: Site, call: Call) -> None:
    """A folder's path without its slash: to the path with it."""
    await _redirect(site, call, call.rest[1:] + "/")


async def names(site: Site, call: Call) -> None:
    """The list of projects (4.3)."""
    await site.admit(call, "list")
    call.kind = "list"
    address = Address(call.path, call.index, "", kind="list", audience=call.audience)
    await send(call, await site.pages.names(address, _slot(site, call), by=call.by))


async def project(site: Site, call: Call) -> None:
    """A project's page (4.4, 4.5), or the redirect to it under its normalised name with a slash."""
    name = call.params["name"]
    normalised = normalize(name)
    await site.admit(call, "list", normalised)
    call.kind = "page"
    _name(call)
    if name != normalised or not call.rest.endswith("/"):
        await _redirect(site, call, f"simple/{normalised}/")
        return
    address = Address(call.path, call.index, normalised, audience=call.audience)
    try:
        control = call.headers.get("cache-control")
        if site.mirror is not None and control and wants_fresh(control, call.headers.get("user-agent", "")):
            await site.pages.renew(address, by=call.by)
        variant = await site.pages.project(address, _slot(site, call), by=call.by)
    except NotFound as error:
        fallback = site.options.fallback_url
        if fallback is None or isinstance(error, Claimed) or not isinstance(site.told(call, error), NotFound):
            raise
        # As pypiserver: the method stays GET, and HTTP/1.0 knows no 303.
        status = 302 if call.scope.get("http_version") in ("1.0", "1") else 303
        await call.reply(redirect(status, f"{fallback}{normalised}/", private=call.audience.private))
        return
    await send(call, variant)


async def flat(site: Site, call: Call) -> None:
    """All files on one page, for `--find-links`."""
    await site.admit(call, "list")
    call.kind = "list"
    slot = (None, acceptable(site.pages.slot(None, call.headers.get("accept-encoding"), None))[1])
    address = Address(call.path, call.index, "", kind="list", typed=False, audience=call.audience)
    await send(call, await site.pages.flat(address, slot, by=call.by))


async def short(site: Site, call: Call) -> None:
    """`/<name>/`: what pypiserver's users type; to the project's page."""
    await call.reply(redirect(302, f"{call.up}simple/{normalize(_name(call))}/", call.query))


async def send(call: Call, variant: Variant) -> None:
    """Send a page, its HEAD, or the 304 that the caller's tag asks for."""
    asked = call.headers.get("if-none-match")
    if asked is not None and etag_matches(asked, variant.etag):
        await call.reply(variant.unchanged)
    elif call.head:
        await call.reply(variant.head)
    elif variant.long:
        await call.stream(variant.whole, _pieces(variant))
    else:
        await call.reply(variant.whole)


def _pieces(variant: Variant) -> Iterable[bytes]:
    if variant.packed:
        return unpack(variant.long, BLOCK_BYTES)
    return _slices(variant.long)


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), BLOCK_BYTES):
        yield body[start : start + BLOCK_BYTES]


def _slot(site: Site, call: Call) -> Slot:
    wanted = None
    if call.query:
        values = parse_qs(call.query[:QUERY_BYTES].decode("latin-1"), max_num_fields=64).get("format")
        wanted = values[-1] if values else None
    return acceptable(site.pages.slot(call.accept, call.headers.get("accept-encoding"), wanted))


def _name(call: Call) -> str:
    name = call.params["name"]
    if not is_name(name):
        raise NotFound(
            "That is no project name: letters, digits and . _ - only, first and last a letter or digit."
        )
    return name


async def _redirect(site: Site, call: Call, target: str) -> None:
    await call.reply(redirect(301, call.up + target, call.query, private=call.audience.private))
