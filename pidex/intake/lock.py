"""Whose a name is, as files meet it that come in: refusals, claims and alarms of the origin lock."""

from __future__ import annotations

from collections.abc import Sequence

from pidex.catalogue import audit, indexes, origins, projects, reservations
from pidex.catalogue.engine import Connection
from pidex.core import layers
from pidex.core.errors import Forbidden
from pidex.core.interfaces import Mirrored
from pidex.core.layers import Origin
from pidex.core.model import Principal

#: What the audit calls a name of ours that an upstream has too.
SHADOWING = "origin.shadowing"


def check(
    conn: Connection, here: indexes.Index, project: str, mirror: Mirrored | None, *, claim: bool = False
) -> None:
    """Raise `Forbidden` where a name that comes in is not ours: blocked, or an upstream's.

    By what is stored here of upstreams; none is asked. `claim`: it is to be ours from now on.
    """
    decided = origins.kind(conn, here.id, project)
    if decided is Origin.BLOCKED:
        raise Forbidden(
            f"The name {project} is blocked in index {here.name}. `pidex origin show {project}` says by whom."
        )
    if claim or decided in (Origin.LOCAL, Origin.MERGED):
        return
    if decided is Origin.UPSTREAM:
        raise Forbidden(_explained(project, "as was decided here, it is that of an upstream"))
    if mirror is None or projects.find(conn, here.id, project) is not None:
        return
    found = _having(indexes.reached(conn, here), project, mirror)
    if found is not None and not layers.keeps(reservations.list(conn, [here.id]), project):
        raise Forbidden(_explained(project, f"upstream {found} has a project of that name"))


def alarm(
    conn: Connection,
    here: indexes.Index,
    claimed: Sequence[str],
    mirror: Mirrored | None,
    *,
    by: Principal,
    at: int,
) -> Sequence[str]:
    """Write to the audit which names of ours, new ones, an upstream has too; sentences for the log.

    What lies in a folder is followed, whatever others have: somebody should know. `at` in microseconds.
    """
    if mirror is None or not claimed:
        return ()
    said = []
    sources = indexes.reached(conn, here)  # once: a first scan claims many names at a time
    for project in claimed:
        found = _having(sources, project, mirror)
        if found is not None:
            audit.record(
                conn, by, SHADOWING, index=here.name, project=project, after={"upstream": found}, at=at
            )
            said.append(
                f"project {project} of index {here.name} has the name of one that upstream {found} has: "
                "from now on only what lies here is shown under it"
            )
    return said


def _having(sources: Sequence[str], project: str, mirror: Mirrored) -> str | None:
    """The first upstream of the index, or of those that have it as a base, whose stored list has a name."""
    return next((each for each in sources if mirror.has_name(each, project)), None)


def _explained(project: str, why: str) -> str:
    return (
        f"The name {project} is not yours to upload to: {why}. With a file of yours under it, everybody here "
        "would get yours in place of theirs. Choose another name; or, if that is meant, claim it: "
        f"`pidex origin claim {project}`, `pidex upload --claim`, or the form field pidex_claim=yes."
    )
