"""Who is signed in by the web pages: sessions by the hash of their secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from pidex.catalogue.tables import sessions, users


class Session(NamedTuple):
    """A session of an enabled user. Times in microseconds since 1970, UTC; `csrf` goes into each form."""

    user: str
    via: str
    created: int
    expires: int
    csrf: str


_FIND = (
    select(users.c.name, sessions.c.via, sessions.c.created, sessions.c.expires, sessions.c.csrf)
    .join(users, users.c.id == sessions.c.user_id)
    .where(
        sessions.c.digest == bindparam("of_digest"),
        sessions.c.expires > bindparam("now"),
        users.c.disabled.is_(False),
    )
)
_OF_USER = (
    select(sessions.c.digest, sessions.c.via, sessions.c.created, sessions.c.expires)
    .join(users, users.c.id == sessions.c.user_id)
    .where(users.c.name == bindparam("of_name"), sessions.c.expires > bindparam("now"))
    .order_by(sessions.c.created.desc(), sessions.c.digest)
)
_SURPLUS = (
    select(sessions.c.digest)
    .where(sessions.c.user_id == bindparam("of_user"))
    .order_by(sessions.c.created.desc(), sessions.c.digest)
    .offset(bindparam("keep"))
)


def find(conn: Connection, digest: str, *, at: int) -> Session | None:
    """The session with that hash, unless it has expired or its user is locked out."""
    row = conn.execute(_FIND, {"of_digest": digest, "now": at}).one_or_none()
    return None if row is None else Session(*row)


def list_of_user(conn: Connection, name: str, *, at: int) -> Sequence[tuple[str, str, int, int]]:
    """(hash, how the user was known, created, expires) of a user's sessions that are on, newest first."""
    return [tuple(row) for row in conn.execute(_OF_USER, {"of_name": name, "now": at})]


def add(
    conn: Connection, user_id: int, digest: str, *, via: str, csrf: str, at: int, expires: int, most: int
) -> None:
    """Begin a session. Expired ones go, and the oldest of the user's beyond `most`."""
    conn.execute(delete(sessions).where(sessions.c.expires <= at))
    row = {"digest": digest, "user_id": user_id, "via": via, "created": at, "expires": expires, "csrf": csrf}
    conn.execute(insert(sessions).values(row))
    surplus = conn.execute(_SURPLUS, {"of_user": user_id, "keep": most}).scalars().all()
    if surplus:
        conn.execute(delete(sessions).where(sessions.c.digest.in_(surplus)))


def remove(conn: Connection, digest: str) -> bool:
    """End a session; False where there is none."""
    gone = delete(sessions).where(sessions.c.digest == bindparam("of_digest"))
    return bool(conn.execute(gone, {"of_digest": digest}).rowcount)


def remove_of_user(conn: Connection, user_id: int) -> None:
    """End all sessions of a user."""
    gone = delete(sessions).where(sessions.c.user_id == bindparam("of_user"))
    conn.execute(gone, {"of_user": user_id})
