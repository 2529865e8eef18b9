"""RSS feeds of an index: its newest releases, its newest projects, the releases of one project (13.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pidex.core import feeds
from pidex.core.errors import NotFound
from pidex.core.names import is_name, normalize
from pidex.core.negotiation import encoding, etag_matches
from pidex.web.bodies import COMPRESS_BYTES, compress
from pidex.web.call import Call
from pidex.web.replies import SAFE, Headers, Reply, redirect, reply
from pidex.web.site import Site


async def updates(site: Site, call: Call) -> None:
    """`/rss/updates.xml`: the newest releases."""

    def build() -> bytes:
        found = site.resolver.releases(call.index, feeds.UPDATES, by=call.by)
        return feeds.updates(found, index=call.index, base_url=call.url)

    await _answer(site, call, build, None)


async def packages(site: Site, call: Call) -> None:
    """`/rss/packages.xml`: the newest projects."""

    def build() -> bytes:
        found = site.resolver.newcomers(call.index, feeds.PACKAGES, by=call.by)
        return feeds.packages(found, index=call.index, base_url=call.url)

    await _answer(site, call, build, None)


async def project(site: Site, call: Call) -> None:
    """`/rss/project/<name>/releases.xml`: the newest releases of a project."""
    name = call.params["name"]
    if not is_name(name):
        raise NotFound("That is no project name.")
    normalised = normalize(name)

    def build() -> bytes:
        page = site.resolver.page(call.index, normalised, by=call.by)
        found = site.resolver.releases(call.index, feeds.RELEASES, by=call.by, project=normalised)
        return feeds.project(page.name, found, normalised=normalised, base_url=call.url)

    if name != normalised:
        await site.admit(call, "list", normalised)
        target = f"{call.up}rss/project/{normalised}/releases.xml"
        await call.reply(redirect(301, target, call.query, private=call.audience.private))
        return
    await _answer(site, call, build, normalised)


async def _answer(site: Site, call: Call, build: Callable[[], bytes], project: str | None) -> None:
    """Make the feed, and send it, its HEAD, or the 304 that the caller's tag asks for."""
    await site.admit(call, "list", project)
    call.kind = "feed"
    coding = encoding(call.headers.get("accept-encoding"))

    def work() -> tuple[bytes, str, str | None]:
        body = build()
        tag = hashlib.blake2b(body, digest_size=16).hexdigest()
        if coding is None or len(body) < COMPRESS_BYTES:
            return body, f'"{tag}"', None
        return compress(body, coding), f'"{tag}-{coding}"', coding

    body, tag, used = await site.pages.patiently(work, call.index, project)
    audience = call.audience
    control = f"max-age={site.options.max_age}, must-revalidate"
    headers: Headers = {
        "etag": tag,
        "cache-control": audience.control(control),
        # Links in it are absolute: it is another document under each name of this server.
        **audience.vary("Accept-Encoding"),
        **audience.shared,
    }
    asked = call.headers.get("if-none-match")
    if asked is not None and etag_matches(asked, tag):
        await call.reply(Reply(304, headers.items()))
        return
    headers |= {"content-type": feeds.CONTENT_TYPE, **SAFE}
    if used:
        headers["content-encoding"] = used
    await call.reply(reply(200, headers, body, head=call.head))
