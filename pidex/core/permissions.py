"""Who may do what: roles, grants, and the one decision about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from pidex.core.model import Principal


class Action(StrEnum):
    """What a caller may want to do. Every route and command names one."""

    LIST = "list"  # names, pages, search, feeds
    READ = "read"  # files and their metadata
    UPLOAD = "upload"
    OVERWRITE = "overwrite"  # in a volatile index only
    YANK = "yank"
    DELETE = "delete"
    MANAGE = "manage"  # a project's status and grants
    ADMIN = "admin"  # the index; without an index, the server


class Role(StrEnum):
    """Roles on an index or on projects of it; each of READER to ADMIN contains those before it.

    LISTER, DOWNLOADER and UPDATER speak pypiserver's words: listing without downloading, the other way
    round, and whatever changes files.
    """

    LISTER = "lister"
    DOWNLOADER = "downloader"
    UPDATER = "updater"
    READER = "reader"
    UPLOADER = "uploader"
    MAINTAINER = "maintainer"
    OWNER = "owner"
    ADMIN = "admin"


_READS = frozenset({Action.LIST, Action.READ})
_UPLOADS = _READS | {Action.UPLOAD}
_MAINTAINS = _UPLOADS | {Action.YANK, Action.OVERWRITE}
_OWNS = _MAINTAINS | {Action.DELETE, Action.MANAGE}

ACTIONS: dict[Role, frozenset[Action]] = {
    Role.LISTER: frozenset({Action.LIST}),
    Role.DOWNLOADER: frozenset({Action.READ}),
    Role.UPDATER: _MAINTAINS | {Action.DELETE},
    Role.READER: _READS,
    Role.UPLOADER: _UPLOADS,
    Role.MAINTAINER: _MAINTAINS,
    Role.OWNER: _OWNS,
    Role.ADMIN: frozenset(Action),
}

#: The scope a token must have for an action (`core.tokens.SCOPES`).
SCOPE: dict[Action, str] = {
    Action.LIST: "read",
    Action.READ: "read",
    Action.UPLOAD: "upload",
    Action.OVERWRITE: "upload",
    Action.YANK: "delete",
    Action.DELETE: "delete",
    Action.MANAGE: "admin",
    Action.ADMIN: "admin",
}

ANONYMOUS_GROUP = "anonymous"
AUTHENTICATED_GROUP = "authenticated"
#: pidex itself and whoever owns the data directory.
OPERATOR_GROUP = "operator"


@dataclass(frozen=True, slots=True)
class Grant:
    """`subject` ('user:NAME' or 'group:NAME') has `role` on projects that match `project` in `index`.

    `index` None: on every index. `project` is an `fnmatch` pattern on normalised names; '*' is the index.
    """

    subject: str
    role: Role
    index: str | None = None
    project: str = "*"

    def reaches(self, index: str | None, project: str | None) -> bool:
        """Whether this grant speaks of `project` in `index`. `project` None: of any project at all."""
        if self.index is not None and self.index != index:
            return False
        return project is None or self.project == "*" or fnmatchcase(project, self.project)


#: pypiserver's words for what needs signing in (heritage 7.2), as actions.
GUARDED: dict[str, frozenset[Action]] = {
    "list": frozenset({Action.LIST}),
    "download": frozenset({Action.READ}),
    "update": frozenset(Action) - {Action.LIST, Action.READ},
}


def subjects(principal: Principal, *, guarded: bool = False) -> frozenset[str]:
    """The names under which grants may speak of a caller.

    What is granted to strangers is granted to everybody: signing in takes nothing away. Where an action is
    `guarded`, strangers have to sign in for it, whatever they were granted.
    """
    names = {f"group:{group}" for group in principal.groups}
    if principal.groups - {ANONYMOUS_GROUP}:
        names.add(f"group:{ANONYMOUS_GROUP}")
    elif guarded:
        names.discard(f"group:{ANONYMOUS_GROUP}")
    if principal.name is not None:
        names.add(f"user:{principal.name}")
    return frozenset(names)


def decide(
    grants: Iterable[Grant],
    principal: Principal,
    action: Action,
    index: str | None,
    project: str | None = None,
    *,
    guard: frozenset[Action] = frozenset(),
) -> bool:
    """Whether `principal` may do `action`. Nothing is allowed that no grant allows.

    `project` None asks whether there is anything in the index on which the action is allowed (the start of
    an upload, a list), except for `Action.ADMIN`, which is of the whole index (or server) or not at all.
    A token narrows, it never widens. `guard`: the actions for which strangers have to sign in.
    """
    token = principal.token
    if token is not None and not token.covers(SCOPE[action], index, project):
        return False
    if OPERATOR_GROUP in principal.groups:
        return True
    names = subjects(principal, guarded=action in guard)
    return any(
        grant.subject in names
        and action in ACTIONS[grant.role]
        and grant.reaches(index, project)
        and (
            action is not Action.ADMIN
            or (grant.project == "*" and (index is not None or grant.index is None))
        )
        for grant in grants
    )


def visible(
    grants: Iterable[Grant],
    principal: Principal,
    index: str,
    action: Action = Action.LIST,
    *,
    guard: frozenset[Action] = frozenset(),
) -> Visibility:
    """What of an index a caller may list (or read). Equal values may share cached answers."""
    token = principal.token
    if token is not None and not token.covers(SCOPE[action], index, None):
        return Visibility(frozenset())
    within = ("*",) if token is None else token.projects
    if OPERATOR_GROUP in principal.groups:
        return Visibility(frozenset({"*"}), within)
    names = subjects(principal, guarded=action in guard)
    patterns = {
        grant.project
        for grant in grants
        if grant.subject in names and action in ACTIONS[grant.role] and grant.reaches(index, None)
    }
    return Visibility(frozenset({"*"} if "*" in patterns else patterns), within)


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which projects of one index are seen: those that match a pattern, within what a token covers."""

    patterns: frozenset[str]
    within: tuple[str, ...] = ("*",)

    def sees(self, project: str) -> bool:
        """Whether a project (normalised name) is seen."""
        return _matches(self.patterns, project) and _matches(self.within, project)

    @property
    def everything(self) -> bool:
        """Whether no project is hidden, so that nothing need be filtered."""
        return "*" in self.patterns and "*" in self.within

    @property
    def nothing(self) -> bool:
        """Whether every project is hidden."""
        return not self.patterns or not self.within


def _matches(patterns: Iterable[str], project: str) -> bool:
    return "*" in patterns or any(fnmatchcase(project, pattern) for pattern in patterns)
