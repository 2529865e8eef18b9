"""The web face put together: the site and its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pidex.accounts.administration import Administration
from pidex.accounts.sessions import Sessions
from pidex.curator import Curator
from pidex.doctor import Check
from pidex.indexing import Indexing
from pidex.intake import Intake
from pidex.interior import Interior
from pidex.metrics import Counter
from pidex.overview import Overview
from pidex.readme import Readmes
from pidex.search import Search
from pidex.statistics import Statistics
from pidex.verify import Verifier
from pidex.web.api import Api
from pidex.web.git import Clones, Repositories
from pidex.web.resources import Services
from pidex.web.routes import first, routes, takes_body
from pidex.web.site import Site
from pidex.web.ui.frame import Frame, Parts
from pidex.web.ui.paths import HOME, PATHS
from pidex.web.ui.recall import Recall
from pidex.web.upload import Uploads


class Reading(NamedTuple):
    """What the pages for people need beside what all faces have."""

    search: Search
    readmes: Readmes
    interior: Interior
    sessions: Sessions
    indexing: Indexing
    overview: Overview
    examine: Callable[[], Iterable[Check]]
    verifier: Verifier


def application(
    *args: Any,
    intake: Intake,
    curator: Curator | None = None,
    administration: Administration | None = None,
    repositories: Repositories | None = None,
    reading: Reading | None = None,
    statistics: Statistics | None = None,
    **kwargs: Any,
) -> Site:
    """A `Site` (which takes these arguments) that answers everything this server offers.

    Without `reading`, or without another of the services, there are neither pages for people nor the API.
    """
    site = Site(*args, **kwargs)
    made = Counter("pidex_pages_made", "Pages that were made: the others of a kind were kept.", ("kind",))
    site.metrics.follow(made, lambda: {(kind,): number for kind, number in dict(site.pages.made).items()})
    uploads = Uploads(site, intake, curator)
    takers = [takes_body, uploads.takes]
    home = None
    if curator is not None and administration is not None and statistics is not None and reading is not None:
        recall = Recall(lambda: site.pages.changes)
        frame = Frame(Parts(site, intake, curator, administration, *reading, statistics, recall), PATHS)
        home = frame.home(HOME)
        site.router.routes.extend(frame.routes())
        takers.append(frame.takes_body)
        site.lost = frame.lost
        site.closers.append(frame.close)
        services = Services(
            site.resolver,
            curator,
            site.accounts,
            administration,
            reading.indexing,
            site.options.indexes,
            statistics,
        )
        api = Api(site, services)
        site.router.routes[:0] = api.routes()
        takers.append(api.takes_body)
        site.closers.append(api.close)
    site.router.routes.extend(routes(site, uploads, home))
    if repositories is not None:
        clones = Clones(site, repositories)
        site.router.routes[:0] = clones.routes()
        takers.append(clones.takes_body)
    site.router.routes[:0] = first(site, uploads)
    site.takes_body = lambda call: any(takes(call) for takes in takers)
    site.closers.append(uploads.close)
    return site
