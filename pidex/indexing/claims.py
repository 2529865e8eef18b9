"""Whose a name is: claims and reservations, decided by who administers an index or owns a project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pidex.catalogue import indexes, origins, reservations
from pidex.catalogue.engine import Connection
from pidex.core import changes, layers, names
from pidex.core.errors import BadRequest, Busy, Conflict, NotFound
from pidex.core.layers import Claim, Origin, Reservation
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.indexing.office import Office, index_of
from pidex.resolver.lineage import choose, lineage_of

#: Claims in one answer.
MOST_CLAIMS = 10_000
_PATTERN = re.compile(r"[a-z0-9*?\[\]!-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OriginView:
    """Whose a name is in an index. `answer`: who answers for it now ('own', 'upstream', ...), and why.

    `claims` and `reservations` are those of the index and its bases. `upstreams`: those whose stored lists
    have the name.
    """

    index: str
    project: str
    answer: str
    because: str
    indexes: tuple[str, ...]
    upstreams: tuple[str, ...]
    claims: tuple[Claim, ...]
    reservations: tuple[Reservation, ...]
    changed: bool = False


class Claims(Office):
    """Claims and reservations."""

    def origin(self, index: str, project: str, *, by: Principal) -> OriginView:
        """Whose a name is, and who answers for it."""
        project = self._project(project)
        self._accounts.require(by, Action.LIST, index, project)
        with self._catalogue.read() as conn:
            return self._origin(conn, index_of(conn, index), project, by)

    def list_origins(self, index: str, *, by: Principal) -> Sequence[Claim]:
        """What was decided of names in an index, of those that the caller may know of."""
        self._accounts.require(by, Action.LIST, index)
        visible = self._accounts.visibility(by, index)
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            found = (each for each in origins.list(conn, here.id) if visible.sees(each.project))
            return [*islice(found, MOST_CLAIMS)]

    def claim(self, index: str, project: str, *, reason: str = "", by: Principal) -> OriginView:
        """Make a name ours: no upstream is asked for it, with files of it here or without."""
        return self._decide(index, project, Origin.LOCAL, reason, by=by)

    def merge(self, index: str, project: str, *, reason: str = "", by: Principal) -> OriginView:
        """Show files of ours and of upstreams together under a name: own file names win."""
        return self._decide(index, project, Origin.MERGED, reason, by=by)

    def block(self, index: str, project: str, *, reason: str = "", by: Principal) -> OriginView:
        """Show nothing under a name, neither ours nor anybody's."""
        return self._decide(index, project, Origin.BLOCKED, reason, by=by)

    def release(
        self, index: str, project: str, *, to: str | None = None, reason: str = "", by: Principal
    ) -> OriginView:
        """Give a name up: what lies here is still shown alone, else upstreams are asked; `to`: only that one.

        Raises `Conflict` where files of ours lie under a name that is to be one upstream's.
        """
        if to is None:
            return self._decide(index, project, None, reason, by=by)
        return self._decide(index, project, Origin.UPSTREAM, reason, to=to, by=by)

    def reserve(self, index: str, pattern: str, *, reason: str = "", by: Principal) -> Sequence[Reservation]:
        """Keep all names that match a pattern ('acme-*'): of them nothing is asked for outside."""
        self._administers(by, index)
        pattern = _pattern(pattern)
        reason = changes.sentence(reason, "reason")
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            kept = {each.pattern: each for each in reservations.list(conn, [here.id])}
            if pattern not in kept or (kept[pattern].reason or "") != reason:
                made = Reservation(index, pattern, by.name or "anonymous", self._now(), reason or None)
                reservations.put(conn, here.id, made)
                self._told(conn, by, "origin.reserve", here, subject=pattern, after={"reason": reason})
            return reservations.list(conn, [here.id])

    def unreserve(self, index: str, pattern: str, *, by: Principal) -> Sequence[Reservation]:
        """Let the names of a pattern go again."""
        self._administers(by, index)
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            if not reservations.remove(conn, here.id, _pattern(pattern)):
                raise NotFound(
                    f"Index {index} reserves no {pattern[:80]}. `pidex origin list` shows what it does."
                )
            self._told(conn, by, "origin.unreserve", here, subject=_pattern(pattern))
            return reservations.list(conn, [here.id])

    def list_reservations(self, index: str, *, by: Principal) -> Sequence[Reservation]:
        """What an index keeps for itself."""
        self._administers(by, index)
        with self._catalogue.read() as conn:
            return reservations.list(conn, [index_of(conn, index).id])

    def _decide(
        self,
        index: str,
        project: str,
        origin: Origin | None,
        reason: str,
        *,
        to: str | None = None,
        by: Principal,
    ) -> OriginView:
        project, reason = self._project(project), changes.sentence(reason, "reason")
        # Who owns a project may make its name ours; what lets others in, or shuts out, is the index's.
        self._accounts.require(by, Action.MANAGE if origin is Origin.LOCAL else Action.ADMIN, index, project)
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            before = origins.find(conn, here.id, project)
            if to is not None:
                self._pinned(conn, here, project, to)
            known = None if before is None else (before.origin, before.upstream, before.reason or "")
            wanted = None if origin is None else (origin, to, reason)
            if known != wanted:
                if origin is None:
                    origins.release(conn, here.id, project)
                else:
                    made = Claim(
                        index, project, origin, to, by.name or "anonymous", self._now(), reason or None
                    )
                    origins.put(conn, here.id, made)
                self._told(
                    conn, by, f"origin.{_VERBS[origin]}", here, project=project,
                    before=None if known is None else {"origin": known[0], "upstream": known[1]},
                    after=None if wanted is None else {"origin": wanted[0], "upstream": to, "reason": reason},
                )  # fmt: skip
            return self._origin(conn, here, project, by, changed=known != wanted)

    @staticmethod
    def _pinned(conn: Connection, here: indexes.Index, project: str, to: str) -> None:
        if to not in here.upstreams:
            raise BadRequest(
                f"Index {here.name} has no upstream {to[:80]}: it has {', '.join(here.upstreams) or 'none'}."
            )
        if origins.inside(conn, [here.id], project):
            raise Conflict(
                f"Files of {project} lie in index {here.name}: a name with files is ours. Remove them first, "
                f"or merge it: `pidex origin merge {project}`."
            )

    def _origin(
        self, conn: Connection, here: indexes.Index, project: str, by: Principal, *, changed: bool = False
    ) -> OriginView:
        """What those layers say of a name that the caller may hear of it."""
        line = [
            each
            for each in lineage_of(conn, here)
            if each.name == here.name or self._accounts.visibility(by, each.name).sees(project)
        ]
        numbers = [each.id for each in line]
        claims = origins.list_project(conn, numbers, project)
        kept = [each for each in reservations.list(conn, numbers) if layers.keeps([each], project)]
        having = [
            each
            for each in dict.fromkeys(name for layer in line for name in layer.upstreams)
            if self._mirror is not None and self._mirror.has_name(each, project)
        ]
        try:
            choice = choose(conn, line, project)
            answer, because, inside = choice.answer.value, choice.because, choice.indexes
        except Busy as error:
            answer, because, inside = "unknown", str(error), ()
        return OriginView(
            here.name, project, answer, because, inside, tuple(having),
            tuple(claims[each.name] for each in line if each.name in claims), tuple(kept), changed,
        )  # fmt: skip

    @staticmethod
    def _project(project: str) -> str:
        if not names.is_name(project):
            raise BadRequest(f"{project[:100]!r} cannot be the name of a project.")
        return names.normalize(project)


_VERBS = {
    Origin.LOCAL: "claim",
    Origin.MERGED: "merge",
    Origin.BLOCKED: "block",
    Origin.UPSTREAM: "release",
    None: "release",
}


def _pattern(text: str) -> str:
    """A pattern of normalised names. Raises `BadRequest`, also for one that every name fits."""
    pattern = re.sub(r"[-_.]+", "-", text).lower()
    if _PATTERN.fullmatch(pattern) is None:
        raise BadRequest(f"{text[:80]!r} is no name and no pattern of names, such as acme-*.")
    if not re.sub(r"[*?]", "", pattern):
        raise BadRequest(
            "A reservation of every name leaves upstreams nothing: take them from the index instead."
        )
    return pattern
