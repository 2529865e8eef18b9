"""Grants: which user or group has which role on an index and its projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, insert, or_, select

from pidex.catalogue import rights
from pidex.catalogue.tables import grants, groups, indexes, memberships, users
from pidex.core.errors import NotFound
from pidex.core.people import identity
from pidex.core.permissions import Grant, Role


class Granted(NamedTuple):
    """A grant, by whom and when (microseconds since 1970, UTC). `index_id` None: every index."""

    id: int
    grant: Grant
    index_id: int | None
    by: str
    at: int


_SUBJECT = case((users.c.name.is_(None), "group:" + groups.c.name), else_="user:" + users.c.name)
_ALL = (
    select(
        grants.c.id,
        _SUBJECT.label("subject"),
        grants.c.role,
        indexes.c.name,
        grants.c.project,
        grants.c.index_id,
        grants.c.by,
        grants.c.at,
    )
    .select_from(grants)
    .outerjoin(users, users.c.id == grants.c.user_id)
    .outerjoin(groups, groups.c.id == grants.c.group_id)
    .outerjoin(indexes, indexes.c.id == grants.c.index_id)
)
_LIST = _ALL.order_by(grants.c.id)
#: Computed by joins from what is a member and enabled now: a right cannot outlive what it came by (T25).
_OF_USER = _ALL.where(
    or_(
        grants.c.user_id.in_(select(users.c.id).where(users.c.name == bindparam("of_user"))),
        grants.c.group_id.in_(
            select(memberships.c.group_id)
            .join(users, users.c.id == memberships.c.user_id)
            .where(users.c.name == bindparam("of_user"))
        ),
    )
)
_BUILT_IN = _ALL.where(groups.c.name.in_(bindparam("names", expanding=True)))


def list(conn: Connection) -> Sequence[Granted]:  # noqa: A001
    """All grants, oldest first."""
    return [_granted(row) for row in conn.execute(_LIST)]


def list_of_user(conn: Connection, name: str) -> Sequence[Grant]:
    """What a user has been granted, alone and as member of groups; not what everybody has."""
    return [_granted(row).grant for row in conn.execute(_OF_USER, {"of_user": identity(name)})]


def list_of_everybody(conn: Connection, *, authenticated: bool) -> Sequence[Grant]:
    """What everybody has, with what everybody has who signed in."""
    names = ["anonymous", "authenticated"] if authenticated else ["anonymous"]
    return [_granted(row).grant for row in conn.execute(_BUILT_IN, {"names": names})]


def find(conn: Connection, grant: Grant) -> Granted | None:
    """The row of exactly this grant."""
    row = conn.execute(_exactly(_ALL, conn, grant)).first()
    return None if row is None else _granted(row)


def add(conn: Connection, grant: Grant, *, by: str, at: int) -> bool:
    """Write a grant; False where exactly this one is there. Raises `NotFound` for what it names.

    Needs a writing transaction: there is one at a time, so no grant is there twice.
    """
    if find(conn, grant) is not None:
        return False
    values = {**_subject(conn, grant.subject), "index_id": _index(conn, grant.index)}
    row = {**values, "role": grant.role.value, "project": grant.project, "by": by, "at": at}
    conn.execute(insert(grants).values(row))
    rights.grants_changed(conn)
    return True


def remove(conn: Connection, grant: Grant) -> bool:
    """Take a grant back; False where there is none like it. Raises `NotFound` for what it names."""
    found = find(conn, grant)
    if found is None:
        return False
    conn.execute(delete(grants).where(grants.c.id == found.id))
    rights.grants_changed(conn)
    return True


def _exactly(statement: Any, conn: Connection, grant: Grant) -> Any:
    subject, index_id = _subject(conn, grant.subject), _index(conn, grant.index)
    return statement.where(
        grants.c.user_id == subject["user_id"]
        if subject["user_id"] is not None
        else grants.c.group_id == subject["group_id"],
        grants.c.index_id.is_(None) if index_id is None else grants.c.index_id == index_id,
        grants.c.role == grant.role.value,
        grants.c.project == grant.project,
    )


def _subject(conn: Connection, subject: str) -> dict[str, int | None]:
    """The numbers of 'user:NAME' or 'group:NAME'."""
    kind, _, name = subject.partition(":")
    table = {"user": users, "group": groups}[kind]
    number = conn.execute(select(table.c.id).where(table.c.name == identity(name))).scalar_one_or_none()
    if number is None:
        raise NotFound(f"There is no {kind} {name}. `pidex {kind} add {name}` makes one.")
    return {"user_id": None, "group_id": None, f"{kind}_id": int(number)}


def _index(conn: Connection, name: str | None) -> int | None:
    if name is None:
        return None
    number = conn.execute(select(indexes.c.id).where(indexes.c.name == name)).scalar_one_or_none()
    if number is None:
        raise NotFound(f"There is no index {name}.")
    return int(number)


def _granted(row: Any) -> Granted:
    number, subject, role, index, project, index_id, by, at = row
    return Granted(number, Grant(subject, Role(role), index, project), index_id, by, at)
