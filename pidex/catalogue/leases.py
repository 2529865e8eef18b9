"""Leases: what one node at a time does, and which nodes are alive, by the clock of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert, select, text

from pidex.catalogue.tables import meta

#: How long a lease lasts, in seconds, and how often its holder renews it.
SECONDS, RENEW_SECONDS = 8.0, 2.0

#: The key of the name that all nodes have together.
CLUSTER = "cluster"

#: The names of leases, and the part of the name by which the rows of nodes are told.
PREFIX, NODE = "lease:", "lease:node:"

# Microseconds since 1970 as all nodes have them: their own clocks may differ.
_NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
_TAKE = text(
    f"insert into shared (name, value, until) values (:name, :holder, {_NOW} + :long)"  # noqa: S608  # our own
    " on conflict (name) do update set value = excluded.value, until = excluded.until"
    f" where shared.value = excluded.value or shared.until <= {_NOW} returning value"
)
_RELEASE = text("delete from shared where name = :name and value = :holder")
_HOLDER = text(f"select value from shared where name = :name and until > {_NOW}")  # noqa: S608
_HELD = text(f"select name from shared where name like 'lease:%' and until > {_NOW} order by name")  # noqa: S608
_NODES = text(f"select name, value, until > {_NOW} from shared where name like 'lease:node:%'")  # noqa: S608
_FORGET = text(f"delete from shared where name = :name and until <= {_NOW}")  # noqa: S608


def take(conn: Connection, name: str, holder: str, seconds: float = SECONDS) -> bool:
    """Take a lease that nobody has, or renew one's own; whether `holder` has it now."""
    words = {"name": f"{PREFIX}{name}", "holder": holder, "long": int(seconds * 1_000_000)}
    return conn.execute(_TAKE, words).first() is not None


def release(conn: Connection, name: str, holder: str) -> None:
    """Give a lease back; nothing happens where somebody else has it."""
    conn.execute(_RELEASE, {"name": f"{PREFIX}{name}", "holder": holder})


def holder(conn: Connection, name: str) -> str | None:
    """Who has a lease now."""
    found = conn.execute(_HOLDER, {"name": f"{PREFIX}{name}"}).scalar_one_or_none()
    return None if found is None else str(found)


def held(conn: Connection) -> Sequence[str]:
    """The names of the leases that somebody has now."""
    return [str(name).removeprefix(PREFIX) for name in conn.execute(_HELD).scalars()]


def nodes(conn: Connection) -> Mapping[str, bool]:
    """Every node that ever said it is there and did not say goodbye: whether it is alive."""
    return {str(name).removeprefix(NODE): bool(alive) for name, _, alive in conn.execute(_NODES)}


def forget_node(conn: Connection, node: str) -> None:
    """Forget a node that is not alive."""
    conn.execute(_FORGET, {"name": f"{NODE}{node}"})


def cluster(conn: Connection, fresh: str) -> str:
    """The name of the cluster: `fresh`, where it has none yet. In a writing transaction."""
    told = conn.execute(select(meta.c.value).where(meta.c.key == CLUSTER)).scalar_one_or_none()
    if told is None:
        conn.execute(insert(meta).values(key=CLUSTER, value=fresh))
    return str(told or fresh)
