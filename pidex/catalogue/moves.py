"""Moves: a catalogue that is being left for another one, was left, or is not all there yet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from pidex.catalogue import leases, upserts
from pidex.catalogue.tables import meta, shared
from pidex.core.errors import Conflict, Moving

#: For how long writes stay refused after the last word of who moves, and how often it says so, in seconds.
SECONDS, RENEW_SECONDS = 10.0, 2.0
#: What clients are told to wait, in seconds, while it moves, and once it has.
RETRY_SECONDS, MOVED_RETRY_SECONDS = 5, 60
#: New publishes are refused, those under way come to their end; then nothing at all is written.
CLOSING, STOPPED = "closing", "stopped"
#: Left for good, until somebody takes that back.
MOVED = "moved"
#: The row that says that a move is under way, and the key of the catalogue that it goes to.
NAME, ARRIVING = "move", "arriving"

_NOW = {
    "sqlite": "cast((julianday('now') - 2440587.5) * 86400000000 as integer)",
    "postgresql": "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
}
# The row goes by the clock of whoever writes; a move that ended is written down for good.
_FIND = {
    dialect: f"select value from shared where name = '{NAME}' and until > {now}"  # noqa: S608  # our own words
    f" union all select value from meta where key = '{MOVED}'"
    for dialect, now in _NOW.items()
}
_CLOCK = {dialect: text(f"select {now}") for dialect, now in _NOW.items()}
_END = text(f"delete from shared where name = '{NAME}'")  # noqa: S608
_DROP = text("delete from meta where key = :key")
_META = text("select value from meta where key = :key")


class Move(NamedTuple):
    """A move away: how far it is, to what, and by whom (a word that only one run knows)."""

    state: str
    to: str
    holder: str


class Arrival(NamedTuple):
    """A catalogue that is being filled: out of which one (`indexes.born`), by whom, whether all is there.

    `places`: the folders and the bucket that its files go to.
    """

    born: int
    holder: str
    full: bool = False
    places: Sequence[str] = ()


def find(conn: Connection) -> Move | None:
    """The move that this catalogue is in, or has behind it."""
    rows = conn.exec_driver_sql(_FIND[conn.dialect.name]).fetchall()
    found = [Move(*json.loads(row[0])) for row in rows]
    return max(found, key=lambda move: move.state == MOVED, default=None)


def check(conn: Connection, *, fresh: bool = False) -> None:
    """Raise `Moving` where nothing may be written now; `fresh`: where nothing new may be begun."""
    move = find(conn)
    if move is None or (move.state == CLOSING and not fresh):
        return
    if move.state == MOVED:
        raise Moving(
            "This server was moved: changes are made at its new place, and here everything can only be read."
            " Its operator can take that back by `pidex migrate --cancel`.",
            retry_after=MOVED_RETRY_SECONDS,
        )
    raise Moving(
        "This server is being moved: everything can be read meanwhile, and nothing can be changed."
        " Try again in a moment.",
        retry_after=RETRY_SECONDS,
    )


def hold(conn: Connection, move: Move) -> None:
    """Begin a move, or go on to its next state. In a transaction that others wait for.

    Raises `Conflict` where somebody else moves this catalogue or has moved it.
    """
    before = find(conn)
    if before is not None and (before.holder != move.holder or before.state == MOVED):
        raise Conflict(f"The catalogue is being moved to {before.to}, or was: only one can do that.")
    now = int(conn.execute(_CLOCK[conn.dialect.name]).scalar_one())
    until = now + int(SECONDS * 1_000_000)
    upserts.put(conn, shared, [{"name": NAME, "value": json.dumps(move), "until": until}])


def renew(conn: Connection, holder: str) -> Move:
    """Have the move of this run go on for some seconds more; how far it is.

    Raises `Conflict` where that came too late: others may have written since.
    """
    found = find(conn)
    if found is None or found.holder != holder:
        raise Conflict("This machine stood still for so long that the server took changes again. Try again.")
    hold(conn, found)
    return found


def leave(conn: Connection, move: Move) -> None:
    """Write down that the catalogue was moved, for good. Raises `Conflict` as `renew`."""
    if renew(conn, move.holder).state != STOPPED:
        raise ValueError(move.state)
    upserts.put(conn, meta, [{"key": MOVED, "value": json.dumps(move._replace(state=MOVED))}])
    conn.execute(_END)


def cancel(conn: Connection) -> Move | None:
    """Take writes again; the move that was under way or had ended."""
    before = find(conn)
    conn.execute(_END)
    conn.execute(_DROP, {"key": MOVED})
    return before


def arriving(conn: Connection) -> Arrival | None:
    """Out of what this catalogue is being filled; None: it is nobody's target, or is all there."""
    found = conn.execute(_META, {"key": ARRIVING}).scalar_one_or_none()
    return None if found is None else Arrival(*json.loads(found))


def arrive(conn: Connection, arrival: Arrival | None) -> None:
    """Note that this catalogue is being filled, and not to be served yet; None: that it is."""
    if arrival is None:
        conn.execute(_DROP, {"key": ARRIVING})
    else:
        upserts.put(conn, meta, [{"key": ARRIVING, "value": json.dumps(arrival)}])


def alive(conn: Connection) -> bool:
    """Whether nodes of a cluster are at work on this catalogue."""
    return conn.dialect.name == "postgresql" and any(leases.nodes(conn).values())
