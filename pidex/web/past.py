"""Time travel: `/<index>/@2026-08-01T12:00Z/simple/` and the files below it, as they were then."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from pidex.core import simpleapi, timeline
from pidex.core.errors import NotFound, PidexError
from pidex.core.model import File
from pidex.core.names import is_name, normalize, parse
from pidex.core.negotiation import encoding
from pidex.web.call import Call
from pidex.web.downloads import serve_once
from pidex.web.listings import QUERY_BYTES, send
from pidex.web.pages import Address, Built, acceptable
from pidex.web.replies import redirect
from pidex.web.shelf import Slot
from pidex.web.site import Site

#: What an answer about the past may be kept by: nobody. Rights and claims are those of the moment.
_DIRECTIVES = "no-store"


async def slash(site: Site, call: Call) -> None:
    """A path without its slash: to the path with it."""
    _moment(site, call)
    await call.reply(redirect(301, f"{call.up}{call.rest[1:]}/", call.query, private=call.audience.private))


async def names(site: Site, call: Call) -> None:
    """The list of projects that had files then."""
    at = _moment(site, call)
    await site.admit(call, "list")
    call.kind = "list"
    slot = _slot(site, call)

    def build() -> Built:
        found = site.resolver.names_at(call.index, at, by=call.by)
        render = simpleapi.names_json if slot[0] == simpleapi.V1_JSON else simpleapi.names_html
        return Built(render(found, 0), _content_type(slot), _DIRECTIVES)

    await _send(site, call, "", slot, build)


async def project(site: Site, call: Call) -> None:
    """A project's page as it was then."""
    at, name = _moment(site, call), call.params["name"]
    normalised = normalize(name)
    await site.admit(call, "list", normalised)
    if not is_name(name):
        raise NotFound("That is no project name.")
    if name != normalised or not call.rest.endswith("/"):
        target = f"{call.up}{timeline.MARK}{call.params['moment']}/simple/{normalised}/"
        await call.reply(redirect(301, target, call.query, private=call.audience.private))
        return
    call.kind = "page"
    slot = _slot(site, call)

    def build() -> Built:
        page = site.resolver.page_at(call.index, normalised, at, by=call.by)
        render = simpleapi.page_json if slot[0] == simpleapi.V1_JSON else simpleapi.page_html
        return Built((render(page, file_base="../../packages/"),), _content_type(slot), _DIRECTIVES)

    await _send(site, call, normalised, slot, build)


async def download(site: Site, call: Call) -> None:
    """A file, or its `.metadata`, that a page of then lists."""
    at = _moment(site, call)
    digest = "".join(call.params[part] for part in ("one", "two", "rest"))
    filename = call.params["filename"]
    described = filename.endswith(".metadata")
    filename = filename.removesuffix(".metadata")
    try:
        project_ = parse(filename).project
    except PidexError:
        raise NotFound(f"There is no file {filename[:100]} here.") from None
    await site.admit(call, "download", project_)

    def locate() -> File:
        return site.resolver.locate_at(call.index, digest, filename, at, by=call.by)

    if not described:
        call.kind = "file"
        await serve_once(site, call, project_, locate)
        return
    call.kind = "metadata"

    def build() -> Built:
        file = locate()
        if file.metadata_sha256 is None and not file.announced:
            raise NotFound(f"{filename} has no .metadata beside it.")
        data = site.resolver.metadata(call.index, file, by=call.by)
        return Built((data,), "application/octet-stream", _DIRECTIVES)

    slot = (None, encoding(call.headers.get("accept-encoding")))
    await _send(site, call, project_, slot, build, typed=False)


def _moment(site: Site, call: Call) -> int:
    return timeline.moment(call.params["moment"], site.clock())


def _slot(site: Site, call: Call) -> Slot:
    values = parse_qs(call.query[:QUERY_BYTES].decode("latin-1"), max_num_fields=64).get("format")
    wanted = values[-1] if values else None
    return acceptable(site.pages.slot(call.accept, call.headers.get("accept-encoding"), wanted))


def _content_type(slot: Slot) -> str:
    media = slot[0] or simpleapi.HTML
    return f"{media}; charset=utf-8" if media == simpleapi.HTML else media


async def _send(
    site: Site, call: Call, project_: str, slot: Slot, build: Callable[[], Built], *, typed: bool = True
) -> None:
    """Send what is made for this one request, and kept by nobody."""
    address = Address(call.path, call.index, project_, typed=typed, audience=call.audience)
    await send(call, await site.pages.once(address, slot, build))
