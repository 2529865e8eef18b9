"""How an index lists a file, and what the journal says when that changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from pidex.core import names
from pidex.core.model import Admission, Facts, File, PackageType, Place, Shelf, Stat

#: The journal's word for files whose bytes are the same and lie elsewhere, or under another time: nothing
#: that a page shows, but what a process that remembers the row must know.
REFRESH = "refresh"
#: In the place of a project: all pages of an index say other things.
EVERYTHING = "*"


class Change(NamedTuple):
    """One line for the journal: `action` in PyPI's words (protocol 13.2)."""

    project: str
    action: str
    version: str | None = None
    filename: str | None = None


def listed(place: Place, facts: Facts, admission: Admission, shelf: Shelf, stat: Stat) -> File:
    """The row of a file: named as its place is, described as its bytes are, dated as it was admitted.

    `stat` is that of the bytes on `shelf`. Raises `BadName` where the file name says no project.
    """
    distribution = names.parse(place.filename)
    spelled = facts.name
    if spelled is None or names.normalize(spelled) != distribution.project:
        spelled = distribution.name
    metadata_sha256 = None
    if facts.metadata is not None and distribution.packagetype is PackageType.WHEEL:
        metadata_sha256 = hashlib.sha256(facts.metadata).hexdigest()
    return File(
        filename=place.filename,
        project=distribution.project,
        name=spelled,
        version=distribution.version,
        packagetype=distribution.packagetype,
        python_version=distribution.python_version,
        sha256=facts.sha256,
        blake2b_256=facts.blake2b_256,
        md5=facts.md5,
        size=facts.size,
        upload_time=admission.first_seen,
        requires_python=facts.requires_python,
        metadata_sha256=metadata_sha256,
        shelf=shelf,
        root=place.root,
        path=place.path,
        stat=stat,
    )


def journal(
    before: Mapping[str, File],
    changes: Mapping[str, File | None],
    releases: Mapping[str, Mapping[str, int]],
) -> list[Change]:
    """What to tell of changed rows, by casefolded file name; None: no longer listed.

    `before` has the rows as they were. `releases` are the numbers of files of each version, as spelled, of
    the touched projects, before the change.
    """
    counts: dict[str, dict[str, int]] = {}
    for project, found in releases.items():
        counted: dict[str, int] = {}
        counts[project] = counted
        for version, number in found.items():
            release = names.canonical_version(version)
            counted[release] = counted.get(release, 0) + number
    told: list[Change] = []
    moved: dict[str, Change] = {}
    for key in sorted(changes):
        old, new = before.get(key), changes[key]
        if old is not None and new is not None and (old.sha256, old.filename) == (new.sha256, new.filename):
            moved.setdefault(new.project, Change(new.project, REFRESH))
            continue
        if old is not None:
            told.append(Change(old.project, f"remove file {old.filename}", old.version, old.filename))
            told += _left(counts.setdefault(old.project, {}), old, for_good=new is None)
        if new is not None:
            told += _entered(counts.setdefault(new.project, {}), new, anew=old is None)
            action = f"add {new.python_version} file {new.filename}"
            told.append(Change(new.project, action, new.version, new.filename))
    return told + list(moved.values())


def _left(counts: dict[str, int], file: File, *, for_good: bool) -> list[Change]:
    release = names.canonical_version(file.version)
    counts[release] = counts.get(release, 1) - 1
    if counts[release] > 0 or not for_good:
        return []
    del counts[release]
    told = [Change(file.project, "remove release", file.version)]
    if not counts:
        told.append(Change(file.project, "remove project"))
    return told


def _entered(counts: dict[str, int], file: File, *, anew: bool) -> list[Change]:
    release = names.canonical_version(file.version)
    told = []
    if anew and not counts:
        told.append(Change(file.project, "create"))
    if anew and release not in counts:
        told.append(Change(file.project, "new release", file.version))
    counts[release] = counts.get(release, 0) + 1
    return told
