"""What an index has of a project, before anything is kept back, and what it lists nothing of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pidex.catalogue import admissions, files, indexes, journal, places, projects, statuses, tombstones
from pidex.catalogue.engine import Connection
from pidex.core import folder, names, upstreampages
from pidex.core.errors import BadName
from pidex.core.model import File, Page, Place, Status
from pidex.core.permissions import Visibility
from pidex.core.sentences import said


class Listing(NamedTuple):
    """What an index has of a project, before anything is kept back: the page, and all its files."""

    page: Page
    files: tuple[File, ...]


def listing_of(conn: Connection, index: indexes.Index, project: str) -> Listing | None:
    """What the index has of a project; None where it has none. All that is served comes through here."""
    marker = statuses.find(conn, index.id, project)
    known = projects.find(conn, index.id, project)
    if marker is None and known is None:
        return None
    found = files.list_project(conn, index.id, project, index=index.name)
    every = ordered(found)
    status = Status.ACTIVE if marker is None else marker.status
    page = Page(
        index=index.name,
        project=project,
        name=project if known is None else known.name,
        serial=serial_of(conn, index, project) if known is None else known.serial,
        versions=versions_of(every),
        files=() if status is Status.QUARANTINED else every,
        status=status,
        status_reason=None if marker is None else marker.reason,
    )
    return Listing(page, every)


def ordered(found: Sequence[File]) -> tuple[File, ...]:
    """Files by (version, filename), as pages have them."""
    keys = {version: names.version_key(version) for version in {file.version for file in found}}
    return tuple(sorted(found, key=lambda file: (keys[file.version], file.filename)))


def versions_of(found: Sequence[File]) -> tuple[str, ...]:
    """The versions of ordered files: one line a release, 1.0 and 1.0.0 are the same (VER-2)."""
    versions: dict[str, str] = {}
    for version in dict.fromkeys(file.version for file in found):
        versions.setdefault(names.canonical_version(version), version)
    return tuple(names.normalized_version(version) for version in versions.values())


def project_of(filename: str) -> str | None:
    """The project that a file name says, of upstreams' own kinds too; None where it says none."""
    try:
        return upstreampages.identity(filename)[0]
    except BadName:
        return None


def is_of(visible: Visibility, filename: str) -> bool:
    """Whether a file of that name would be of a project that may be seen; of none is of none."""
    project = project_of(filename)
    return project is not None and visible.sees(project)


def serial_of(conn: Connection, index: indexes.Index, project: str) -> int:
    return journal.latest(conn, index.id, [project]).get(project, 0)


def lost(
    conn: Connection, index: indexes.Index, unlisted: Sequence[tuple[Place, str | None]]
) -> tuple[Sequence[tuple[Place, str]], Sequence[tuple[Place, str]]]:
    """Of whole places that are not listed: the shadowed with the path that is, the withheld with the reason.

    Asked of the same function that elects; a place that is only waiting to be adopted is in neither.
    """
    served = {place.key: path for place, path in unlisted}
    asked = {(place.root, place.path) for place, _ in unlisted}
    all_places = places.find_by_keys(conn, index.id, served)
    admitted = admissions.find_many(conn, index.id, served)
    burnt = tombstones.find_many(conn, index.id, served)
    shadowed, withheld = [], []
    for key in sorted(served):
        election = folder.elect(
            all_places.get(key, ()),
            admitted.get(key),
            good=True,
            mutability=index.mutability,
            burnt=burnt_sentence(burnt, key),
        )
        path = served[key]
        if path is not None:
            shadowed += [(place, path) for place in election.shadowed if (place.root, place.path) in asked]
        withheld += [(item.place, item.reason) for item in election.withheld]
    return shadowed, withheld


def burnt_sentence(found: Mapping[str, tombstones.Tombstone], key: str) -> str | None:
    if key not in found:
        return None
    stone = found[key]
    told = said(
        "%(filename)s was deleted by %(by)s, and the name stays burnt", filename=stone.filename, by=stone.by
    )
    return said("%(what)s: %(reason)s", what=told, reason=stone.reason) if stone.reason else told
