"""API tokens: whose they are, how far they reach and how long; of the token itself only a hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from pidex.catalogue import rights
from pidex.catalogue.tables import tokens, users
from pidex.core.tokens import TokenScope

_US = 1_000_000


class Token(NamedTuple):
    """A token. Times in microseconds since 1970, UTC, but for `scope.expires`, in seconds.

    `user` is its owner's name as people see it, `disabled` whether that user is locked out.
    """

    id: int
    hint: str
    user: str
    disabled: bool
    comment: str
    scope: TokenScope
    created: int
    revoked: int | None


_LIST = select(
    tokens.c.id,
    tokens.c.hint,
    users.c.name,
    users.c.disabled,
    tokens.c.comment,
    tokens.c.scopes,
    tokens.c.indexes,
    tokens.c.projects,
    tokens.c.expires,
    tokens.c.created,
    tokens.c.revoked,
).join(users, users.c.id == tokens.c.user_id)
_BY_DIGEST = _LIST.where(tokens.c.digest == bindparam("of_digest"))
_BY_ID = _LIST.where(tokens.c.id == bindparam("of_token"))
_BY_USER = _LIST.where(users.c.name == bindparam("of_user")).order_by(tokens.c.id)
_LIVE = select(func.count()).where(
    tokens.c.user_id == bindparam("of_user"),
    tokens.c.revoked.is_(None),
    or_(tokens.c.expires.is_(None), tokens.c.expires > bindparam("now")),
)


def find(conn: Connection, token_id: int) -> Token | None:
    """The token of a number."""
    return _token(conn.execute(_BY_ID, {"of_token": token_id}).one_or_none())


def find_by_digest(conn: Connection, digest: str) -> Token | None:
    """The token with that hash, whatever has become of it."""
    return _token(conn.execute(_BY_DIGEST, {"of_digest": digest}).one_or_none())


def list(conn: Connection, user: str | None = None) -> Sequence[Token]:  # noqa: A001
    """The tokens of a user (of all users), oldest first."""
    rows = conn.execute(_BY_USER, {"of_user": user}) if user else conn.execute(_LIST.order_by(tokens.c.id))
    return [found for row in rows if (found := _token(row)) is not None]


def count_live(conn: Connection, user_id: int, *, at: int) -> int:
    """How many tokens of a user work."""
    return int(conn.execute(_LIVE, {"of_user": user_id, "now": at}).scalar_one())


def add(
    conn: Connection, user_id: int, scope: TokenScope, *, digest: str, hint: str, comment: str, at: int
) -> int:
    """Store a new token and return its number; `scope.token_id` is not looked at."""
    values = {
        "digest": digest,
        "hint": hint,
        "user_id": user_id,
        "comment": comment,
        "scopes": json.dumps(scope.scopes),
        "indexes": json.dumps(scope.indexes),
        "projects": json.dumps(scope.projects),
        "created": at,
        "expires": None if scope.expires is None else int(scope.expires * _US),
    }
    return int(conn.execute(insert(tokens).values(values).returning(tokens.c.id)).scalar_one())


def revoke(conn: Connection, token_id: int, *, at: int) -> None:
    """End a token; its row stays, so that people see what it was."""
    ended = update(tokens).where(tokens.c.id == bindparam("of_token")).values(revoked=at)
    conn.execute(ended, {"of_token": token_id})
    rights.credentials_changed(conn)
    rights.grants_changed(conn)  # what was decided for the token goes too


def _token(row: Any) -> Token | None:
    if row is None:
        return None
    number, hint, user, disabled, comment, scopes, indexes, projects, expires, created, revoked = row
    scope = TokenScope(
        token_id=number,
        indexes=tuple(json.loads(indexes)),
        projects=tuple(json.loads(projects)),
        scopes=tuple(json.loads(scopes)),
        expires=None if expires is None else expires / _US,
    )
    return Token(number, hint, user, disabled, comment, scope, created, revoked)
