"""The web face put together: the site and its routes."""

from __future__ import annotations

from typing import Any

from pidex.accounts.administration import Administration
from pidex.curator import Curator
from pidex.intake import Intake
from pidex.web.api import Api
from pidex.web.git import Clones, Repositories
from pidex.web.resources import Services
from pidex.web.routes import routes, takes_body
from pidex.web.site import Site
from pidex.web.upload import Uploads


def application(
    *args: Any,
    intake: Intake,
    curator: Curator | None = None,
    administration: Administration | None = None,
    repositories: Repositories | None = None,
    **kwargs: Any,
) -> Site:
    """A `Site` (which takes these arguments) that answers everything this server offers."""
    site = Site(*args, **kwargs)
    uploads = Uploads(site, intake, curator)
    site.router.routes.extend(routes(site, uploads))
    takers = [takes_body, uploads.takes]
    if curator is not None and administration is not None:
        services = Services(site.resolver, curator, site.accounts, administration, site.options.indexes)
        api = Api(site, services)
        site.router.routes[:0] = api.routes()
        takers.append(api.takes_body)
        site.closers.append(api.close)
    if repositories is not None:
        clones = Clones(site, repositories)
        site.router.routes[:0] = clones.routes()
        takers.append(clones.takes_body)
    site.takes_body = lambda call: any(takes(call) for takes in takers)
    site.closers.append(uploads.close)
    return site
