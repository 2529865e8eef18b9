"""The web face put together: the site and its routes."""

from __future__ import annotations

from typing import Any

from pidex.intake import Intake
from pidex.web.git import Clones, Repositories
from pidex.web.routes import routes, takes_body
from pidex.web.site import Site
from pidex.web.upload import Curator, Uploads


def application(
    *args: Any,
    intake: Intake,
    curator: Curator | None = None,
    repositories: Repositories | None = None,
    **kwargs: Any,
) -> Site:
    """A `Site` (which takes these arguments) that answers everything this server offers."""
    site = Site(*args, **kwargs)
    uploads = Uploads(site, intake, curator)
    site.router.routes.extend(routes(site, uploads))
    site.takes_body = lambda call: takes_body(call) or uploads.takes(call)
    if repositories is not None:
        clones = Clones(site, repositories)
        site.router.routes[:0] = clones.routes()
        site.takes_body = lambda call: takes_body(call) or uploads.takes(call) or clones.takes_body(call)
    site.closers.append(uploads.close)
    return site
