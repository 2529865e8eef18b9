"""What an index said at an earlier time: contents as they were, rights, claims and rules as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pidex.catalogue import admissions, contents, files, indexes, journal, origins, projects, tombstones
from pidex.catalogue.engine import Connection
from pidex.core import listing, names, timeline
from pidex.core.errors import BadName, NotFound
from pidex.core.interfaces import Mirrored, Storage
from pidex.core.layers import Answer, Choice, Source
from pidex.core.model import Admission, File, Page, Place, PlaceState, ProjectName, Shelf, Status
from pidex.core.timeline import Event, Version
from pidex.resolver.layered import Layered, Sees
from pidex.resolver.lineage import choose
from pidex.resolver.listing import Listing, ordered, versions_of
from pidex.resolver.sheets import Sheets

#: Lines of a project's journal that are read again.
READ_AGAIN = 100_000


class Past(Layered):
    """A layered index at a time (`at`, microseconds since 1970). Own files are those that are still held.

    What upstreams had is told by the upload times that they say, and their yanks count from when they were
    first seen here. Who answers for a name is decided as now, among those that had it then.
    """

    def __init__(
        self,
        conn: Connection,
        here: indexes.Index,
        mirror: Mirrored | None,
        sheets: Sheets,
        sees: Sees,
        *,
        at: int,
        storage: Storage,
    ) -> None:
        super().__init__(conn, here, mirror, sheets, sees, whole=False)
        self._at, self._storage = at, storage
        #: File names that were there then, and whose bytes are gone.
        self.lost: list[str] = []

    def page(self, project: str) -> Page:
        """As `Layered.page`; `NotFound` where nobody had the project then."""
        choice = choose(self._conn, self.line, project, upstreams=self._mirror is not None)
        self._refuse(choice, project)
        _, marker = self._marker(project)
        page = self._then(choice, project)
        if page is None:
            raise NotFound(self._nothing(project))
        if marker is not None:
            page = replace(page, status=marker.status, status_reason=marker.reason)
        closed = page.status is Status.QUARANTINED
        return replace(page, files=() if closed else page.files, layers=tuple(sorted(self._needed)))

    def _nothing(self, project: str) -> str:
        return f"Index {self._here.name} had no project {project} then."

    def _then(self, choice: Choice, project: str) -> Page | None:
        if choice.answer is Answer.MERGED:
            everywhere = choice._replace(indexes=tuple(each.name for each in self.line))
            return self._merged(everywhere, project)
        for each in self.line:
            found = self._listing(each, project)
            if found is not None:
                return replace(found.page, index=self._here.name)
        return self._outside(choice.upstreams, project)

    def _listing(self, index: indexes.Index, project: str) -> Listing | None:
        """What an index had of a project; None where it had nothing."""
        events = _events(self._conn, index, project)
        versions = _versions(self._conn, index, {each.filename for each in events if each.filename})
        then = timeline.then(events, versions, self._at)
        if not then.files:
            return None
        self._require(index.name, project)
        now = {
            file.filename.casefold(): file
            for file in files.list_project(self._conn, index.id, project, index=index.name)
        }
        found: list[File] = []
        for key, version in then.files.items():
            file = now.get(key)
            if file is None or file.sha256 != version.sha256:
                file = self._revived(version, index.name)
            if file is None:
                self.lost.append(version.filename)
            else:
                found.append(replace(file, yanked=_yanked(file, then.yanked)))
        every = ordered(found)
        known = projects.find(self._conn, index.id, project)
        page = Page(
            index=index.name,
            project=project,
            name=project if known is None else known.name,
            serial=0,
            versions=versions_of(every),
            files=every,
        )
        return Listing(page, every)

    def _outside(self, sources: Sequence[Source], project: str) -> Page | None:
        page = super()._outside(sources, project)
        if page is None:
            return None
        assert self._mirror is not None
        since = self._mirror.yanked_since(page.origin, project)
        found = tuple(
            replace(file, yanked=None) if since.get(file.filename, 0) > self._at else file
            for file in page.files
            if 0 <= file.upload_time <= self._at
        )
        if not found:
            return None
        return replace(page, files=found, versions=versions_of(found))

    def names(self, now: float) -> Iterator[ProjectName]:
        """The own projects that had files then, and those of upstreams by the lists that are stored now."""
        hidden = self._hidden()
        mine = self._sees(self._here.name)
        found: dict[str, None] = {}
        for each in self.line:
            own = self._sees(each.name)
            for project in sorted(_projects(self._conn, each, self._at) - hidden):
                if mine.sees(project) and own.sees(project):
                    found[project] = None
        for line in super().names(now):
            if line.project not in found and not self._is_own(line.project):
                found[line.project] = None
        for project in sorted(found):
            yield ProjectName(project, project, 0)

    def _is_own(self, project: str) -> bool:
        return bool(origins.inside(self._conn, [each.id for each in self.line], project))

    def _revived(self, version: Version, index: str) -> File | None:
        """A file that is no longer listed, or has other bytes now; None where its bytes are gone."""
        stat = self._storage.kept(version.sha256)
        try:
            kind = names.parse(version.filename).packagetype
        except BadName:
            return None
        facts = contents.find(self._conn, version.sha256, kind)
        if stat is None or facts is None:
            return None
        place = Place(0, version.filename, stat, PlaceState.WHOLE, version.sha256)
        admission = Admission(version.filename, version.sha256, stat.size, version.since, "seen", "", "")
        return replace(listing.listed(place, facts, admission, Shelf.KEPT, stat), index=index, path="")


def _events(conn: Connection, index: indexes.Index, project: str) -> Sequence[Event]:
    found = journal.of_project(conn, index.id, project, READ_AGAIN)
    return [Event(each.at, each.action, each.version, each.filename) for each in reversed(found)]


def _versions(conn: Connection, index: indexes.Index, filenames: Collection[str]) -> Sequence[Version]:
    """All bytes that those file names ever had, as far as is known."""
    keys = sorted({filename.casefold() for filename in filenames})
    stones = tombstones.find_many(conn, index.id, keys)
    found = [
        Version(each.filename, each.sha256, each.first_seen, stones[key].at if key in stones else None)
        for key, each in admissions.find_many(conn, index.id, keys).items()
    ]
    admitted = {(each.filename.casefold(), each.sha256) for each in found}
    found += [
        Version(stone.filename, stone.sha256, 0, stone.at)
        for key, stone in stones.items()
        if (key, stone.sha256) not in admitted
    ]
    for key in keys:
        found += [
            Version(each.filename, each.sha256, each.first_seen, each.replaced)
            for each in admissions.list_superseded(conn, index.id, key)
        ]
    return found


def _projects(conn: Connection, index: indexes.Index, at: int) -> frozenset[str]:
    """The projects that had any file then: by one reading of the journal, and of when files were dated."""
    present: dict[tuple[str, str], bool] = {}
    for each in journal.told(conn, index.id, since=0):
        if each.filename is not None and each.at <= at:
            key = (each.project, each.filename.casefold())
            if each.action.startswith(timeline.REMOVE):
                present[key] = False
            elif timeline.is_add(each.action):
                present[key] = True
    for file in files.list_all(conn, index.id):
        key = (file.project, file.filename.casefold())
        if key not in present and file.upload_time <= at:
            present[key] = True
    return frozenset(project for (project, _), there in present.items() if there)


def _yanked(file: File, yanked: Collection[str]) -> str | None:
    """The reason where a file was yanked then: today's, if it is yanked still."""
    marks = {file.filename.casefold(), names.canonical_version(file.version)}
    return (file.yanked or "") if not marks.isdisjoint(yanked) else None
