"""Marks on what is there: releases and files that are yanked, and the status of projects."""

from __future__ import annotations

from collections.abc import Mapping

from pidex.catalogue import audit, indexes, journal, projects, statuses, yanks
from pidex.catalogue.engine import Connection
from pidex.core import changes, names
from pidex.core.changes import Change
from pidex.core.errors import BadName, BadRequest, Busy, Conflict, NotFound
from pidex.core.layers import Answer
from pidex.core.limits import MAX_VERSION
from pidex.core.model import Principal, Status
from pidex.core.permissions import Action
from pidex.curator.desk import Desk, Target, absent, index_of, name_of, outcome
from pidex.resolver.lineage import choose, lineage_of


class Marks(Desk):
    """Yanks and statuses."""

    def yank(
        self,
        index: str,
        project: str,
        *,
        version: str | None = None,
        filename: str | None = None,
        reason: str = "",
        by: Principal,
    ) -> Change:
        """Yank a release or one file (PEP 592), or change the reason. It stays downloadable (YNK-3).

        Where an upstream answers for the project, what that has is yanked in this index, seen or not.
        """
        reason = changes.sentence(reason, "reason")
        return self._mark(index, project, reason, version=version, filename=filename, by=by)

    def unyank(
        self,
        index: str,
        project: str,
        *,
        version: str | None = None,
        filename: str | None = None,
        by: Principal,
    ) -> Change:
        """Take back the yank of a release or of a file: of exactly what was yanked.

        Raises `Conflict` where the release (the file) itself is not yanked, but its files (its release) are.
        """
        return self._mark(index, project, None, version=version, filename=filename, by=by)

    def _mark(
        self,
        index: str,
        project: str,
        reason: str | None,
        *,
        version: str | None,
        filename: str | None,
        by: Principal,
    ) -> Change:
        if (version is None) == (filename is None):
            raise BadRequest("Name a release (NAME==VERSION) or one file of the project.")
        project = self._allowed(by, Action.YANK, index, project)
        with self._catalogue.write() as conn:
            target = self._offered(conn, index, project, version, filename)
            release, subject = _spelled(target)
            scope: yanks.Scope = "release" if version is not None else "file"
            what = changes.release(version) if version is not None else str(filename).casefold()
            marks = {
                (each.scope, each.target): each for each in yanks.list_project(conn, target.index.id, project)
            }
            before = marks.get((scope, what))
            changed = (before.reason if before else None) != reason
            if reason is None and before is None:
                self._not_yanked(target, marks)
            if changed:
                now = self._now()
                if reason is None:
                    yanks.lift(conn, target.index.id, project, scope, what)
                else:
                    yanks.put(
                        conn, target.index.id, yanks.Yank(project, scope, what, reason, name_of(by), now)
                    )
                verb = "unyank" if reason is None else "yank"
                told = f"{verb} file {subject}" if subject else f"{verb} release"
                self._tell(conn, target, by, [journal.Event(project, told, release, subject)])
                audit.record(
                    conn, by, f"{scope}.{verb}", index=index, project=project, at=now,
                    subject=subject or release,
                    before=None if before is None else {"yanked": before.reason},
                    after=None if reason is None else {"yanked": reason},
                )  # fmt: skip
            return outcome(target, changed)

    def _offered(
        self, conn: Connection, index: str, project: str, version: str | None, filename: str | None
    ) -> Target:
        """Own files, or a release or file of upstreams, of which no catalogue knows. Raises `NotFound`."""
        try:
            return self._target(conn, index, project, version, filename)
        except NotFound:
            here = index_of(conn, index)
            if not (_may_be(project, version, filename) and _is_mirrored(conn, here, project)):
                raise
        return Target(here, project, version, filename, ())

    @staticmethod
    def _not_yanked(target: Target, marks: Mapping[tuple[yanks.Scope, str], yanks.Yank]) -> None:
        """Raise `Conflict` where what was named is yanked by another name."""
        if target.filename is not None:
            release, _ = _spelled(target)
            if ("release", changes.release(release)) in marks:
                raise Conflict(
                    f"{target.filename} is yanked with its release: unyank {target.project}=={release}."
                )
            return
        own = [file.filename for file in target.files if ("file", file.filename.casefold()) in marks]
        if own:
            raise Conflict(
                f"The release {target.version} is not yanked, but single files of it are:"
                f" unyank {', '.join(own)}."
            )

    # --- status ---------------------------------------------------------------------------------------------

    def set_status(self, index: str, project: str, status: str, *, reason: str = "", by: Principal) -> Change:
        """Set a project's status (PEP 792): active, deprecated, archived or quarantined.

        Of the index, its bases or an upstream: what is said here holds here, and in heirs. A quarantined
        project has a page without files, and its files cannot be had (STA-2).
        """
        if status not in set(Status):
            raise BadRequest(f"There is no status {status!r}: it is one of {', '.join(Status)}.")
        reason = changes.sentence(reason, "reason")
        project = self._allowed(by, Action.MANAGE, index, project)
        wanted = (Status(status), reason or None)
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            before = statuses.find(conn, here.id, project)
            if before is None and not _is_shown(conn, here, project):
                raise absent(project)
            target = Target(here, project, None, None, ())
            known = (before.status, before.reason) if before is not None else (Status.ACTIVE, None)
            if known == wanted:
                return outcome(target, changed=False)
            now = self._now()
            if wanted == (Status.ACTIVE, None):
                statuses.clear(conn, here.id, project)
            else:
                statuses.put(conn, here.id, statuses.ProjectStatus(project, *wanted, name_of(by), now))
            self._tell(conn, target, by, [journal.Event(project, f"set status {status}")])
            audit.record(
                conn, by, "project.status", index=index, project=project, at=now,
                before={"status": known[0], "reason": known[1]},
                after={"status": wanted[0], "reason": wanted[1]},
            )  # fmt: skip
            return outcome(target, changed=True)


def _spelled(target: Target) -> tuple[str, str | None]:
    """The version of a release or file as it is written, and the file's name."""
    if target.files:
        first = target.files[0]
        return first.version, None if target.filename is None else first.filename
    if target.filename is None:
        return str(target.version), None
    return names.parse(target.filename).version, target.filename


def _may_be(project: str, version: str | None, filename: str | None) -> bool:
    """Whether a project can have a release or file of that name at all."""
    if filename is None:
        return version is not None and len(version) <= MAX_VERSION and names.is_version(version)
    try:
        return names.parse(filename).project == project
    except BadName:
        return False


def _is_shown(conn: Connection, index: indexes.Index, project: str) -> bool:
    """Whether anybody answers for a project here: the index, a base, or perhaps an upstream."""
    if any(projects.find(conn, each.id, project) is not None for each in lineage_of(conn, index)):
        return True
    return names.is_name(project) and _is_mirrored(conn, index, project)


def _is_mirrored(conn: Connection, index: indexes.Index, project: str) -> bool:
    """Whether upstreams answer for a project: alone, or beside the index and its bases."""
    try:
        choice = choose(conn, lineage_of(conn, index), project)
    except Busy:  # the folders are being listed: who answers then decides what the mark is about
        return any(each.upstreams for each in lineage_of(conn, index))
    return bool(choice.upstreams) and choice.answer in (Answer.UPSTREAM, Answer.MERGED)
