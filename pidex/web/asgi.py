"""The web face put together: the site and its routes."""

from __future__ import annotations

from typing import Any

from pidex.web.routes import routes, takes_body
from pidex.web.site import Site


def application(*args: Any, **kwargs: Any) -> Site:
    """A `Site` (which takes these arguments) that answers everything this server offers."""
    site = Site(*args, **kwargs)
    site.router.routes.extend(routes(site))
    site.takes_body = takes_body
    return site
