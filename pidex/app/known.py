"""The default index's upstreams as the settings say them; PyPI's URL, by the constant of a library."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.core.upstreams import PYPI, UpstreamSettings

if TYPE_CHECKING:
    from pidex.catalogue.engine import Catalogue, Connection
    from pidex.config import Settings

log = logging.getLogger("pidex")


def url_of(name: str) -> str | None:
    """The URL of an upstream that is known by name; None for others, and where the library is missing.

    Importing that library costs 0.4 s and 42 MB.
    """
    spec = importlib.util.find_spec("pypi_simple") if name == PYPI else None
    if spec is None or spec.origin is None:
        return None
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(each, ast.Name) and each.id == "PYPI_SIMPLE_ENDPOINT" for each in targets):
            assert isinstance(node, (ast.Assign, ast.AnnAssign))
            assert node.value is not None
            return str(ast.literal_eval(node.value))
    return None


def settle(catalogue: Catalogue, settings: Settings, clock: Callable[[], float]) -> Sequence[str]:
    """Give the default index the upstreams that the settings name; those it has then.

    Only where they say something else than at the last start: what commands changed since then stays.
    """
    from pidex.catalogue import audit, indexes, upstreams  # noqa: PLC0415  # half a second, once

    wanted = () if settings.no_upstream else settings.upstream or (PYPI,)
    now = int(clock() * 1_000_000)
    with catalogue.write() as conn:
        here = indexes.find(conn, DEFAULT_INDEX)
        assert here is not None
        said = json.dumps([*wanted])
        if said == upstreams.settled(conn):
            return here.upstreams
        found = [name for name in (_ensure(conn, each, now) for each in wanted) if name is not None]
        upstreams.settle(conn, said)
        if tuple(found) != here.upstreams:
            indexes.set_upstreams(conn, here.id, found)
            indexes.announce(conn, here.id, at=now, by="pidex")
            audit.record(
                conn, OPERATOR, "index.set", index=DEFAULT_INDEX, at=now,
                before={"upstreams": [*here.upstreams]}, after={"upstreams": found},
            )  # fmt: skip
        return tuple(found)


def _ensure(conn: Connection, said: str, now: int) -> str | None:
    """The name of an upstream of the settings, which is made where there is none of that URL or name."""
    from pidex.catalogue import upstreams  # noqa: PLC0415  # see above

    every = {each.name: each.settings.url for each in upstreams.list(conn)}
    url = said if "://" in said else every.get(said) or url_of(said)
    if url is None:
        log.error(
            "There is no upstream %s: its URL is not known. `pidex upstream add %s URL` makes it.", said, said
        )
        return None
    for name, known in every.items():
        if name == said or (said == url and known == url):
            return name
    name = said
    if said == url:
        name = base = re.sub("[^a-z0-9]+", "-", urlsplit(url).netloc.lower()).strip("-")[:50] or "upstream"
        number = 1
        while name in every:
            number += 1
            name = f"{base}-{number}"
    upstreams.put(conn, UpstreamSettings(name, url), created=now)
    return name
