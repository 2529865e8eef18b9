"""What somebody may do and see: grants, guards and tokens, worked out once for each state of the rights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pidex.accounts.htpasswd import PasswordFile
from pidex.catalogue import grants, groups, indexes, rights, tokens, users
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.probe import Probe
from pidex.core.model import ANONYMOUS, Principal
from pidex.core.permissions import (
    ACTIONS,
    ANONYMOUS_GROUP,
    AUTHENTICATED_GROUP,
    GUARDED,
    OPERATOR_GROUP,
    Action,
    Grant,
    Role,
    Visibility,
    decide,
    visible,
)

#: Decisions and visibilities remembered at most; then all are forgotten.
DECISIONS = 20_000
#: Callers whose grants are remembered at most.
CALLERS = 1_000

_PATTERN = frozenset("*?[")


class Stamp(NamedTuple):
    """A state of the rights: what is remembered under another one is out of date."""

    credentials: int = -1
    grants: int = -1
    file: int = -1


@dataclass(frozen=True, slots=True)
class _Held:
    """A caller as the catalogue knows them now, with the grants that speak of them."""

    principal: Principal
    wide: Sequence[Grant]
    narrow: dict[str, list[Grant]]  # by project, where the pattern is a name: people own thousands of these

    def about(self, project: str | None) -> Iterable[Grant]:
        """The grants that can matter for a project (None: for any)."""
        if project is not None:
            return [*self.wide, *self.narrow.get(project, ())]
        return [*self.wide, *(each for found in self.narrow.values() for each in found)]


@dataclass(frozen=True, slots=True)
class _State:
    """Everything worked out under one stamp. Entries may be lost; none is ever wrong."""

    stamp: Stamp
    decisions: dict[Hashable, bool] = field(default_factory=dict)
    visibilities: dict[Hashable, Visibility] = field(default_factory=dict)
    held: dict[Hashable, _Held] = field(default_factory=dict)
    closed: dict[str, bool] = field(default_factory=dict)
    challenges: dict[str, bool] = field(default_factory=dict)
    peopled: dict[str, bool] = field(default_factory=dict)


class Rights:
    """Answers what a caller may do. Thread-safe.

    Members, tokens and users are looked up when a caller is first asked about after a change, not when they
    signed in: a right ends with what it came by, also for who holds a principal from before.

    `guard`: pypiserver's words for what needs signing in. Where nothing does (`-a . -P .`), everybody may
    also change files. People of the password file may. Neither is written into the catalogue.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        probe: Probe,
        file: PasswordFile,
        guard: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        self._catalogue, self._probe, self._file, self._clock = catalogue, probe, file, clock
        self.open = not guard
        self._guard = frozenset().union(*(GUARDED[word] for word in guard))
        self._state = _State(Stamp())
        self._lock = threading.Lock()

    def stamp(self) -> Stamp:
        """The state of the rights now. A few microseconds where nothing has changed."""
        self._file.refresh()
        if self._probe.changed():
            with self._catalogue.read() as conn:
                self._stamped(conn)
        state = self._state
        if state.stamp.file != self._file.version:
            with self._lock:
                state = self._state
                if state.stamp.file != self._file.version:
                    state = self._state = _State(state.stamp._replace(file=self._file.version))
        return state.stamp

    def allows(self, by: Principal, action: Action, index: str | None, project: str | None = None) -> bool:
        """Whether `by` may do `action`; `project` (normalised) None: on anything in the index.

        `index` None asks about the server. See `core.permissions.decide`.
        """
        self.stamp()
        if self._is_over(by):
            return False
        state = self._state
        key = (_key(by), action, index, project)
        known = state.decisions.get(key)
        if known is None:
            held = self._hold(state, by)
            known = decide(held.about(project), held.principal, action, index, project, guard=self._guard)
            _remember(state.decisions, key, known, DECISIONS)
        return known

    def visibility(self, by: Principal, index: str, action: Action = Action.LIST) -> Visibility:
        """What `by` may list (or read) of an index. Callers with equal values may share answers."""
        self.stamp()
        if self._is_over(by):
            return Visibility(frozenset())
        state = self._state
        key = (_key(by), action, index)
        known = state.visibilities.get(key)
        if known is None:
            held = self._hold(state, by)
            known = visible(held.about(None), held.principal, index, action, guard=self._guard)
            _remember(state.visibilities, key, known, DECISIONS)
        return known

    def closed(self, index: str) -> bool:
        """Whether nobody at all may upload to an index."""
        if self.open or self._file.entries.people:
            return False
        self.stamp()
        state = self._state
        known = state.closed.get(index)
        if known is None:
            with self._catalogue.read() as conn:
                known = not any(
                    Action.UPLOAD in ACTIONS[each.grant.role] and each.grant.reaches(index, None)
                    for each in grants.list(conn)
                )
            _remember(state.closed, index, known, CALLERS)
        return known

    def peopled(self) -> bool:
        """Whether there is anybody who could sign in: users (whose tokens are), or a password file."""
        if self._file.given:
            return True
        self.stamp()
        state = self._state
        known = state.peopled.get("")
        if known is None:
            with self._catalogue.read() as conn:
                known = users.any_user(conn)
            _remember(state.peopled, "", known, 1)
        return known

    def challenges(self, index: str) -> bool:
        """Whether strangers are asked to sign in where something is absent or hidden (AUT-4)."""
        self.stamp()
        state = self._state
        known = state.challenges.get(index)
        if known is None:
            with self._catalogue.read() as conn:
                found = indexes.find(conn, index)
            known = found is not None and found.challenge
            _remember(state.challenges, index, known, CALLERS)
        return known

    def _is_over(self, by: Principal) -> bool:
        expires = None if by.token is None else by.token.expires
        return expires is not None and self._clock() >= expires

    def _hold(self, state: _State, by: Principal) -> _Held:
        key = _key(by)
        held = state.held.get(key)
        if held is not None:
            return held
        with self._catalogue.read() as conn:
            # The state of this transaction may be newer than the one that the caller has in hand: then what
            # is read here goes into the newer one only.
            self._stamped(conn)
            principal, granted = self._look_up(conn, by)
        narrow: dict[str, list[Grant]] = {}
        for grant in granted:
            if not _PATTERN.intersection(grant.project):
                narrow.setdefault(grant.project, []).append(grant)
        wide = [grant for grant in granted if _PATTERN.intersection(grant.project)]
        held = _Held(principal, wide, narrow)
        if self._state is state:
            _remember(state.held, key, held, CALLERS)
        return held

    def _look_up(self, conn: Connection, by: Principal) -> tuple[Principal, list[Grant]]:
        """The caller with the groups they are in, and what is granted to them."""
        if OPERATOR_GROUP in by.groups:
            return by, []
        everything = [Grant(f"group:{ANONYMOUS_GROUP}", Role.UPDATER)] if self.open else []
        if by.name is None or not self._still(conn, by):
            nobody = ANONYMOUS._replace(token=by.token)
            return nobody, [*grants.list_of_everybody(conn, authenticated=False), *everything]
        if self._file.knows(by.name):
            everything.append(Grant(f"user:{by.name}", Role.UPDATER))
        groups_now = frozenset({AUTHENTICATED_GROUP, *groups.list_of_user(conn, by.name)})
        own = grants.list_of_user(conn, by.name)
        all_signed_in = grants.list_of_everybody(conn, authenticated=True)
        return by._replace(groups=groups_now), [*own, *all_signed_in, *everything]

    def _still(self, conn: Connection, by: Principal) -> bool:
        """Whether the caller would still be let in as they were."""
        assert by.name is not None
        user = users.find(conn, by.name)
        if user is not None and user.disabled:
            return False
        if by.token is not None:
            token = tokens.find(conn, by.token.token_id)
            return token is not None and token.revoked is None and token.user == by.name
        return by.via == "proxy" or user is not None or self._file.knows(by.name)

    def _stamped(self, conn: Connection) -> None:
        """Take a new state where the rights of this transaction are newer."""
        found = rights.generation(conn)
        with self._lock:
            now = Stamp(*found, self._file.version)
            if now != self._state.stamp and now[:2] >= self._state.stamp[:2]:
                self._state = _State(now)


def _key(by: Principal) -> Hashable:
    return by.name, by.groups, by.token, by.via


def _remember(memory: dict[Any, Any], key: Hashable, value: object, most: int) -> None:
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
