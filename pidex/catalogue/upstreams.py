"""The upstreams that a catalogue knows, by name, with how they are reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import meta, upstreams
from pidex.core.upstreams import UpstreamSettings


class Upstream(NamedTuple):
    """An upstream. `created` in microseconds since 1970."""

    settings: UpstreamSettings
    created: int

    @property
    def name(self) -> str:
        return self.settings.name


_COLUMNS = (
    upstreams.c.name,
    upstreams.c.url,
    upstreams.c.settings,
    upstreams.c.secret,
    upstreams.c.created,
)
_LIST = select(*_COLUMNS).order_by(upstreams.c.name)
_FIND = Prepared(_LIST.where(upstreams.c.name == bindparam("of_name")))
_DELETE = delete(upstreams).where(upstreams.c.name == bindparam("of_name"))
#: The key of the settings' word on the default index's upstreams.
SETTLED = "upstreams"
#: Kept in columns of their own.
_APART = frozenset({"name", "url", "secret"})
_KNOWN = frozenset(UpstreamSettings.__dataclass_fields__) - _APART


def find(conn: Connection, name: str) -> Upstream | None:
    """The upstream of that name."""
    return next(map(_upstream, _FIND.all(conn, {"of_name": name})), None)


def list(conn: Connection) -> Sequence[Upstream]:  # noqa: A001
    """All upstreams by name."""
    return [*map(_upstream, conn.execute(_LIST))]


def put(conn: Connection, settings: UpstreamSettings, *, created: int) -> None:
    """Write an upstream. `created` in microseconds since 1970."""
    values = {name: value for name, value in asdict(settings).items() if name in _KNOWN}
    row = {
        "name": settings.name,
        "url": settings.url,
        "settings": json.dumps(values, sort_keys=True),
        "secret": settings.secret,
        "created": created,
    }
    upserts.put(conn, upstreams, [row])


def remove(conn: Connection, name: str) -> None:
    """Forget an upstream. Claims that name it stay, and nobody answers for them."""
    conn.execute(_DELETE, {"of_name": name})


def settled(conn: Connection) -> str | None:
    """What the settings last said of the default index's upstreams, as `settle` was given it."""
    return conn.execute(select(meta.c.value).where(meta.c.key == SETTLED)).scalar_one_or_none()


def settle(conn: Connection, text: str) -> None:
    """Note what the settings say, so that what commands change stays until they say something else."""
    upserts.put(conn, meta, [{"key": SETTLED, "value": text}])


def _upstream(row: Sequence[object]) -> Upstream:
    name, url, settings, secret, created = row
    assert isinstance(settings, str)
    # A setting that an older or newer program wrote and this one does not know changes nothing here.
    values = {key: value for key, value in json.loads(settings).items() if key in _KNOWN}
    return Upstream(UpstreamSettings(str(name), str(url), secret=secret, **values), created)  # type: ignore[arg-type]
