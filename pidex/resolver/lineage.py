"""An index with its bases: what each has to do with a name, and so who answers for it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pidex.catalogue import indexes, origins, places, reservations, scans
from pidex.catalogue.engine import Connection
from pidex.core import layers
from pidex.core.errors import Busy, Withheld
from pidex.core.layers import Answer, Choice, Layer
from pidex.core.model import ProjectName
from pidex.history import RETRY_SECONDS, quarantined

#: An index, then its bases in the order in which they answer.
Lineage = Sequence[indexes.Index]


def lineage_of(conn: Connection, index: indexes.Index) -> Lineage:
    """An index with all that it has contents of."""
    if not index.bases:
        return (index,)
    every = {each.name: each for each in indexes.list(conn)}
    line = layers.order(index.name, {name: each.bases for name, each in every.items()})
    return [every[name] for name in line]


def choose(conn: Connection, line: Lineage, project: str, *, upstreams: bool = True) -> Choice:
    """Who answers for a project. `upstreams` False: nobody outside can be asked.

    `Busy` while that cannot be known: until its folders are listed, an index may have any name.
    """
    claims = origins.list_project(conn, [each.id for each in line], project)
    kept = {
        each.index: each.pattern
        for each in reversed(reservations.list(conn, [each.id for each in line]))
        if fnmatchcase(project, each.pattern)
    }
    inside = origins.inside(conn, [each.id for each in line], project)
    found = [
        Layer(
            each.name,
            each.id in inside,
            claims.get(each.name),
            kept.get(each.name),
            each.upstreams if upstreams else (),
        )
        for each in line
    ]
    choice = layers.choose(found)
    if choice.answer is not Answer.BLOCKED:
        _await(conn, line, choice)
    return choice


def listed(conn: Connection, index: indexes.Index) -> bool:
    """Whether an index's folders were listed since the start, so that what it does not know is not there."""
    return not index.watched or scans.find(conn, index.id).listed


def was_listed(conn: Connection, index: indexes.Index) -> bool:
    """Whether an index's folders were ever listed to their end."""
    scan = scans.find(conn, index.id)
    return not index.watched or scan.listed or scan.finished is not None


def coming(conn: Connection, index: indexes.Index) -> Sequence[ProjectName]:
    """Projects of which every file may still have to be read."""
    unread = places.unread_projects(conn, index.id) - quarantined(conn, index)
    return [ProjectName(project, project, 0) for project in sorted(unread)]


def refuse(choice: Choice, project: str) -> None:
    """Raise `Withheld` where nobody may answer for a name."""
    if choice.answer is Answer.BLOCKED:
        raise Withheld(f"Project {project} is blocked: {choice.because}. `pidex why {project}` tells more.")
    if choice.answer is Answer.RESERVED:
        raise Withheld(
            f"The name {project} is reserved: {choice.because}, and nothing of that name is here. "
            "Nobody outside is asked for it."
        )


def _await(conn: Connection, line: Lineage, choice: Choice) -> None:
    """Every index before the one that answers alone has to be known not to have the name; else all."""
    for each in line:
        if choice.answer is Answer.OWN and each.name == choice.indexes[0]:
            return
        if each.name not in choice.indexes and not listed(conn, each):
            raise Busy(
                f"The folders of index {each.name} are being listed. Try again in {RETRY_SECONDS} s.",
                retry_after=RETRY_SECONDS,
            )
