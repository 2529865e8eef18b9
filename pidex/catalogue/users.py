"""People, and programs that sign in by token: who is known by name, with which password."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from pidex.catalogue import rights
from pidex.catalogue.tables import users
from pidex.core.people import identity


class User(NamedTuple):
    """A user. `name` is casefolded, `display` as first spelled; `created` in microseconds since 1970, UTC."""

    id: int
    name: str
    display: str
    disabled: bool
    created: int
    has_password: bool


_COLUMNS = (
    users.c.id,
    users.c.name,
    users.c.display,
    users.c.disabled,
    users.c.created,
    users.c.password_hash.is_not(None).label("has_password"),
)
_FIND = select(*_COLUMNS).where(users.c.name == bindparam("name"))
_LIST = select(*_COLUMNS).order_by(users.c.name)
_SECRET = select(users.c.password_hash).where(users.c.name == bindparam("name"), users.c.disabled.is_(False))
_ANY = select(users.c.id).limit(1)
_ANY_PASSWORD = select(users.c.id).where(users.c.password_hash.is_not(None)).limit(1)
_HERE = users.c.id == bindparam("of_user")


def find(conn: Connection, name: str) -> User | None:
    """The user of that name, in any case."""
    row = conn.execute(_FIND, {"name": identity(name)}).one_or_none()
    return None if row is None else User(*row)


def list(conn: Connection) -> Sequence[User]:  # noqa: A001
    """All users by name."""
    return [User(*row) for row in conn.execute(_LIST)]


def find_secret(conn: Connection, name: str) -> str | None:
    """The password hash of a user who may sign in by password."""
    return conn.execute(_SECRET, {"name": identity(name)}).scalar_one_or_none()


def any_user(conn: Connection) -> bool:
    """Whether there are users."""
    return conn.execute(_ANY).first() is not None


def any_password(conn: Connection) -> bool:
    """Whether anybody at all could sign in by password."""
    return conn.execute(_ANY_PASSWORD).first() is not None


def add(conn: Connection, display: str, password_hash: str | None, *, at: int) -> User:
    """Make a user of a name that nobody has."""
    name = identity(display)
    values = {
        "name": name,
        "display": display,
        "password_hash": password_hash,
        "disabled": False,
        "created": at,
    }
    number = int(conn.execute(insert(users).values(values).returning(users.c.id)).scalar_one())
    rights.credentials_changed(conn)
    return User(number, name, display, False, at, password_hash is not None)


def ensure(conn: Connection, display: str, *, at: int) -> User:
    """The user of that name; made without a password where there is none (htpasswd, proxy)."""
    return find(conn, display) or add(conn, display, None, at=at)


def set_password(conn: Connection, user_id: int, password_hash: str | None) -> None:
    """Change the password hash; None: no signing in by password."""
    conn.execute(update(users).where(_HERE).values(password_hash=password_hash), {"of_user": user_id})
    rights.credentials_changed(conn)


def set_disabled(conn: Connection, user_id: int, disabled: bool) -> None:
    """Lock a user out, or let them in again."""
    conn.execute(update(users).where(_HERE).values(disabled=disabled), {"of_user": user_id})
    rights.credentials_changed(conn)


def remove(conn: Connection, user_id: int) -> None:
    """Remove a user, with memberships, tokens, sessions and grants."""
    conn.execute(delete(users).where(_HERE), {"of_user": user_id})
    rights.credentials_changed(conn)
    rights.grants_changed(conn)
