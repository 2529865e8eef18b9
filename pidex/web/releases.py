"""PyPI's JSON API about projects and releases, and pypiserver's short form of it (13.1)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from urllib.parse import quote

from pidex.core import metadata, pypijson
from pidex.core.errors import NotFetched, NotFound, PidexError
from pidex.core.model import Page
from pidex.core.names import is_name, normalize
from pidex.core.negotiation import encoding, etag_matches
from pidex.core.simpleapi import to_json
from pidex.web.bodies import COMPRESS_BYTES, compress
from pidex.web.call import Call
from pidex.web.replies import ALONE, EVERYBODY, SAFE, Audience, Headers, Reply, redirect, reply
from pidex.web.site import Site

Render = Callable[[Page], bytes]


async def latest(site: Site, call: Call) -> None:
    """`/pypi/<name>/json`: the latest release and all files."""
    lacking: list[NotFetched] = []
    render = partial(_project, site, call, lacking=lacking)
    await _answer(site, call, "pypi/{name}/json", lambda page: render(page, None), lacking)


async def release(site: Site, call: Call) -> None:
    """`/pypi/<name>/<version>/json`: one release, its version in any equivalent spelling (VER-3)."""
    version = call.params["version"]
    canonical = "pypi/{name}/" + quote(version, safe="!+~") + "/json"
    lacking: list[NotFetched] = []
    render = partial(_project, site, call, lacking=lacking)
    await _answer(site, call, canonical, lambda page: render(page, version), lacking)


async def brief(site: Site, call: Call) -> None:
    """pypiserver's `/<name>/json`."""
    await _answer(site, call, "{name}/json", lambda page: pypijson.brief_json(page, base_url=call.url))


def _project(site: Site, call: Call, page: Page, version: str | None, *, lacking: list[NotFetched]) -> bytes:
    """The document; `lacking` gets the metadata that it should have and that was not fetched yet."""
    chosen = pypijson.chosen_version(page, version)
    file = pypijson.metadata_file(page, chosen)
    told = None
    if file is not None:
        try:
            told = metadata.parse(site.resolver.metadata(call.index, file, by=call.by))
        except NotFound:
            told = None
        except NotFetched as error:
            lacking.append(error)
    return pypijson.project_json(page, version, told, base_url=call.url)


async def _answer(
    site: Site, call: Call, canonical: str, render: Render, lacking: list[NotFetched] | None = None
) -> None:
    """Resolve, render and send, or redirect to `canonical` with the normalised name for its `{name}`.

    What turns out to be `lacking` is fetched, and rendered where it could be had.
    """
    try:
        name = call.params["name"]
        normalised = normalize(name)
        await site.admit(call, "list", normalised)
        if not is_name(name):
            raise NotFound("That is no project name.")
        if name != normalised:
            target = call.up + canonical.replace("{name}", normalised) + "/" * call.rest.endswith("/")
            await call.reply(redirect(301, target, call.query, private=call.audience.private))
            return

        def build() -> tuple[bytes, int]:
            page = site.resolver.page(call.index, normalised, by=call.by)
            return render(page), page.serial

        body, serial = await site.pages.patiently(build, call.index, normalised)
        if lacking and site.mirror is not None:
            with suppress(PidexError):
                await site.mirror.provide(lacking[-1])
                body, serial = await site.pages.patiently(build, call.index, normalised)
    except NotFound as error:
        if not isinstance(site.told(call, error), NotFound):
            raise
        # Readers of this API know this body, and no other.
        strangers = EVERYBODY if site.gate.is_open(call.index) else ALONE
        headers = _headers(strangers, "no-cache")
        await call.reply(reply(404, headers, to_json({"message": "Not Found"}), head=call.head))
        return
    await _send(site, call, body, serial)


async def _send(site: Site, call: Call, body: bytes, serial: int) -> None:
    # URLs in it are absolute: it is another document under each name of this server.
    tag = hashlib.blake2b(body, digest_size=16).hexdigest()
    coding = encoding(call.headers.get("accept-encoding")) if len(body) >= COMPRESS_BYTES else None
    headers = _headers(call.audience, f"max-age={site.options.max_age}, must-revalidate")
    headers["etag"] = f'"{tag}-{coding}"' if coding else f'"{tag}"'
    headers["x-pypi-last-serial"] = str(serial)
    asked = call.headers.get("if-none-match")
    if asked is not None and etag_matches(asked, headers["etag"]):
        kept = ("etag", "cache-control", "vary")
        await call.reply(Reply(304, [(name, headers[name]) for name in kept]))
        return
    if coding:
        headers["content-encoding"] = coding
        body = await asyncio.get_running_loop().run_in_executor(site.pool, compress, body, coding)
    await call.reply(reply(200, headers, body, head=call.head))


def _headers(audience: Audience, control: str) -> Headers:
    return {
        "content-type": "application/json",
        "cache-control": audience.control(control),
        **audience.vary("Accept-Encoding"),
        **audience.shared,
        **SAFE,
    }
