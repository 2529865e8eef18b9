"""Which path is answered by what, with which methods; everything that is not finished already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.routing import BaseRoute, Route

from pidex.core.errors import MethodNotAllowed, NotFound
from pidex.web import downloads, feeds, listings, operations, past, releases, upload, xmlrpc
from pidex.web.call import Call
from pidex.web.replies import ALLOW, PREFLIGHT, reply
from pidex.web.site import Site

Answer = Callable[[Site, Call], Awaitable[None]]

READ = ("GET", "HEAD")


def routes(site: Site, uploads: upload.Uploads, home: Answer | None = None) -> Sequence[BaseRoute]:
    """All routes of the server itself and below an index. The first that matches answers.

    `home`: answers `/` where the settings name no page for it.
    """
    own: dict[str, Answer] = {
        "/-/health": operations.health,
        "/-/livez": operations.livez,
        "/-/readyz": operations.readyz,
        "/-/metrics": operations.metrics,
        "/-/static/{hash}/{name}": operations.static,
        site.options.health_path: operations.short_health,
        "/favicon.ico": operations.icon,
        "/robots.txt": operations.robots,
    }
    below: dict[str, Answer] = {
        "/": home if home is not None and site.options.welcome is None else operations.welcome,
        "/simple": listings.slash,
        "/simple/": listings.names,
        "/simple/{name}": listings.project,
        "/packages": listings.slash,
        "/packages/": listings.flat,
        "/packages/{path:path}": downloads.find,
        "/pypi": upload.classifiers,
        "/pypi/": upload.classifiers,
        "/pypi/{name}/json": releases.latest,
        "/pypi/{name}/json/": releases.latest,
        "/pypi/{name}/{version}/json": releases.release,
        "/pypi/{name}/{version}/json/": releases.release,
        "/rss/updates.xml": feeds.updates,
        "/rss/packages.xml": feeds.packages,
        "/rss/project/{name}/releases.xml": feeds.project,
        "/@{moment}/simple": past.slash,
        "/@{moment}/simple/": past.names,
        "/@{moment}/simple/{name}": past.project,
        "/@{moment}/simple/{name}/": past.project,
        "/@{moment}/packages/{one}/{two}/{rest}/{filename}": past.download,
        "/{name}/json": releases.brief,
        "/{name}": listings.short,
        "/{name}/": listings.short,
    }
    return [
        *(Route(path, _Endpoint(site, uploads, answer, own=True)) for path, answer in own.items()),
        *(Route(path, _Endpoint(site, uploads, answer)) for path, answer in below.items()),
    ]


def first(site: Site, uploads: upload.Uploads) -> Sequence[BaseRoute]:
    """What installers ask for. No other route means these paths: they come before all that would be tried."""
    return [
        Route("/simple/{name}/", _Endpoint(site, uploads, listings.project)),
        Route("/packages/{one}/{two}/{rest}/{filename}", _Endpoint(site, uploads, downloads.download)),
    ]


def takes_body(call: Call) -> bool:
    """Whether what answers a request reads its body: XML-RPC does."""
    return call.method == "POST" and xmlrpc.is_call(call)


class _Endpoint:
    """An answer as an ASGI application that knows which methods it takes."""

    def __init__(self, site: Site, uploads: upload.Uploads, answer: Answer, *, own: bool = False) -> None:
        self._site, self._uploads, self._answer, self._own = site, uploads, answer, own

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call: Call = scope["pidex"]
        call.params = scope["path_params"]
        if self._own and call.named:
            raise NotFound(f"There is nothing at {call.path}.")
        if call.method in READ:
            await self._answer(self._site, call)
            return
        if takes_body(call):
            await xmlrpc.respond(self._site, call)
            return
        if self._uploads.takes(call):
            await self._uploads.respond(call)
            return
        if call.method != "OPTIONS":
            raise MethodNotAllowed(
                f"{call.method} is not offered here. Files are uploaded by POST to {call.root}legacy/."
            )
        shared = {} if self._site.gate.is_closed(call.index) else PREFLIGHT
        await call.reply(reply(204, {"allow": ALLOW, **shared}))
