"""Whether an index takes a file under a name: what is there, what was, and what people decided."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pidex.catalogue import (
    admissions,
    audit,
    contents,
    deliveries,
    files,
    grants,
    indexes,
    intents,
    places,
    projects,
    rights,
    statuses,
    tombstones,
    users,
)
from pidex.catalogue.engine import Connection
from pidex.core import people, uploads
from pidex.core.errors import BadRequest, Busy, FileDeleted, FileExists, Forbidden
from pidex.core.folder import Key
from pidex.core.model import Distribution, PackageType, Place, PlaceState, Principal, Status
from pidex.core.names import canonical_version
from pidex.core.permissions import Grant, Role

#: What a client is told to wait, in seconds, while files are still being read.
RETRY_SECONDS = 5


class Judgement(NamedTuple):
    """`identical`: the index lists these bytes under the name. `replaces`: where they go over others."""

    identical: bool = False
    replaces: Key | None = None


def check_status(conn: Connection, here: indexes.Index, project: str) -> None:
    """Raise `Forbidden` where a project takes no new files (STA-1)."""
    found = statuses.find(conn, here.id, project)
    if found is not None and found.status in (Status.ARCHIVED, Status.QUARANTINED):
        reason = f" Reason: {found.reason}" if found.reason else ""
        raise Forbidden(f"Project {project!r} is {found.status.value} and does not accept new files.{reason}")


def judge(
    conn: Connection,
    here: indexes.Index,
    distribution: Distribution,
    *,
    sha256: str,
    one_sdist: bool,
    overwrite: bool,
) -> Judgement:
    """Rows 8 and 15 to 19 of the checks (protocol.md 7.3). Raises what they answer."""
    key, filename = distribution.filename.casefold(), distribution.filename
    check_status(conn, here, distribution.project)
    if not admissions.is_known(conn, here.id, key):
        _check_project(conn, here, distribution)
        _check_release(conn, here, distribution, one_sdist=one_sdist)
        return Judgement()
    listed = files.find_by_key(conn, here.id, key)
    if listed is not None and listed.sha256 == sha256:
        return Judgement(identical=True)
    if tombstones.find(conn, here.id, key) is not None:
        raise FileDeleted(
            "This filename was previously used by a file that has since been deleted. "
            f"Use a different version. ({filename!r})"
        )
    if listed is not None:
        if here.mutability == "volatile" and overwrite:
            return Judgement(replaces=(listed.root, listed.path))
        raise _exists(listed.filename, listed.blake2b_256)
    there = places.find_by_keys(conn, here.id, [key]).get(key, ())
    if any(place.state is PlaceState.UNREAD for place in there):
        raise Busy(
            f"A file {filename} lies in the folder and is being read. Try again in a moment.",
            retry_after=RETRY_SECONDS,
        )
    for place in there:
        if place.path.casefold() == key:
            raise _unlisted(place)
    former = admissions.find(conn, here.id, key)
    if former is not None and here.mutability == "immutable" and former.sha256 != sha256:
        facts = contents.find(conn, former.sha256, distribution.packagetype)
        raise _exists(former.filename, facts.blake2b_256 if facts is not None else None)
    _check_release(conn, here, distribution, one_sdist=one_sdist)
    return Judgement()


def is_new(conn: Connection, here: indexes.Index, project: str) -> bool:
    """Whether a project has no file yet."""
    return projects.find(conn, here.id, project) is None


class Sent(NamedTuple):
    """A file that came in; `fresh`: it is the first of its project."""

    intent: intents.Intent
    distribution: Distribution
    fresh: bool


def note(
    conn: Connection, here: indexes.Index, sent: Iterable[Sent], by: Principal, *, how: str, now: float
) -> None:
    """Write who sent files; who sends a project's first becomes its owner."""
    at, events, owned = int(now * 1_000_000), [], False
    for intent, distribution, fresh in sent:
        project = distribution.project
        after = {
            "sha256": intent.sha256,
            "size": intent.size,
            "how": how,
            "version": distribution.version,
        }
        events.append(audit.Event(deliveries.ACTION, here.name, project, intent.filename, after=after))
        if not fresh or by.name is None or not people.is_name(by.name):
            continue
        users.ensure(conn, by.name, at=at)
        grant = Grant(f"user:{people.identity(by.name)}", Role.OWNER, here.name, project)
        if grants.add(conn, grant, by=by.name, at=at):
            owned = True
            role = {"role": grant.role.value}
            events.append(audit.Event("grant.add", here.name, project, grant.subject, after=role))
    if owned and by.name is not None:
        rights.announce(conn, here.id, at=at, by=by.name)
    audit.record_many(conn, by, events, at=at)


def _exists(filename: str, blake2b_256: str | None) -> FileExists:
    of = f", with blake2_256 hash '{blake2b_256}'" if blake2b_256 else ""
    return FileExists(
        f"File already exists ({filename!r}{of}). The bytes of a name do not change: use a new version."
    )


def _unlisted(place: Place) -> FileExists:
    reason = place.reason or "it is withheld"
    return FileExists(
        f"File already exists ({place.filename!r}): it lies in the folder and is not listed, because "
        f"{reason}. Remove it there, or use a new version."
    )


def _check_project(conn: Connection, here: indexes.Index, distribution: Distribution) -> None:
    """Whether the name may become a project, where there is none of it yet."""
    if is_new(conn, here, distribution.project):
        others = (other.project for other in projects.list(conn, here.id, withheld=True))
        uploads.check_new_project(distribution, uploads.policy_of(here.policy), others)


def _check_release(
    conn: Connection, here: indexes.Index, distribution: Distribution, *, one_sdist: bool
) -> None:
    if not one_sdist or distribution.packagetype is not PackageType.SDIST:
        return
    release = canonical_version(distribution.version)
    for file in files.list_project(conn, here.id, distribution.project):
        if file.packagetype is PackageType.SDIST and canonical_version(file.version) == release:
            raise BadRequest("Only one sdist may be uploaded per release.")
