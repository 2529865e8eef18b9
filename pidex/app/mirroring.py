"""The loop over the mirror: room for new files, lists of names, and alarms about names of ours in them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pidex.catalogue import audit, indexes, origins, projects, upstreams
from pidex.core.layers import Origin
from pidex.core.model import OPERATOR
from pidex.intake.lock import SHADOWING

if TYPE_CHECKING:
    from pidex.app.parts import Pidex
    from pidex.search import Search

#: Seconds between two looks at how much is held, and whether a list of names is due.
LOOK_SECONDS = 60.0
#: Names of ours that the log says one by one; the audit has all.
NAMED = 20

log = logging.getLogger("pidex.mirror")


def run(pidex: Pidex, stop: threading.Event) -> None:
    """Keep the mirror within its bounds, and its lists of names fresh. For who holds the lock."""
    files, settings = pidex.mirror.files, pidex.settings
    files.cache.sweep()
    found = files.settle()
    if found:
        log.info("Found %d mirrored files that were not known.", found)
    search = pidex.search()
    for each in pidex.mirror.store.lists():
        if each.names and each.upstream not in search.learnt():
            search.learn(each.upstream, pidex.mirror.list_names(each.upstream))
    while True:
        gone = files.evict(int(settings.mirror_size * 1024**3), settings.mirror_age * 86_400)
        if gone.files:
            log.info("Dropped %d mirrored files that were not used: %d bytes.", gone.files, gone.bytes)
        pidex.mirror.store.prune()
        due = () if settings.offline or settings.no_upstream else pidex.mirror.names.due()
        for upstream in due:
            _refresh(pidex, search, upstream)
        if stop.wait(LOOK_SECONDS):
            return


def _refresh(pidex: Pidex, search: Search, upstream: str) -> None:
    """Fetch a list of names, have searches know them, and say which of ours are among them."""
    with pidex.catalogue.read() as conn:
        if upstreams.find(conn, upstream) is None:
            return
    told = pidex.mirror.run(lambda: pidex.mirror.names.refresh(upstream))
    if told is None or not told.changed:
        return
    log.info("Upstream %s lists %d names.", upstream, told.names)
    search.learn(upstream, pidex.mirror.list_names(upstream))
    exposed = [*_exposed(pidex, upstream)]
    for index, project in exposed[:NAMED]:
        log.warning(
            "Upstream %s has a project %s, as index %s has: here only what is ours is shown under that name.",
            upstream, project, index,
        )  # fmt: skip
    if exposed:
        log.warning("%d names of ours appeared at upstream %s: the audit has them.", len(exposed), upstream)


def _exposed(pidex: Pidex, upstream: str) -> Iterable[tuple[str, str]]:
    """The names of ours that an upstream has which the audit does not know of; it does from now on."""
    found: list[tuple[str, str]] = []
    with pidex.catalogue.read() as conn:
        for each in indexes.list(conn):
            if upstream in indexes.reached(conn, each):
                names = {project for project, _ in projects.sizes(conn, each.id)}
                names |= origins.projects_of(conn, each.id, (Origin.LOCAL, Origin.MERGED))
                found += [(each.name, name) for name in sorted(names)]
    here = [pair for pair in found if pidex.mirror.store.has_name(upstream, pair[1])]
    if not here:
        return []
    told = {"upstream": upstream}
    with pidex.catalogue.write() as conn:
        known = audit.projects_of(conn, SHADOWING)
        fresh = [pair for pair in here if pair not in known]
        for index, project in fresh:
            at = int(pidex.clock() * 1_000_000)
            audit.record(conn, OPERATOR, SHADOWING, index=index, project=project, after=told, at=at)
    pidex.alarms().add(len(fresh))
    return fresh
