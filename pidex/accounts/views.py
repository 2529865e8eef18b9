"""People, groups, tokens and grants as whoever administers them sees them: no secrets, plain fields."""

from __future__ import annotations

from dataclasses import dataclass

from pidex.catalogue.grants import Granted
from pidex.catalogue.tokens import Token
from pidex.catalogue.users import User


@dataclass(frozen=True, slots=True)
class UserView:
    """A user. `created` in microseconds since 1970, UTC, as all times here."""

    name: str
    display: str
    disabled: bool
    has_password: bool
    created: int
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group and its members. Nobody is a member of 'anonymous' (everybody) and 'authenticated'."""

    name: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token. `state` is 'valid', 'expired', 'revoked' or 'locked' (with its user).

    `used`: when it was last signed in with, to some minutes, as far as is known.
    """

    id: int
    hint: str
    user: str
    comment: str
    state: str
    scopes: tuple[str, ...]
    indexes: tuple[str, ...]
    projects: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None
    used: int | None = None


@dataclass(frozen=True, slots=True)
class TokenMade:
    """A new token: `text` is told this once and stored nowhere."""

    text: str
    token: TokenView


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant. `index` None: on every index; `project` '*': on the whole index."""

    subject: str
    role: str
    index: str | None
    project: str
    by: str
    at: int


def user_view(user: User, groups: tuple[str, ...] = ()) -> UserView:
    """A row of `users`."""
    return UserView(user.name, user.display, user.disabled, user.has_password, user.created, groups)


def token_view(token: Token, at: int, used: int | None = None) -> TokenView:
    """A row of `tokens`, at a time in microseconds."""
    expires = None if token.scope.expires is None else int(token.scope.expires * 1_000_000)
    state = "valid"
    if token.revoked is not None:
        state = "revoked"
    elif expires is not None and at >= expires:
        state = "expired"
    elif token.disabled:
        state = "locked"
    scope = token.scope
    return TokenView(
        token.id,
        token.hint,
        token.user,
        token.comment,
        state,
        scope.scopes,
        scope.indexes,
        scope.projects,
        token.created,
        expires,
        token.revoked,
        used,
    )


def grant_view(granted: Granted) -> GrantView:
    """A row of `grants`."""
    grant = granted.grant
    return GrantView(grant.subject, grant.role.value, grant.index, grant.project, granted.by, granted.at)
