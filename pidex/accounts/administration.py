"""Changes to people, groups, tokens and grants: each in one transaction with its audit and journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from pidex.accounts import hashing
from pidex.accounts.signing import Accounts
from pidex.accounts.views import (
    GrantView,
    GroupView,
    TokenMade,
    TokenView,
    UserView,
    grant_view,
    token_view,
    user_view,
)
from pidex.catalogue import audit, grants, groups, indexes, rights, sessions, tokens, users, uses
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.expendable import Expendable
from pidex.core import people
from pidex.core.errors import BadRequest, Conflict, Forbidden, NotFound
from pidex.core.model import Principal
from pidex.core.people import identity
from pidex.core.permissions import OPERATOR_GROUP, Action, Grant, Role
from pidex.core.tokens import SCOPES, TokenScope, digest, hint, text

#: Tokens of a user that work at the same time, globs of a token, and characters of a glob or a comment.
TOKENS, GLOBS, CHARACTERS = 500, 100, 200
_US = 1_000_000
_PROJECT = re.compile(r"[a-z0-9*?!\[\]-]+")
_INDEX = re.compile(r"[A-Za-z0-9._*?!\[\]-]+")


class Administration:
    """What administrators do, and users for themselves. Safe to use from threads.

    Every method raises `Forbidden` for who may not do it, `NotFound` and `Conflict` where it would change
    nothing, and `BadRequest` for what cannot be. What it changes is one row of the audit. `random` returns
    that many random bytes. Names are found in any case.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        accounts: Accounts,
        *,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        expendable: Expendable | None = None,
    ) -> None:
        self._catalogue, self._accounts, self._clock = catalogue, accounts, clock
        self._random, self._expendable = random, expendable

    # --- users ----------------------------------------------------------------------------------------------

    def add_user(self, name: str, password: str | None = None, *, by: Principal) -> UserView:
        """Make a user. Without a password they sign in by token, htpasswd file or proxy."""
        self._administrator(by)
        people.check_name(name)
        stored = None if password is None else hashing.hashed(hashing.check_password(password))
        with self._catalogue.write() as conn:
            if users.find(conn, name) is not None:
                raise Conflict(f"There is a user {name} already.")
            user = users.add(conn, name, stored, at=self._at())
            self._record(conn, by, "user.add", user.name, after={"password": stored is not None})
        return user_view(user)

    def set_password(
        self, name: str, password: str | None, *, current: str | None = None, by: Principal
    ) -> None:
        """Give a user another password (None: none) and end their sessions.

        Users change their own with the `current` one, signed in by password and not by token; administrators
        of the server need none, but one that is given has to be right.
        """
        own = by.name == identity(name) and by.token is None and by.via in ("password", "session")
        if not (own and password is not None):
            self._administrator(by)
        with self._catalogue.read() as conn:
            user = self._user(conn, name)
            known = users.find_secret(conn, name)
        administrator = self._accounts.allows(by, Action.ADMIN, None)
        asked = current is not None or not administrator
        if own and asked and not hashing.verify(known, current or ""):
            raise Forbidden("The current password is wrong, so it was not changed.")
        stored = None if password is None else hashing.hashed(hashing.check_password(password))
        with self._catalogue.write() as conn:
            user = self._user(conn, name)
            users.set_password(conn, user.id, stored)
            sessions.remove_of_user(conn, user.id)
            before = {"password": user.has_password}
            after = {"password": "changed" if stored is not None else False}
            self._record(conn, by, "user.password", user.name, before=before, after=after)

    def disable_user(self, name: str, *, by: Principal) -> None:
        """Lock a user out: passwords, tokens and sessions stop working, and stay."""
        self._switch(name, True, by)

    def enable_user(self, name: str, *, by: Principal) -> None:
        """Let a locked-out user in again."""
        self._switch(name, False, by)

    def remove_user(self, name: str, *, by: Principal) -> None:
        """Remove a user with all tokens, sessions, memberships and grants."""
        self._administrator(by)
        with self._catalogue.write() as conn:
            user = self._user(conn, name)
            before = {
                "groups": [*groups.list_of_user(conn, user.name)],
                "grants": [_said(grant) for grant in _own(conn, f"user:{user.name}")],
            }
            users.remove(conn, user.id)
            self._record(conn, by, "user.remove", user.name, before=before)

    def list_users(self, *, by: Principal) -> Sequence[UserView]:
        """All users, with their groups."""
        self._administrator(by)
        with self._catalogue.read() as conn:
            return [user_view(user, (*groups.list_of_user(conn, user.name),)) for user in users.list(conn)]

    # --- groups ---------------------------------------------------------------------------------------------

    def add_group(self, name: str, *, by: Principal) -> GroupView:
        """Make a group."""
        self._administrator(by)
        people.check_name(name, "group")
        with self._catalogue.write() as conn:
            if groups.find(conn, name) is not None:
                raise Conflict(f"There is a group {name} already.")
            group = groups.add(conn, name, at=self._at())
            self._record(conn, by, "group.add", group.name)
        return GroupView(group.name)

    def remove_group(self, name: str, *, by: Principal) -> None:
        """Remove a group with its memberships and grants."""
        self._administrator(by)
        with self._catalogue.write() as conn:
            group = self._group(conn, name)
            before = {
                "members": [*groups.list_members(conn, group.id)],
                "grants": [_said(grant) for grant in _own(conn, f"group:{group.name}")],
            }
            groups.remove(conn, group.id)
            self._record(conn, by, "group.remove", group.name, before=before)

    def join_group(self, group: str, user: str, *, by: Principal) -> None:
        """Make a user a member."""
        self._administrator(by)
        with self._catalogue.write() as conn:
            found, member = self._group(conn, group), self._user(conn, user)
            if groups.is_member(conn, found.id, member.id):
                raise Conflict(f"{member.name} is a member of {found.name} already.")
            groups.join(conn, found.id, member.id)
            self._record(conn, by, "group.join", found.name, after={"member": member.name})

    def leave_group(self, group: str, user: str, *, by: Principal) -> None:
        """End a membership."""
        self._administrator(by)
        with self._catalogue.write() as conn:
            found, member = self._group(conn, group), self._user(conn, user)
            if not groups.is_member(conn, found.id, member.id):
                raise NotFound(f"{member.name} is no member of {found.name}.")
            groups.leave(conn, found.id, member.id)
            self._record(conn, by, "group.leave", found.name, before={"member": member.name})

    def list_groups(self, *, by: Principal) -> Sequence[GroupView]:
        """All groups with their members."""
        self._administrator(by)
        with self._catalogue.read() as conn:
            return [
                GroupView(each.name, (*groups.list_members(conn, each.id),)) for each in groups.list(conn)
            ]

    # --- tokens ---------------------------------------------------------------------------------------------

    def create_token(
        self,
        user: str,
        *,
        comment: str = "",
        scopes: Collection[str] = ("read",),
        indexes: Collection[str] = ("*",),
        projects: Collection[str] = ("*",),
        expires: float | None = None,
        by: Principal,
    ) -> TokenMade:
        """Make a token of a user, which never does more than the user may.

        Users make their own; signed in by a token, that one needs the scope 'admin', and the new one lies
        within it. `expires` in Unix seconds.
        """
        scope = self._scope(scopes, indexes, projects, expires)
        own = by.name == identity(user) and OPERATOR_GROUP not in by.groups
        if own and by.token is not None:
            _within(scope, by.token)
        elif not own:
            self._administrator(by)
        if len(comment) > CHARACTERS or not comment.isprintable():
            raise BadRequest(f"A comment has {CHARACTERS} printable characters at most.")
        made, at = text(self._random(32)), self._at()
        with self._catalogue.write() as conn:
            if own and users.find(conn, user) is None:
                people.check_name(user)  # somebody of the htpasswd file, or whom a proxy knows
                users.ensure(conn, user, at=at)
            owner = self._user(conn, user)
            if owner.disabled:
                raise Conflict(f"{owner.name} is locked out: `pidex user enable {owner.name}` comes first.")
            if tokens.count_live(conn, owner.id, at=at) >= TOKENS:
                raise Conflict(f"{owner.name} has {TOKENS} tokens that work, which is the most. Revoke some.")
            number = tokens.add(
                conn, owner.id, scope, digest=digest(made), hint=hint(made), comment=comment, at=at
            )
            token = tokens.find(conn, number)
            assert token is not None
            after = {"user": owner.name, **_reach(scope), "comment": comment}
            # Nothing that anybody remembers changes by it: no word in the journal.
            audit.record(conn, by, "token.create", subject=f"{number} {hint(made)}", after=after, at=at)
        return TokenMade(made, token_view(token, at))

    def revoke_token(self, token_id: int, *, by: Principal) -> TokenView:
        """End a token, at once and for good."""
        at = self._at()
        with self._catalogue.read() as conn:
            found = tokens.find(conn, token_id)
        own = found is not None and found.user == by.name and self._whole(by)
        if not own:
            self._administrator(by)
        with self._catalogue.write() as conn:
            found = tokens.find(conn, token_id)
            if found is None:
                raise NotFound(f"There is no token {token_id}. `pidex token list` shows them.")
            if found.revoked is not None:
                raise Conflict(f"Token {token_id} is revoked already.")
            tokens.revoke(conn, token_id, at=at)
            before = {"user": found.user, **_reach(found.scope), "comment": found.comment}
            self._record(conn, by, "token.revoke", f"{token_id} {found.hint}", before=before)
        return token_view(found._replace(revoked=at), at)

    def list_tokens(self, user: str | None = None, *, by: Principal) -> Sequence[TokenView]:
        """The tokens of a user, or of all. Users see their own."""
        if user is None or identity(user) != by.name or not self._whole(by):
            self._administrator(by)
        alone = self._catalogue.path is not None
        used = self._expendable.uses() if alone and self._expendable is not None else {}
        with self._catalogue.read() as conn:
            used = used if alone else uses.list(conn)
            found = tokens.list(conn, None if user is None else identity(user))
        return [token_view(token, self._at(), used.get(token.id)) for token in found]

    # --- grants ---------------------------------------------------------------------------------------------

    def grant(
        self, subject: str, role: str, *, index: str | None = None, project: str = "*", by: Principal
    ) -> GrantView:
        """Give 'user:NAME' or 'group:NAME' a role on an index (None: on all) and its projects.

        For administrators of the index; for who manages a single project, also on that one.
        """
        grant = self._grant(subject, role, index, project, by)
        with self._catalogue.write() as conn:
            number = None if index is None else self._index(conn, index).id
            if not grants.add(conn, grant, by=by.name or "anonymous", at=self._at()):
                raise Conflict(f"{grant.subject} is {grant.role.value} there already.")
            found = grants.find(conn, grant)
            assert found is not None
            self._record_grant(conn, by, "grant.add", grant, number, after={"role": grant.role.value})
        return grant_view(found)

    def ungrant(
        self, subject: str, role: str, *, index: str | None = None, project: str = "*", by: Principal
    ) -> None:
        """Take a role back that was granted with the same words."""
        grant = self._grant(subject, role, index, project, by)
        with self._catalogue.write() as conn:
            number = None if index is None else self._index(conn, index).id
            if not grants.remove(conn, grant):
                where = f"index {index}" if index else "every index"
                raise NotFound(
                    f"{grant.subject} was not granted {grant.role.value} on {where}, project"
                    f" {grant.project}. `pidex grant list` shows what was."
                )
            self._record_grant(conn, by, "grant.remove", grant, number, before={"role": grant.role.value})

    def list_grants(self, index: str | None = None, *, by: Principal) -> Sequence[GrantView]:
        """The grants (that speak of an index): all for its administrators, others see what concerns them."""
        with self._catalogue.read() as conn:
            found = [each for each in grants.list(conn) if index is None or each.grant.reaches(index, None)]
        return [grant_view(each) for each in found if self._sees(by, each.grant)]

    # --- what all have in common ----------------------------------------------------------------------------

    def _administrator(self, by: Principal) -> None:
        if not self._accounts.allows(by, Action.ADMIN, None):
            raise Forbidden(
                "Only administrators of the server do that. On the server, `pidex` commands run by the owner"
                " of the data directory may."
            )

    def _whole(self, by: Principal) -> bool:
        """Whether a caller acts as themselves: not by a token that was made for something smaller."""
        return by.token is None or "admin" in by.token.scopes

    def _sees(self, by: Principal, grant: Grant) -> bool:
        if grant.subject == f"user:{by.name}" or self._accounts.allows(by, Action.ADMIN, grant.index):
            return True
        return self._manages(by, grant)

    def _manages(self, by: Principal, grant: Grant) -> bool:
        """Whether a grant is on one project, which the caller manages."""
        if grant.index is None or set(grant.project) & set("*?["):
            return False
        return self._accounts.allows(by, Action.MANAGE, grant.index, grant.project)

    def _grant(self, subject: str, role: str, index: str | None, project: str, by: Principal) -> Grant:
        """The grant that was meant, where the caller may give it."""
        kind, colon, name = subject.partition(":")
        if kind not in ("user", "group") or not colon or not name:
            raise BadRequest(f"{subject[:80]!r} is neither user:NAME nor group:NAME.")
        if role not in [each.value for each in Role]:
            raise BadRequest(f"There is no role {role[:80]!r}: use {', '.join(each.value for each in Role)}.")
        grant = Grant(f"{kind}:{identity(name)}", Role(role), index, _glob(project))
        allowed = self._accounts.allows(by, Action.ADMIN, index) or (
            grant.role is not Role.ADMIN and self._manages(by, grant)
        )
        if not allowed:
            where = f"index {index}" if index else "every index"
            raise Forbidden(f"You may not decide who is {role} on {where}, project {grant.project}.")
        return grant

    def _scope(
        self,
        scopes: Collection[str],
        index_globs: Collection[str],
        projects: Collection[str],
        expires: float | None,
    ) -> TokenScope:
        wanted = tuple(each for each in SCOPES if each in {*scopes})
        unknown = {*scopes} - {*SCOPES}
        if unknown or not wanted:
            raise BadRequest(f"A token's scopes are some of {', '.join(SCOPES)}.")
        globs = tuple(dict.fromkeys(_glob(each) for each in projects))
        places = tuple(dict.fromkeys(index_globs))
        for each in places:
            if len(each) > CHARACTERS or _INDEX.fullmatch(each) is None:
                raise BadRequest(f"{each[:80]!r} cannot be the name of an index or a pattern of names.")
        if not globs or not places or max(len(globs), len(places)) > GLOBS:
            raise BadRequest(f"A token names 1 to {GLOBS} indexes and projects, or patterns of them.")
        if expires is not None and expires <= self._clock():
            raise BadRequest("The token would have expired already: choose a time to come.")
        return TokenScope(0, places, globs, wanted, expires)

    def _switch(self, name: str, disabled: bool, by: Principal) -> None:
        self._administrator(by)
        with self._catalogue.write() as conn:
            user = self._user(conn, name)
            if user.disabled == disabled:
                raise Conflict(f"{user.name} is {'locked out' if disabled else 'not locked out'} already.")
            users.set_disabled(conn, user.id, disabled)
            if disabled:
                sessions.remove_of_user(conn, user.id)
            action = "user.disable" if disabled else "user.enable"
            before, after = {"disabled": user.disabled}, {"disabled": disabled}
            self._record(conn, by, action, user.name, before=before, after=after)

    def _record(
        self,
        conn: Connection,
        by: Principal,
        action: str,
        subject: str,
        *,
        before: object = None,
        after: object = None,
    ) -> None:
        """The audit's row, and in the journal that rights changed on every index."""
        at = self._at()
        audit.record(conn, by, action, subject=subject, before=before, after=after, at=at)
        rights.announce(conn, None, at=at, by=by.name or "anonymous")

    def _record_grant(
        self,
        conn: Connection,
        by: Principal,
        action: str,
        grant: Grant,
        number: int | None,
        *,
        before: object = None,
        after: object = None,
    ) -> None:
        at = self._at()
        words = {"index": grant.index, "project": grant.project, "subject": grant.subject}
        audit.record(conn, by, action, **words, before=before, after=after, at=at)
        rights.announce(conn, number, at=at, by=by.name or "anonymous")

    def _at(self) -> int:
        return int(self._clock() * _US)

    @staticmethod
    def _user(conn: Connection, name: str) -> users.User:
        found = users.find(conn, name)
        if found is None:
            raise NotFound(f"There is no user {name[:80]}. `pidex user list` shows them.")
        return found

    @staticmethod
    def _group(conn: Connection, name: str) -> groups.Group:
        if identity(name) in people.BUILT_IN:
            raise BadRequest(f"Who belongs to {name} follows from signing in: it cannot be changed.")
        found = groups.find(conn, name)
        if found is None:
            raise NotFound(f"There is no group {name[:80]}. `pidex group list` shows them.")
        return found

    @staticmethod
    def _index(conn: Connection, name: str) -> indexes.Index:
        found = indexes.find(conn, name)
        if found is None:
            raise NotFound(f"There is no index {name[:80]}.")
        return found


def _within(scope: TokenScope, outer: TokenScope) -> None:
    """Raise `Forbidden` where a token would reach further than the one that asks for it."""
    narrower = (
        "admin" in outer.scopes
        and {*scope.scopes} <= {*outer.scopes}
        and ("*" in outer.indexes or {*scope.indexes} <= {*outer.indexes})
        and ("*" in outer.projects or {*scope.projects} <= {*outer.projects})
        and (outer.expires is None or (scope.expires is not None and scope.expires <= outer.expires))
    )
    if not narrower:
        raise Forbidden(
            "A token makes only tokens that reach no further than itself, and needs the scope admin for it."
        )


def _glob(project: str) -> str:
    """A project's name, or a pattern of names, normalised."""
    pattern = re.sub(r"[-_.]+", "-", project).lower()
    if len(pattern) > CHARACTERS or _PROJECT.fullmatch(pattern) is None:
        raise BadRequest(f"{project[:80]!r} cannot be the name of a project or a pattern such as acme-*.")
    return pattern


def _own(conn: Connection, subject: str) -> Sequence[Grant]:
    return [each.grant for each in grants.list(conn) if each.grant.subject == subject]


def _said(grant: Grant) -> str:
    return f"{grant.role.value} on {grant.index or 'every index'}, project {grant.project}"


def _reach(scope: TokenScope) -> dict[str, object]:
    return {
        "scopes": list(scope.scopes),
        "indexes": list(scope.indexes),
        "projects": list(scope.projects),
        "expires": scope.expires,
    }
