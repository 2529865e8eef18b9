"""What an index with bases or upstreams says: who answers for a project, and the lists of all together."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import merge
from typing import NamedTuple

from pidex.catalogue import files, indexes, origins, places, projects, reservations, scans, statuses
from pidex.catalogue.engine import Connection
from pidex.core.errors import Busy, Claimed, NotFetched, NotFound, Withheld
from pidex.core.interfaces import Mirrored
from pidex.core.layers import Answer, Choice, Origin, Source, path
from pidex.core.model import File, Page, ProjectName, Status
from pidex.core.permissions import Visibility
from pidex.core.upstreams import Held, UpstreamFile, UpstreamPage
from pidex.core.written import Written
from pidex.history import RETRY_SECONDS, newest_serial, quarantined
from pidex.resolver.lineage import Lineage, choose, lineage_of, refuse
from pidex.resolver.listing import Listing, listing_of, ordered, versions_of
from pidex.resolver.ruled import hides
from pidex.resolver.sheets import Sheet, Sheets, lines_of

#: What a caller may see of an index, by its name.
Sees = Callable[[str], Visibility]


class _Line(NamedTuple):
    """A line of one layer's list; without `shown` it only keeps later layers from answering."""

    project: str
    layer: int
    shown: ProjectName | None


class Layered:
    """Reads one state of the catalogue. `sees(index)`: what the caller may see of each index. `whole`: `Busy`
    rather than a page while files of it were never looked into.

    What is answered for needs the caller's rights on the index that is asked and on the one that has it.
    """

    def __init__(
        self,
        conn: Connection,
        here: indexes.Index,
        mirror: Mirrored | None,
        sheets: Sheets,
        sees: Sees,
        *,
        whole: bool,
    ) -> None:
        self._whole = whole
        self._conn, self._here, self._mirror, self._sheets, self._sees = conn, here, mirror, sheets, sees
        self.line = lineage_of(conn, here)
        #: The casefolded name of the only file that is asked for; '' for all, and where rules compare files.
        self.only = ""
        #: Set it for who only writes a page down: where one upstream answers alone, the files are in `lines`
        #: then, as it lists them and in our order, and the page has none.
        self.outlined = False
        self.lines: Sequence[UpstreamFile] | None = None
        #: The upstream that answers alone, where nobody says anything of the project and it is `outlined`.
        self.straight = ""
        self._needed: set[str] = set()  # other indexes whose contents were told

    # --- one project ----------------------------------------------------------------------------------------

    def page(self, project: str) -> Page:
        """The project as the first layer has it, or as all have it where it is merged.

        Raises `NotFound`, `Busy`, `Withheld`, `NotFetched` and `UpstreamDown`.
        """
        choice = choose(self._conn, self.line, project, upstreams=self._mirror is not None)
        self._refuse(choice, project)
        self.outlined = self.outlined and choice.answer is Answer.UPSTREAM
        marked, marker = self._marker(project)
        if self.outlined and marker is None and len(choice.upstreams) == 1:
            source = choice.upstreams[0]
            self.straight = source.upstream if source.owner == self._here.name else ""
        closed = marker is not None and marker.status is Status.QUARANTINED
        page = None
        if choice.answer is Answer.OWN:
            page = self._inside(choice.indexes[0], project)
        elif choice.answer is Answer.MERGED and not closed:
            page = self._merged(choice, project)
        elif choice.answer is Answer.UPSTREAM and not closed:
            page = self._outside(choice.upstreams, project)
        if page is None and marker is not None:
            self._require(marked, project)
            page = Page(self._here.name, project, project, 0)
        if page is None:
            kind = Claimed if choice.answer is Answer.CLAIMED else NotFound
            raise kind(self._nothing(project))
        if marker is not None:
            page = replace(page, status=marker.status, status_reason=marker.reason)
        return replace(page, files=() if closed else page.files, layers=tuple(sorted(self._needed)))

    def _marker(self, project: str) -> tuple[str, statuses.ProjectStatus | None]:
        """What the first layer that says anything says of the whole project, and which one that is."""
        for each in self.line:
            found = statuses.find(self._conn, each.id, project)
            if found is not None:
                return each.name, found
        return "", None

    def _inside(self, name: str, project: str) -> Page:
        """What one of the layers has."""
        each = next(each for each in self.line if each.name == name)
        listing = self._listing(each, project)
        if listing is None:
            raise NotFound(
                f"Index {name} lists no file of project {project}; what it has of it is not whole. "
                f"`pidex why {project}` tells more."
            )
        return replace(listing.page, index=self._here.name)

    def _listing(self, index: indexes.Index, project: str) -> Listing | None:
        self._require(index.name, project)
        if self._whole and places.unread(self._conn, index.id, project):
            raise _busy(f"Files of project {project} are still being read.")
        return listing_of(self._conn, index, project)

    def _outside(self, sources: Sequence[Source], project: str) -> Page | None:
        """The page of the first upstream that has the project."""
        fresh_until: float | None = None
        for source in sources:
            self._require(source.owner, project)
            held = self._held(source, project)
            fresh_until = min(held.fresh_until, fresh_until or held.fresh_until)
            if held.page is not None:
                told, self.lines = outlined(
                    self._here.name,
                    source.upstream,
                    held._replace(fresh_until=fresh_until),
                    held.page,
                    written=self.outlined,
                )
                if self.outlined:
                    return told
                found = self._sheet(source, held).files
                files_ = () if told.status is Status.QUARANTINED else found
                return replace(told, files=files_, versions=versions_of(found))
        return None

    def _merged(self, choice: Choice, project: str) -> Page | None:
        """The files of all layers; of files with equal names the first layer's."""
        parts: list[Page] = []
        for each in self.line:
            if each.name in choice.indexes:
                listing = self._listing(each, project)
                parts += [listing.page] if listing is not None else []
        ours = [part.serial for part in parts]
        for source in choice.upstreams:
            page = self._outside([source], project)
            parts += [page] if page is not None else []
        if not parts:
            return None
        found: dict[str, File] = {}
        for part in parts:
            for file in part.files:
                found.setdefault(file.filename.casefold(), file)
        files_ = ordered([*found.values()])
        until = [part.valid_until for part in parts if part.valid_until is not None]
        return replace(
            parts[0],
            index=self._here.name,
            serial=max(ours, default=parts[0].serial),  # MIR-4: an upstream counts otherwise
            versions=versions_of(files_),
            files=files_,
            valid_until=min(until, default=None),
            origin="+",
        )

    def _held(self, source: Source, project: str) -> Held:
        assert self._mirror is not None
        held = self._mirror.find_page(source.upstream, project)
        if held is None:
            raise NotFetched(source.upstream, project)
        return held

    def _sheet(self, source: Source, held: Held) -> Sheet:
        assert held.page is not None
        owner = "" if source.owner == self._here.name else source.owner
        if self.only:
            return self._sheets.find_one(source.upstream, owner, held.page, self.only)
        return self._sheets.find(source.upstream, owner, held.page)

    def seen(self, project: str) -> Lineage:
        """The layers of which the caller may know that they have to do with a name."""
        here = self._here.name
        return [each for each in self.line if each.name == here or self._sees(each.name).sees(project)]

    def _refuse(self, choice: Choice, project: str) -> None:
        """As `refuse`; where only a layer that is hidden from the caller says so, the name is not there."""
        try:
            refuse(choice, project)
        except Withheld:
            seen = self.seen(project)
            if len(seen) < len(self.line):
                refuse(choose(self._conn, seen, project, upstreams=False), project)
                raise NotFound(self._nothing(project)) from None
            raise

    def _require(self, index: str, project: str) -> None:
        """Whose contents they are decides: hidden there is hidden here."""
        if index != self._here.name:
            self._needed.add(index)
            if not self._sees(index).sees(project):
                raise NotFound(self._nothing(project))

    def _nothing(self, project: str) -> str:
        """What is said where nothing is, or may be seen."""
        return f"Index {self._here.name} has no project {project}."

    # --- all projects ---------------------------------------------------------------------------------------

    def names(self, now: float) -> Iterator[ProjectName]:
        """The projects of all layers by name; those of upstreams by their stored lists. `now`: Unix time."""
        hidden = self._hidden() | closed(self._conn, self.line)
        seen = None
        mine = self._sees(self._here.name)
        owners = [self._sees(name) for name in self._owners()]
        ruled_out = [self._ruled_out(number, name, now) for number, name in enumerate(self._owners())]
        for line in merge(*self._lists(hidden), key=_by_project):
            if line.project != seen:
                seen = line.project
                if (
                    line.shown is not None
                    and mine.sees(seen)
                    and owners[line.layer].sees(seen)
                    and not any(hidden_by(seen) for hidden_by in ruled_out[line.layer])
                ):
                    yield line.shown

    def files(self) -> Iterator[File]:
        """The own files of all layers that a page lists. Those of upstreams are not told: nobody has all."""
        hidden = self._hidden() | closed(self._conn, self.line)
        merged = self._decided(Origin.MERGED) - self._decided(Origin.LOCAL)
        before: set[str] = set()
        keys: set[str] = set()
        for each in self.line:
            mine, own = self._sees(self._here.name), self._sees(each.name)
            here = {project for project, _ in projects.sizes(self._conn, each.id)}
            here |= places.unfinished_projects(self._conn, each.id)
            withheld = quarantined(self._conn, each) | hidden
            for file in files.list_all(self._conn, each.id, index=each.name):
                project = file.project
                if project in withheld or (project in before and project not in merged):
                    continue
                if project in merged:
                    if file.filename.casefold() in keys:
                        continue
                    keys.add(file.filename.casefold())
                if mine.sees(project) and own.sees(project):
                    yield file
            before |= here

    def count(self) -> tuple[int, int]:
        """How many own projects and files all layers list that the caller may know of."""
        found: dict[str, int] = {}
        mine = self._sees(self._here.name)
        for each in self.line:
            own = self._sees(each.name)
            for project, number in projects.sizes(self._conn, each.id):
                if project not in found:
                    found[project] = number if mine.sees(project) and own.sees(project) else 0
        return sum(map(bool, found.values())), sum(found.values())

    def serial(self) -> int:
        """The serial of the newest change of any layer that the caller may see. `Busy` before a listing."""
        self._require_listed()
        return max(newest_serial(self._conn, each, self._sees(each.name)) for each in self.line)

    def require_read(self) -> None:
        """Raise `Busy` where files of any layer were never looked into."""
        unread = sum(places.count_unread(self._conn, each.id) for each in self.line)
        if unread:
            raise _busy(f"{unread} files of index {self._here.name} are still to be read.")
        self._require_listed()

    def _require_listed(self) -> None:
        for each in self.line:
            scan = scans.find(self._conn, each.id)
            if each.watched and not scan.listed and scan.finished is None:
                raise _busy(f"The folders of index {each.name} are being listed for the first time.")

    def _owners(self) -> Sequence[str]:
        """Whose rights each list has: the layers', then those of the upstreams."""
        return [*(each.name for each in self.line), *(source.owner for source in self._sources())]

    def _ruled_out(self, number: int, owner: str, now: float) -> Sequence[Callable[[str], bool]]:
        """What the rules of all indexes on the way to a list say of its names."""
        bases = {each.name: each.bases for each in self.line}
        way = path(self._here.name, owner, bases)
        mirrored = number >= len(self.line)
        asked = (each for each in self.line if each.rules and each.name in way)
        return [hides(self._conn, each, now, mirrored=mirrored) for each in asked]

    def upstreams(self) -> Sequence[str]:
        """The upstreams that are asked, in order."""
        return [source.upstream for source in self._sources()]

    def _sources(self) -> Sequence[Source]:
        if self._mirror is None:
            return ()
        found = {name: Source(each.name, name) for each in reversed(self.line) for name in each.upstreams}
        ordered_ = dict.fromkeys(name for each in self.line for name in each.upstreams)
        return [found[name] for name in ordered_]

    def _lists(self, hidden: frozenset[str]) -> Sequence[Iterator[_Line]]:
        inside = [self._own(number, each, hidden) for number, each in enumerate(self.line)]
        start, mirror = len(self.line), self._mirror
        if mirror is None:
            return inside
        locked = self.locked()
        outside = [
            self._foreign(
                start + number,
                mirror.list_names(source.upstream),
                lambda name: name in hidden or locked(name),
            )
            for number, source in enumerate(self._sources())
        ]
        return [*inside, *outside]

    def _own(self, number: int, index: indexes.Index, hidden: frozenset[str]) -> Iterator[_Line]:
        """What lies in one index; what is withheld or not whole only keeps the name."""
        withheld = quarantined(self._conn, index) | hidden
        unread = places.unread_projects(self._conn, index.id)
        rest = [
            _Line(name, number, ProjectName(name, name, 0) if name in unread - withheld else None)
            for name in sorted(places.unfinished_projects(self._conn, index.id))
        ]
        listed = (
            _Line(line.project, number, None if line.project in withheld else line)
            for line in projects.list(self._conn, index.id, withheld=True)
        )
        return merge(listed, rest, key=lambda line: line.project)

    @staticmethod
    def _foreign(number: int, found: Iterable[str], locked: Callable[[str], bool]) -> Iterator[_Line]:
        return (_Line(name, number, ProjectName(name, name, 0)) for name in found if not locked(name))

    def _hidden(self) -> frozenset[str]:
        """The names that nobody is shown."""
        return self._decided(Origin.BLOCKED)

    def _decided(self, *kinds: Origin) -> frozenset[str]:
        every = [origins.projects_of(self._conn, each.id, kinds) for each in self.line]
        return frozenset().union(*every)

    def locked(self) -> Callable[[str], bool]:
        """Which names no upstream is asked for."""
        closed = self._decided(Origin.LOCAL, Origin.BLOCKED)
        kept = reservations.list(self._conn, [each.id for each in self.line])
        if not kept:
            return closed.__contains__
        matches = re.compile("|".join(fnmatch.translate(each.pattern) for each in kept)).match
        opened = self._decided(Origin.MERGED, Origin.UPSTREAM)
        return lambda name: name in closed or (name not in opened and matches(name) is not None)


def outlined(
    index: str, upstream: str, held: Held, page: UpstreamPage, *, written: bool = True
) -> tuple[Page, Sequence[UpstreamFile] | None]:
    """The page of an upstream as the page of an index, without files; beside it they are, if `written`."""
    lines: Sequence[UpstreamFile] | None = None
    versions: tuple[str, ...] = ()
    if written and isinstance(page.files, Written):
        lines, versions = page.files, page.files.versions
    elif written:
        lines, versions = lines_of(page)
    told = Page(
        index=index,
        project=page.project,
        name=page.name,
        serial=page.serial or 0,
        versions=versions,
        files=(),
        status=page.status,
        status_reason=page.status_reason,
        valid_until=held.fresh_until,
        origin=upstream,
    )
    return told, lines


def closed(conn: Connection, line: Lineage) -> frozenset[str]:
    """The projects that the first layer which says anything of them says to be quarantined."""
    said: dict[str, Status] = {}
    for each in reversed(line):
        said |= {marker.project: marker.status for marker in statuses.list(conn, each.id)}
    return frozenset(project for project, status in said.items() if status is Status.QUARANTINED)


def _busy(text: str) -> Busy:
    return Busy(f"{text} Try again in {RETRY_SECONDS} s.", retry_after=RETRY_SECONDS)


def _by_project(line: _Line) -> tuple[str, int]:
    return line.project, line.layer
