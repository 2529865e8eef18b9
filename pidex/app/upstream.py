"""How upstreams are reached: the mirror, over the catalogue's upstreams and the clients for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.catalogue import upstreams
from pidex.catalogue.mirrored import Store
from pidex.config import Settings, environment
from pidex.mirror import Mirror

if TYPE_CHECKING:
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
) -> Mirror:
    """The mirror over a data directory. Nothing is asked or made before it is used."""
    made: list[Inspector] = []

    def one_inspector() -> Inspector:
        if not made:
            made.append(inspector())
        return made[0]

    def reached(name: str) -> UpstreamSettings | None:
        with catalogue.read() as conn:
            found = upstreams.find(conn, name)
        return None if found is None else found.settings

    return Mirror(
        Store(expendable),
        data / "mirror",
        settings=reached,
        connect=_connect,
        clock=time.time,
        inspector=one_inspector,
        offline=settings.offline,
    )


def _connect(settings: UpstreamSettings) -> Upstream:
    from pidex.backends.upstream import HttpUpstream  # noqa: PLC0415  # an HTTP client, where one is needed

    return HttpUpstream(settings, variables=environment(), log=log.warning)
