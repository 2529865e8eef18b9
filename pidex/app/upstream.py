"""How upstreams are reached: the mirror, over the catalogue's upstreams and the clients for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from pidex.catalogue import upstreams
from pidex.catalogue.behind import LINGER_SECONDS, SHARED_SECONDS, Behind
from pidex.config import Settings, environment
from pidex.core.errors import PidexError
from pidex.metrics import Counter, Labels, Level, Metrics
from pidex.mirror import Mirror, records

if TYPE_CHECKING:
    from pidex.backends.upstream import HttpUpstream
    from pidex.catalogue.engine import Catalogue
    from pidex.catalogue.expendable import Expendable
    from pidex.core.interfaces import Inspector, Upstream
    from pidex.core.upstreams import UpstreamSettings

log = logging.getLogger("pidex.mirror")


def mirror_of(
    settings: Settings,
    data: Path,
    catalogue: Catalogue,
    expendable: Expendable,
    *,
    inspector: Callable[[], Inspector],
    metrics: Metrics,
) -> Mirror:
    """The mirror over a data directory, which counts. Nothing is asked or made before it is used."""
    clients: WeakSet[HttpUpstream] = WeakSet()
    made: list[Inspector] = []

    def one_inspector() -> Inspector:
        if not made:
            made.append(inspector())
        return made[0]

    def reached(name: str) -> UpstreamSettings | None:
        with catalogue.read() as conn:
            found = upstreams.find(conn, name)
        return None if found is None else found.settings

    mirror = Mirror(
        Behind(expendable, linger=LINGER_SECONDS if settings.workers == 1 else SHARED_SECONDS),
        data / "mirror",
        settings=reached,
        connect=partial(_connect, metrics, clients),
        clock=time.time,
        inspector=one_inspector,
        offline=settings.offline,
    )
    _follow(metrics, mirror, clients)
    return mirror


def prepare(catalogue: Catalogue) -> None:
    """Load what asks upstreams, where there is one to ask: else the first who wants a page waits for that."""
    with suppress(PidexError):
        with catalogue.read() as conn:
            there = upstreams.list(conn)
        if there:
            from pidex.backends.upstream import warm  # noqa: PLC0415

            warm()


def _connect(metrics: Metrics, clients: WeakSet[HttpUpstream], settings: UpstreamSettings) -> Upstream:
    from pidex.backends.upstream import HttpUpstream  # noqa: PLC0415  # an HTTP client, where one is needed

    requests = metrics.counter(
        "pidex_upstream_requests", "Requests to upstreams, by how they ended.", ("upstream", "outcome")
    )
    waited = metrics.counter(
        "pidex_upstream_wait_seconds", "Seconds until upstreams' answers began, in all.", ("upstream",)
    )
    seconds = metrics.histogram("pidex_upstream_answer_seconds", "Seconds until an upstream's answer began.")

    def told(outcome: str, took: float) -> None:
        requests.add(1, (settings.name, outcome))
        waited.add(took, (settings.name,))
        seconds.observe(took)

    client = HttpUpstream(settings, variables=environment(), log=log.warning, told=told, read=records.ready)
    clients.add(client)
    return client


def _follow(metrics: Metrics, mirror: Mirror, clients: WeakSet[HttpUpstream]) -> None:
    """Have the numbers of the mirror told, without a project's name."""

    def labelled(values: Mapping[str, float]) -> Mapping[Labels, float]:
        return {(key,): value for key, value in dict(values).items() if key != "bytes"}

    def shut() -> Mapping[Labels, float]:
        found: dict[Labels, float] = {}
        for client in [*clients]:
            found[client.name,] = found.get((client.name,), 0) + client.shut
        return found

    pages = Counter(
        "pidex_mirror_pages", "Pages of upstreams: looks at held ones, and questions by answer.", ("outcome",)
    )
    files = Counter(
        "pidex_mirror_files", "Files of upstreams: held ones served, fetched ones, wrong ones.", ("outcome",)
    )
    fetched = Counter("pidex_mirror_fetched_bytes", "Bytes of files that were fetched from upstreams.")
    left = Level(
        "pidex_upstream_shut",
        "Servers of upstreams that do not answer and are left alone, by each process.",
        ("upstream",),
    )
    metrics.follow(pages, lambda: labelled(mirror.pages.told))
    metrics.follow(files, lambda: labelled(mirror.files.told))
    metrics.follow(fetched, lambda: {(): float(mirror.files.told["bytes"])})
    metrics.follow(left, shut)
