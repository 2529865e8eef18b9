"""Groups of users, and who is a member of which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from pidex.catalogue import rights
from pidex.catalogue.tables import groups, memberships, users
from pidex.core.people import identity


class Group(NamedTuple):
    """A group. 'anonymous' and 'authenticated' are always there. `created`: microseconds since 1970."""

    id: int
    name: str
    created: int


_COLUMNS = (groups.c.id, groups.c.name, groups.c.created)
_FIND = select(*_COLUMNS).where(groups.c.name == bindparam("name"))
_LIST = select(*_COLUMNS).order_by(groups.c.name)
_MEMBERS = (
    select(users.c.name)
    .join(memberships, memberships.c.user_id == users.c.id)
    .where(memberships.c.group_id == bindparam("of_group"))
    .order_by(users.c.name)
)
_OF_USER = (
    select(groups.c.name)
    .join(memberships, memberships.c.group_id == groups.c.id)
    .join(users, users.c.id == memberships.c.user_id)
    .where(users.c.name == bindparam("name"))
    .order_by(groups.c.name)
)
_MEMBERSHIP = (
    memberships.c.user_id == bindparam("of_user"),
    memberships.c.group_id == bindparam("of_group"),
)


def find(conn: Connection, name: str) -> Group | None:
    """The group of that name, in any case."""
    row = conn.execute(_FIND, {"name": identity(name)}).one_or_none()
    return None if row is None else Group(*row)


def list(conn: Connection) -> Sequence[Group]:  # noqa: A001
    """All groups by name, with the two that are always there."""
    return [Group(*row) for row in conn.execute(_LIST)]


def list_members(conn: Connection, group_id: int) -> Sequence[str]:
    """The names of a group's members."""
    return conn.execute(_MEMBERS, {"of_group": group_id}).scalars().all()


def list_of_user(conn: Connection, name: str) -> Sequence[str]:
    """The names of the groups that a user is a member of."""
    return conn.execute(_OF_USER, {"name": identity(name)}).scalars().all()


def is_member(conn: Connection, group_id: int, user_id: int) -> bool:
    """Whether a user is a member of a group."""
    found = select(memberships.c.user_id).where(*_MEMBERSHIP)
    return conn.execute(found, {"of_group": group_id, "of_user": user_id}).first() is not None


def add(conn: Connection, name: str, *, at: int) -> Group:
    """Make a group of a name that no group has."""
    values = {"name": identity(name), "created": at}
    number = conn.execute(insert(groups).values(values).returning(groups.c.id)).scalar_one()
    return Group(int(number), identity(name), at)


def remove(conn: Connection, group_id: int) -> None:
    """Remove a group, with its memberships and grants."""
    conn.execute(delete(groups).where(groups.c.id == bindparam("of_group")), {"of_group": group_id})
    rights.credentials_changed(conn)
    rights.grants_changed(conn)


def join(conn: Connection, group_id: int, user_id: int) -> None:
    """Make a user a member who is none yet."""
    conn.execute(insert(memberships).values(user_id=user_id, group_id=group_id))
    rights.credentials_changed(conn)


def leave(conn: Connection, group_id: int, user_id: int) -> None:
    """End a membership."""
    conn.execute(delete(memberships).where(*_MEMBERSHIP), {"of_group": group_id, "of_user": user_id})
    rights.credentials_changed(conn)
