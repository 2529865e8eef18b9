"""What an index says: the page of a project, the file behind a URL, the list of names, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import groupby, islice

from pidex.catalogue import (
    contents,
    files,
    indexes,
    journal,
    origins,
    places,
    problems,
    projects,
)
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import metadata
from pidex.core.errors import Busy, Claimed, NotFetched, NotFound, UpstreamDown, Withheld
from pidex.core.interfaces import Clock, Handle, Mirrored, Storage
from pidex.core.layers import Answer, Origin
from pidex.core.model import (
    File,
    FolderReport,
    Hit,
    Page,
    Place,
    PlaceState,
    Principal,
    ProjectName,
    Status,
)
from pidex.core.permissions import Action, Visibility
from pidex.core.queries import Query
from pidex.core.reasons import Reason, Subject, subject_of
from pidex.core.sentences import said
from pidex.history import Share, Visibilities, newest_serial
from pidex.history import index_of as _index
from pidex.history import is_storable as _storable
from pidex.history import quarantined as _quarantined
from pidex.resolver import refusals
from pidex.resolver.inquiry import Inquiry
from pidex.resolver.layered import Layered
from pidex.resolver.lineage import choose, coming, refuse, was_listed
from pidex.resolver.listing import is_of, listing_of, lost, project_of
from pidex.resolver.past import Past
from pidex.resolver.ruled import concerns_own, hides, is_open, ruled
from pidex.resolver.shares import Hearsay, held_hits, shares_of
from pidex.resolver.sheets import Sheets
from pidex.resolver.straight import Straight
from pidex.resolver.verdicts import attempt, what_rules_do, who_answers

_READING = (Action.LIST, Action.READ)
#: Projects whose classifiers are told.
CLASSIFIED_PROJECTS = 2_000


class Resolver(Straight):
    """Answers what an index says. Safe to use from threads; every method reads one consistent state.

    `by` says who is asking, and `visibility` what of an index they may list and read (None: everything).
    What somebody may not know of is not there for them: the same answers, at the same price.

    An index answers with its bases and upstreams (`core.layers.choose` says who). `mirror`: what is held of
    upstreams; None: there are none to ask. Where an answer needs what is not held, `NotFetched` says what to
    fetch before asking again, and `UpstreamDown` that it failed lately: no upstream is asked or waited for.

    All methods that name an index raise `NotFound` for an unknown one, and `CatalogueError` where the
    catalogue cannot be read.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        clock: Clock,
        visibility: Visibilities | None = None,
        mirror: Mirrored | None = None,
    ) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._visibility = visibility
        self._mirror = mirror
        self._sheets = Sheets()

    def page(self, index: str, project: str, *, by: Principal) -> Page:
        """Everything the index says about a project, by its normalised name. Never a part of it:

        `Busy` while a file of the project was never looked into, and while an unknown project may still turn
        up in the first listing since the start; `NotFound` where there is none. A quarantined project has a
        page without files (PEP 792); so has one that only a status marker speaks of: empty is not absent.
        """
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not _storable(project):
                raise NotFound("There is no such project: this cannot be a name.")
            if not visible.sees(project):
                raise refusals.no_project(here, project)
            return self._page(conn, here, project, by, Action.LIST)

    def page_at(self, index: str, project: str, at: int, *, by: Principal) -> Page:
        """The page of a project as it was at a time, in microseconds since 1970. As `page` otherwise.

        Rights, claims, rules and holds are those of now; own files are those whose bytes are still held.
        """
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not _storable(project) or not visible.sees(project):
                raise refusals.no_project(here, project)
            past = self._past(conn, here, by, at)
            return ruled(conn, past.line, past.page(project), self._mirror, self._clock()).page

    def names_at(self, index: str, at: int, *, by: Principal) -> Iterator[ProjectName]:
        """The projects that had files at a time, by name. The iterator holds a connection until its end."""
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            yield from self._past(conn, here, by, at).names(self._clock())

    def locate_at(self, index: str, digest: str, filename: str, at: int, *, by: Principal) -> File:
        """The file of a URL below a time, as `locate`."""
        visible = self.visible(index, by=by, action=Action.READ)
        project = project_of(filename) if _storable(filename) else None
        if project is None or not visible.sees(project):
            raise NotFound(f"Index {index} has no file {filename}.")
        page = self.page_at(index, project, at, by=by)
        for file in page.files:
            if file.filename == filename and file.blake2b_256 == digest:
                return file
        for kept in page.withheld:
            if kept.file.filename == filename:
                raise Withheld(f"{filename} is withheld: {kept.reason}.")
        raise NotFound(f"Index {index} had no file {filename} then.")

    def names(self, index: str, *, by: Principal) -> tuple[int, Iterator[ProjectName]]:
        """The newest serial, and the projects by normalised name, of one state.

        With those whose files are still being read (under their normalised name, serial 0), so that the list
        is whole from the first listing on; without the quarantined ones (LST-4). `Busy` before that listing.
        Upstreams' names are those of their stored lists. The iterator holds a connection until it ends or is
        closed.
        """
        found = self._names(index, self.visible(index, by=by), by)
        return next(found).serial, found

    def count(self, index: str, *, by: Principal) -> tuple[int, int]:
        """How many projects and files the index and its bases list, of those that `by` may know of."""
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not here.alone:
                return self._layered(conn, here, by).count()
            if not visible.everything:
                seen = [each for name, each in projects.sizes(conn, here.id) if visible.sees(name)]
                return len(seen), sum(seen)
            return projects.count(conn, here.id), files.count(conn, here.id)

    def locate(
        self,
        index: str,
        digest: str,
        filename: str,
        *,
        by: Principal,
        epoch: int | None = None,
        wait: bool = True,
    ) -> File:
        """The file of a URL: BLAKE2b-256 of its bytes (64 lower-case hexadecimal digits) and its name.

        Only what the project's page lists can be had: `Withheld` where the page keeps it back, `NotFound`
        where it does not know it, `Busy` where it may yet come to know it. `epoch`, `wait`: as `outline`.
        """
        visible = self.visible(index, by=by, action=Action.READ)
        straight = self._straight_file(index, digest, filename, visible, epoch, wait=wait)
        if straight is not None:
            return straight
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not (_storable(filename) and _storable(digest)):
                raise NotFound("There is no such file: its name cannot be that of a file.")
            if not here.alone:
                file = self._listed(conn, here, filename, by, visible)
                if file.filename != filename or file.blake2b_256 != digest:
                    raise refusals.other(filename)
                return file
            for file in files.find_by_blake2(conn, here.id, digest):
                if file.filename == filename and visible.sees(file.project):
                    return self._offered(conn, here, filename, file.project, by)
            raise refusals.no_file(conn, here, filename, visible)

    def find(self, index: str, filename: str, *, by: Principal) -> File | None:
        """The file listed under a name, in any case; None where there is none. As `locate` otherwise."""
        if not _storable(filename):
            return None
        visible = self.visible(index, by=by, action=Action.READ)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not here.alone:
                try:
                    return self._listed(conn, here, filename, by, visible)
                except NotFound:
                    return None
            file = files.find_by_key(conn, here.id, filename.casefold())
            if file is not None and visible.sees(file.project):
                return self._offered(conn, here, filename, file.project, by)
            refusal = refusals.no_file(conn, here, filename, visible)
            if isinstance(refusal, Busy):
                raise refusal
            return None

    def metadata(self, index: str, file: File, *, by: Principal, wait: bool = True) -> bytes:
        """The core metadata of a file that `locate`, `find` or a page gave, as it is in the archive.

        `NotFound` where the file has none, or none that the index announces (PEP 658). Told to who may list
        the project or read its files. Without `wait`, `BlockingIOError` where the disk has to be asked.
        """
        if not any(self.visible(index, by=by, action=action).sees(file.project) for action in _READING):
            raise NotFound(f"Index {index} has no file {file.filename}.")
        if file.origin:
            held = None if self._mirror is None else self._mirror.find_metadata(file, wait=wait)
            if held is None:
                raise NotFetched(file.origin, file.project, file)
            return held
        if not wait:
            raise BlockingIOError
        with self._catalogue.read() as conn:
            _index(conn, index)
            found = contents.find_metadata(conn, file.sha256, file.packagetype)
        if found is None:
            raise NotFound(f"{file.filename} has no metadata that can be served on its own.")
        return found

    def classifiers(self, index: str, *, by: Principal) -> Sequence[str]:
        """The classifiers that projects of the index use, sorted; of `CLASSIFIED_PROJECTS` at most."""
        found: set[str] = set()
        _, lines = self.names(index, by=by)
        for line in [*islice(lines, CLASSIFIED_PROJECTS)]:
            try:
                page = self.page(index, line.project, by=by)
                described = next((file for file in reversed(page.files) if file.metadata_sha256), None)
                if described is not None:
                    found.update(metadata.parse(self.metadata(index, described, by=by)).classifiers)
            except (NotFound, Busy, Withheld, NotFetched, UpstreamDown):
                continue  # gone since the list was made, or not read yet
        return sorted(found)

    def open(self, file: File, *, wait: bool = True) -> Handle:
        """The bytes of a file that a page has; `Changing`, or without `wait` `BlockingIOError`."""
        return self._storage.open(file, wait=wait)

    def link(self, file: File) -> str | None:
        """A URL at which a bucket hands out a file itself, for some minutes; None: `open` it."""
        return None if file.origin else self._storage.link(file)

    def files(self, index: str, *, by: Principal) -> Iterator[File]:
        """Every own file that a page of the index lists, by project and name; those of bases follow.

        Mirrored files are not told: of most, nobody knows until their projects are asked for.

        `Busy` while any file of theirs was never looked into. The iterator holds a connection until its end
        or close.
        """
        found = self._files(index, self.visible(index, by=by), by)
        next(found)
        return (file for file in found if file is not None)

    def why(self, index: str, subject: str, *, by: Principal, fetch: bool = False) -> Sequence[Reason]:
        """Everything known of a project, a release (`name==1.0`) or a file name, the most telling first.

        Never empty: for what was never seen it says so, with similar names. Paths are told to operators only.
        With `fetch`, `NotFetched` is raised where an upstream's page would tell more.
        """
        asked = subject_of(subject)
        if asked is None or not _storable(subject):
            text = said("This is no project, no release (name==1.0) and no package's file name.")
            return [Reason("invalid", text)]
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            now, paths = self._clock(), "operator" in by.groups
            told: list[Reason] = []
            if asked.project is not None and visible.sees(asked.project):
                told += self._verdicts(conn, here, asked, by, fetch=fetch)
            own = Inquiry(conn, here, asked, now=now, paths=paths, visible=visible).answer()
            if any(reason.code == "upstream-has" for reason in told):
                own = [reason for reason in own if reason.code not in ("unknown", "similar")]
            return [*told, *own]

    def _verdicts(
        self, conn: Connection, here: indexes.Index, asked: Subject, by: Principal, *, fetch: bool
    ) -> Sequence[Reason]:
        """Who answers for a project, and what rules keep back of it."""
        project = asked.project or ""
        layered = self._layered(conn, here, by, Action.READ)
        if here.alone:
            page, told = attempt(lambda: _own(conn, here, project, whole=False), fetch=fetch)
        else:
            page, told = attempt(lambda: layered.page(project), fetch=fetch)
        try:
            answers = who_answers(conn, layered.seen(project), project, self._mirror)
        except Busy:
            answers = []  # the folders are being listed: what is told of them says so
        said = {reason.text for reason in answers}
        told = [*answers, *(reason for reason in told if reason.text not in said and not here.alone)]
        if page is None:
            return told
        verdict = ruled(conn, layered.line, page, self._mirror, self._clock(), fetch=fetch)
        return [*told, *what_rules_do(verdict, here.name, asked)]

    def report(self, index: str, *, by: Principal) -> FolderReport:
        """What lies in the folders of the index and is not listed, and why.

        Of the projects that `by` may know of; what belongs to none is told to who may know of all.
        """
        visible = self.visible(index, by=by)
        _, listed = self.count(index, by=by)

        def told(place: Place) -> bool:
            return visible.everything or is_of(visible, place.filename)

        with self._catalogue.read() as conn:
            here = _index(conn, index)
            unfinished = [place for place in places.list_unfinished(conn, here.id) if told(place)]
            unlisted = [pair for pair in places.list_unlisted(conn, here.id) if told(pair[0])]
            shadowed, withheld = lost(conn, here, unlisted)
            return FolderReport(
                listed=listed,
                pending=tuple(place for place in unfinished if place.state is not PlaceState.REFUSED),
                refused=tuple(place for place in unfinished if place.state is PlaceState.REFUSED),
                shadowed=tuple((place.path, served) for place, served in shadowed),
                withheld=tuple((place.path, reason) for place, reason in withheld),
                problems=tuple(problems.list(conn, here.id)) if visible.everything else (),
            )

    def _page(
        self,
        conn: Connection,
        here: indexes.Index,
        project: str,
        by: Principal,
        action: Action,
        *,
        only: str = "",
    ) -> Page:
        """The page of a project that `by` may see: what the layers say, after policy.

        To list it (`action`), all its files have to be read; to read one that is listed, only that one.
        `only`: the casefolded name of the file that is asked for; others of upstreams may be left out.
        """
        line: Sequence[indexes.Index] = (here,)
        if here.alone:
            page = _own(conn, here, project, whole=action is Action.LIST)
        else:
            layered = self._layered(conn, here, by, action)
            line = layered.line
            if only and is_open(conn, line, project, self._clock()):
                layered.only = only
            page = layered.page(project)
        # The one place where rules keep files back.
        return ruled(conn, line, page, self._mirror, self._clock()).page

    def _shares(self, conn: Connection, here: indexes.Index, by: Principal) -> Sequence[Share]:
        return shares_of(conn, here, partial(self.visible, by=by), self._clock())

    def _held_hits(
        self, conn: Connection, here: indexes.Index, query: Query, limit: int, by: Principal
    ) -> Sequence[Hit]:
        if self._mirror is None:
            return ()
        held = Hearsay(self._mirror)
        layered = Layered(conn, here, held, self._sheets, partial(self.visible, by=by), whole=False)
        return held_hits(conn, layered, held, query, now=self._clock(), limit=limit)

    def _layered(
        self, conn: Connection, here: indexes.Index, by: Principal, action: Action = Action.LIST
    ) -> Layered:
        sees = partial(self.visible, by=by, action=action)
        return Layered(conn, here, self._mirror, self._sheets, sees, whole=action is Action.LIST)

    def _past(self, conn: Connection, here: indexes.Index, by: Principal, at: int) -> Past:
        sees = partial(self.visible, by=by, action=Action.LIST)
        return Past(conn, here, self._mirror, self._sheets, sees, at=at, storage=self._storage)

    def _listed(
        self, conn: Connection, here: indexes.Index, filename: str, by: Principal, visible: Visibility
    ) -> File:
        """The file of that name, in any case, on the page of its project, whichever layer that comes from."""
        project = project_of(filename)
        if project is None or not visible.sees(project):
            raise refusals.no_such(here, filename)
        return self._offered(conn, here, filename, project, by)

    def _offered(
        self, conn: Connection, here: indexes.Index, filename: str, project: str, by: Principal
    ) -> File:
        """The file as its project's page has it. `Withheld` where the page keeps it back."""
        key = filename.casefold()
        page = self._page(conn, here, project, by, Action.READ, only=key)
        for file in page.files:
            if file.filename.casefold() == key:
                return file
        for kept in page.withheld:
            if kept.file.filename.casefold() == key:
                raise Withheld(f"{filename} is withheld: {kept.reason}. `pidex why {project}` tells more.")
        if page.status is Status.QUARANTINED:
            because = f": {page.status_reason}" if page.status_reason else ""
            raise Withheld(f"{filename} is withheld, because project {page.name} is quarantined{because}")
        raise refusals.no_such(here, filename)

    def _names(self, index: str, visible: Visibility, by: Principal) -> Iterator[ProjectName]:
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            layered = None if here.alone else self._layered(conn, here, by)
            if layered is None and not was_listed(conn, here):
                raise refusals.busy(f"The folders of index {index} are being listed for the first time.")
            # The head carries the serial out of the generator, which has begun by then and so is cleaned up.
            everything = visible.everything
            if layered is not None:
                yield ProjectName("", "", layered.serial())
                yield from layered.names(self._clock())
                return
            yield ProjectName(
                "", "", journal.serial(conn) if everything else newest_serial(conn, here, visible)
            )
            if visible.nothing:
                return
            soon, blocked = coming(conn, here), origins.projects_of(conn, here.id, [Origin.BLOCKED])
            if everything and not soon and not blocked and here.rules is None:
                yield from projects.list(conn, here.id)
                return
            last, ruled_out = None, hides(conn, here, self._clock(), mirrored=False)
            for line in merge(projects.list(conn, here.id), soon, key=_by_project):
                if line.project == last or line.project in blocked or ruled_out(line.project):
                    continue
                if everything or visible.sees(line.project):
                    yield line
                last = line.project

    def _files(self, index: str, visible: Visibility, by: Principal) -> Iterator[File | None]:
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not here.alone:
                layered = self._layered(conn, here, by)
                layered.require_read()
                yield None
                ruling = any(concerns_own(conn, each) for each in layered.line)
                for project, found in groupby(layered.files(), key=_project):
                    if ruling:
                        page = self._page(conn, here, project, by, Action.LIST)
                        yield from (file for file in page.files if not file.origin)
                    else:
                        yield from found
                return
            if visible.everything:
                unread = places.count_unread(conn, here.id)
            else:
                unread = sum(map(visible.sees, places.unread_projects(conn, here.id)))
            if unread or not was_listed(conn, here):
                raise refusals.busy(f"{unread or 'All'} files of index {index} are still to be read.")
            yield None
            withheld = _quarantined(conn, here) | origins.projects_of(conn, here.id, [Origin.BLOCKED])
            ruling = concerns_own(conn, here)
            for project, found in groupby(files.list_all(conn, here.id, index=here.name), key=_project):
                if project not in withheld and visible.sees(project):
                    yield from self._page(conn, here, project, by, Action.LIST).files if ruling else found


def _own(conn: Connection, here: indexes.Index, project: str, *, whole: bool) -> Page:
    """The page of an index that has neither bases nor upstreams. `whole`: `Busy` rather than a part of it."""
    obstacles = origins.obstacles(conn, here.id, project)
    if Origin.BLOCKED in obstacles:
        refuse(choose(conn, [here], project), project)
    if obstacles and whole:
        raise refusals.busy(f"Files of project {project} are still being read.")
    listing = listing_of(conn, here, project)
    if listing is None:
        choice = choose(conn, [here], project)
        refuse(choice, project)
        error = refusals.absent(conn, here, project)
        raise Claimed(str(error)) if choice.answer is Answer.CLAIMED else error
    return listing.page


def _project(file: File) -> str:
    return file.project


def _by_project(line: ProjectName) -> str:
    return line.project
