"""Wrong guesses of all nodes of a cluster: buckets in the database, by the time at which they are full."""

from __future__ import annotations

from sqlalchemy import Connection, text

#: How long an account is known at an address where it signed in, in seconds.
KNOWN_SECONDS = 30 * 86_400

_NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
# A bucket of n guesses, of which one comes back each step, is full at a time that a guess moves by a step.
_TAKE = text(
    f"insert into shared (name, value, until) values (:name, '', {_NOW} + :step)"  # noqa: S608  # our own names
    f" on conflict (name) do update set until = greatest(shared.until, {_NOW}) + :step"
    f" where shared.until <= {_NOW} + :room returning until"
)
_WAIT = text(f"select until - :room - {_NOW} from shared where name = :name")  # noqa: S608
_GIVE = text("update shared set until = until - :step where name = :name")
_KNOW = text(
    f"insert into shared (name, value, until) values (:name, '', {_NOW} + :long)"  # noqa: S608
    " on conflict (name) do update set until = excluded.until"
)
_KNOWN = text(f"select 1 from shared where name = :name and until > {_NOW}")  # noqa: S608
_PRUNE = text(f"delete from shared where name not like 'lease:%' and until <= {_NOW}")  # noqa: S608


def take(conn: Connection, key: bytes, guesses: int, seconds: float) -> float:
    """Take one guess out of a bucket: 0, or the seconds until there is one.

    `guesses`: how many it holds; `seconds`: until one comes back.
    """
    step = int(seconds * 1_000_000)
    words = {"name": f"guess:{key.hex()}", "step": step, "room": step * (guesses - 1)}
    if conn.execute(_TAKE, words).first() is not None:
        return 0.0
    found = conn.execute(_WAIT, {"name": words["name"], "room": words["room"]}).scalar_one_or_none()
    return max(int(found or 0), 1) / 1_000_000


def give(conn: Connection, key: bytes, seconds: float) -> None:
    """Put a guess back that was right."""
    conn.execute(_GIVE, {"name": f"guess:{key.hex()}", "step": int(seconds * 1_000_000)})


def know(conn: Connection, pair: bytes) -> None:
    """Remember an account and an address from which it signed in."""
    conn.execute(_KNOW, {"name": f"known:{pair.hex()}", "long": KNOWN_SECONDS * 1_000_000})


def is_known(conn: Connection, pair: bytes) -> bool:
    """Whether an account signed in from an address."""
    return conn.execute(_KNOWN, {"name": f"known:{pair.hex()}"}).first() is not None


def prune(conn: Connection) -> None:
    """Forget buckets that are full, and what was known long ago."""
    conn.execute(_PRUNE)
