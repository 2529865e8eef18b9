"""What an index says: the page of a project, the file behind a URL, the list of names, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from pidex.catalogue import (
    admissions,
    contents,
    files,
    indexes,
    journal,
    places,
    problems,
    projects,
    scans,
    statuses,
    tombstones,
)
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import folder, metadata, names, reasons
from pidex.core.errors import Busy, NotFound, Withheld
from pidex.core.interfaces import Clock, Handle, Storage
from pidex.core.model import File, FolderReport, Page, Place, PlaceState, Principal, ProjectName, Status
from pidex.core.reasons import Reason, Subject, subject_of
from pidex.history import RETRY_SECONDS, History
from pidex.history import index_of as _index
from pidex.history import is_storable as _storable
from pidex.history import quarantined as _quarantined

#: Projects whose classifiers are told.
CLASSIFIED_PROJECTS = 2_000
#: Names looked through for one that was perhaps meant.
SIMILAR_NAMES = 2_000
#: Changes of a project that an explanation goes back.
EXPLAINED_CHANGES = 200


class _Listing(NamedTuple):
    """What an index has of a project, before anything is kept back: the page, and all its files."""

    page: Page
    files: tuple[File, ...]


class Resolver(History):
    """Answers what an index says. Safe to use from threads; every method reads one consistent state.

    `by` says who is asking: an index is open to everybody who can reach it until grants say otherwise.

    All methods that name an index raise `NotFound` for an unknown one, and `CatalogueError` where the
    catalogue cannot be read.
    """

    def __init__(self, catalogue: Catalogue, storage: Storage, clock: Clock) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock

    def page(self, index: str, project: str, *, by: Principal) -> Page:
        """Everything the index says about a project, by its normalised name. Never a part of it:

        `Busy` while a file of the project was never looked into, and while an unknown project may still turn
        up in the first listing since the start; `NotFound` where there is none. A quarantined project has a
        page without files (PEP 792); so has one that only a status marker speaks of: empty is not absent.
        """
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if not _storable(project):
                raise NotFound("There is no such project: this cannot be a name.")
            if places.unread(conn, here.id, project):
                raise _busy(f"Files of project {project} are still being read.")
            listing = _listing(conn, here, project)
            if listing is None:
                raise _absent(conn, here, project)
            return listing.page

    def names(self, index: str, *, by: Principal) -> tuple[int, Iterator[ProjectName]]:
        """The newest serial, and the projects by normalised name, of one state.

        With those whose files are still being read (under their normalised name, serial 0), so that the list
        is whole from the first listing on; without the quarantined ones (LST-4). `Busy` before that listing.
        The iterator holds a connection until it ends or is closed.
        """
        found = self._names(index)
        return next(found).serial, found

    def count(self, index: str, *, by: Principal) -> tuple[int, int]:
        """How many projects and files the index lists."""
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            return projects.count(conn, here.id), files.count(conn, here.id)

    def locate(self, index: str, digest: str, filename: str, *, by: Principal) -> File:
        """The file of a URL: BLAKE2b-256 of its bytes (64 lower-case hexadecimal digits) and its name.

        Only what the project's page lists can be had: `Withheld` where the page keeps it back, `NotFound`
        where it does not know it, `Busy` where it may yet come to know it.
        """
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if _storable(filename) and _storable(digest):
                for file in files.find_by_blake2(conn, here.id, digest):
                    if file.filename == filename:
                        return _offered(conn, here, file)
                raise _no_file(conn, here, filename)
            raise NotFound("There is no such file: its name cannot be that of a file.")

    def find(self, index: str, filename: str, *, by: Principal) -> File | None:
        """The file listed under a name, in any case; None where there is none. As `locate` otherwise."""
        if not _storable(filename):
            return None
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            file = files.find_by_key(conn, here.id, filename.casefold())
            if file is not None:
                return _offered(conn, here, file)
            refusal = _no_file(conn, here, filename)
            if isinstance(refusal, Busy):
                raise refusal
            return None

    def metadata(self, index: str, file: File, *, by: Principal) -> bytes:
        """The core metadata of a file that `locate`, `find` or a page gave, as it is in the archive.

        `NotFound` where the file has none, or none that the index announces (PEP 658).
        """
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
            except (NotFound, Busy, Withheld):
                continue  # gone since the list was made, or not read yet
        return sorted(found)

    def open(self, file: File, *, wait: bool = True) -> Handle:
        """The bytes of a file that `locate`, `find` or a page gave. `Changing` where they are not its own.

        With `wait` False, `BlockingIOError` where the file would have to be read to know.
        """
        return self._storage.open(file, wait=wait)

    def files(self, index: str, *, by: Principal) -> Iterator[File]:
        """Every file that a page of the index lists, by project and name.

        `Busy` while any file was never looked into. The iterator holds a connection until its end or close.
        """
        found = self._files(index)
        next(found)
        return (file for file in found if file is not None)

    def why(self, index: str, subject: str, *, by: Principal) -> Sequence[Reason]:
        """Everything known of a project, a release (`name==1.0`) or a file name, the most telling first.

        Never empty: for what was never seen it says so, with similar names. Paths are told to operators only.
        """
        asked = subject_of(subject)
        if asked is None or not _storable(subject):
            return [
                Reason("invalid", "This is no project, no release (name==1.0) and no package's file name.")
            ]
        with self._catalogue.read() as conn:
            inquiry = _Inquiry(conn, _index(conn, index), asked, self._clock(), "operator" in by.groups)
            return inquiry.answer()

    def report(self, index: str, *, by: Principal) -> FolderReport:
        """What lies in the folders of the index and is not listed, and why."""
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            unfinished = places.list_unfinished(conn, here.id)
            shadowed, withheld = _lost(conn, here, places.list_unlisted(conn, here.id))
            return FolderReport(
                listed=files.count(conn, here.id),
                pending=tuple(place for place in unfinished if place.state is not PlaceState.REFUSED),
                refused=tuple(place for place in unfinished if place.state is PlaceState.REFUSED),
                shadowed=tuple((place.path, served) for place, served in shadowed),
                withheld=tuple((place.path, reason) for place, reason in withheld),
                problems=tuple(problems.list(conn, here.id)),
            )

    def _names(self, index: str) -> Iterator[ProjectName]:
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            scan = scans.find(conn, here.id)
            if not scan.listed and scan.finished is None:
                raise _busy(f"The folders of index {index} are being listed for the first time.")
            # The head carries the serial out of the generator, which has begun by then and so is cleaned up.
            yield ProjectName("", "", journal.serial(conn))
            coming = _coming(conn, here)
            if not coming:
                yield from projects.list(conn, here.id)
                return
            last = None
            for line in merge(projects.list(conn, here.id), coming, key=_by_project):
                if line.project != last:
                    yield line
                last = line.project

    def _files(self, index: str) -> Iterator[File | None]:
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            unread = places.count_unread(conn, here.id)
            scan = scans.find(conn, here.id)
            if unread or not (scan.listed or scan.finished is not None):
                raise _busy(f"{unread or 'All'} files of index {index} are still to be read.")
            yield None
            withheld = _quarantined(conn, here)
            for file in files.list_all(conn, here.id):
                if file.project not in withheld:
                    yield file


def _listing(conn: Connection, index: indexes.Index, project: str) -> _Listing | None:
    """What the index has of a project; None where it has none. All that is served comes through here."""
    marker = statuses.find(conn, index.id, project)
    known = projects.find(conn, index.id, project)
    if marker is None and known is None:
        return None
    found = files.list_project(conn, index.id, project)
    ordered = tuple(sorted(found, key=lambda file: (names.version_key(file.version), file.filename)))
    # One line a release: 1.0 and 1.0.0 are the same (VER-2).
    versions = {names.canonical_version(file.version): file.version for file in reversed(ordered)}
    status = Status.ACTIVE if marker is None else marker.status
    page = Page(
        index=index.name,
        project=project,
        name=project if known is None else known.name,
        serial=_serial(conn, index, project) if known is None else known.serial,
        versions=tuple(names.normalized_version(version) for version in reversed(versions.values())),
        files=() if status is Status.QUARANTINED else ordered,
        status=status,
        status_reason=None if marker is None else marker.reason,
    )
    return _Listing(page, ordered)


def _offered(conn: Connection, index: indexes.Index, file: File) -> File:
    """The file as its project's page has it."""
    listing = _listing(conn, index, file.project)
    if listing is not None:
        for listed in listing.page.files:
            if listed.filename == file.filename:
                return listed
        page = listing.page
        if page.status is Status.QUARANTINED:
            because = f": {page.status_reason}" if page.status_reason else ""
            raise Withheld(
                f"{file.filename} is withheld, because project {page.name} is quarantined{because}"
            )
    raise NotFound(f"Index {index.name} has no file {file.filename}.")


def _absent(conn: Connection, index: indexes.Index, project: str) -> Busy | NotFound:
    """Why there is no page."""
    if not scans.find(conn, index.id).listed:
        return _busy("The folders are being listed.")
    waiting = places.list_project(conn, index.id, project, unfinished=True)
    if not waiting:
        return NotFound(f"Index {index.name} has no project {project}.")
    states = " and ".join(sorted({place.state.value for place in waiting}))
    return NotFound(
        f"Index {index.name} lists no file of project {project}; what it has of it is {states}. "
        f"`pidex why {project}` tells more."
    )


def _no_file(conn: Connection, index: indexes.Index, filename: str) -> Busy | NotFound:
    """Why a file cannot be had that the index does not list with those bytes."""
    key = filename.casefold()
    here = places.find_by_keys(conn, index.id, [key]).get(key, ())
    if any(place.state is PlaceState.UNREAD for place in here):
        return _busy(f"{filename} is still being read.")
    if not here and not scans.find(conn, index.id).listed:
        return _busy("The folders are being listed.")
    if files.find_by_key(conn, index.id, key) is not None:
        return NotFound(f"{filename} has other bytes now: take its URL from the project's page.")
    if tombstones.find(conn, index.id, key) is not None:
        return NotFound(f"{filename} was deleted.")
    if here:
        return NotFound(f"{filename} is not listed: it is {here[0].state.value}. `pidex why` tells more.")
    return NotFound(f"Index {index.name} has no file {filename}.")


def _coming(conn: Connection, index: indexes.Index) -> Sequence[ProjectName]:
    """Projects of which every file may still have to be read."""
    unread = places.unread_projects(conn, index.id) - _quarantined(conn, index)
    return [ProjectName(project, project, 0) for project in sorted(unread)]


def _serial(conn: Connection, index: indexes.Index, project: str) -> int:
    return journal.latest(conn, index.id, [project]).get(project, 0)


def _lost(
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
            burnt=_burnt(burnt, key),
        )
        path = served[key]
        if path is not None:
            shadowed += [(place, path) for place in election.shadowed if (place.root, place.path) in asked]
        withheld += [(item.place, item.reason) for item in election.withheld]
    return shadowed, withheld


def _burnt(found: Mapping[str, tombstones.Tombstone], key: str) -> str | None:
    if key not in found:
        return None
    why = f": {found[key].reason}" if found[key].reason else ""
    return f"{found[key].filename} was deleted by {found[key].by}, and the name stays burnt{why}"


class _Inquiry:
    """Gathers everything known of one subject."""

    def __init__(
        self, conn: Connection, index: indexes.Index, asked: Subject, now: float, paths: bool
    ) -> None:
        self.conn, self.index, self.asked, self.now, self.paths = conn, index, asked, now, paths
        self.found: list[Reason] = []

    def answer(self) -> Sequence[Reason]:
        project = self.asked.project
        if project is not None:
            self._marker(project)
        listed = self._listed(project)
        lying = self._lying(project, listed)
        self._burnt()
        self._missing(project, lying)
        self._before()
        if self.paths:
            self._problems()
        if not self.found:
            self._unknown(project)
        return self.found

    def _say(self, code: str, text: str) -> None:
        self.found.append(Reason(code, text))

    def _marker(self, project: str) -> None:
        marker = statuses.find(self.conn, self.index.id, project)
        if marker is not None and marker.status is not Status.ACTIVE:
            because = f": {marker.reason}" if marker.reason else ""
            hidden = " None of its files is offered." if marker.status is Status.QUARANTINED else ""
            self._say(marker.status.value, f"Project {project} is {marker.status.value}{because}.{hidden}")

    def _listed(self, project: str | None) -> Mapping[str, File]:
        if project is None:
            return {}
        listing = _listing(self.conn, self.index, project)
        found = [file for file in listing.files if self.asked.covers(file.filename)] if listing else []
        if listing is None or not found:
            return {}
        if listing.page.status is Status.QUARANTINED:
            self._say("withheld", f"{len(found)} of its files lie there, whole, and are withheld.")
        else:
            self.found += [reasons.of_file(file, paths=self.paths) for file in found]
        self.found += [reasons.of_yank(file) for file in found if file.yanked is not None]
        return {file.filename.casefold(): file for file in found}

    def _lying(self, project: str | None, listed: Mapping[str, File]) -> frozenset[str]:
        """Say what lies there and is not listed; the keys of all that lies there."""
        if self.asked.filename is not None:
            key = self.asked.filename.casefold()
            here = places.find_by_keys(self.conn, self.index.id, [key]).get(key, ())
        else:
            here = places.list_project(self.conn, self.index.id, project or "")
            here = [place for place in here if self.asked.covers(place.filename)]
        for place in here:
            if place.state is not PlaceState.WHOLE:
                self.found.append(reasons.of_place(place, now=self.now, paths=self.paths))
        unlisted = [
            (place, file.path if file else None)
            for place in here
            for file in [listed.get(place.key)]
            if place.state is PlaceState.WHOLE and (file is None or file.sha256 != place.sha256)
        ]
        shadowed, withheld = _lost(self.conn, self.index, unlisted)
        for place, path in shadowed:
            name, other = (place.path, path) if self.paths else (place.filename, "the file that is listed")
            self._say("shadowed", f"{name} is shadowed: {other} comes first and has other bytes.")
        for place, why in withheld:
            self._say("withheld", f"{place.path if self.paths else place.filename} is withheld: {why}.")
        return frozenset(place.key for place in here)

    def _burnt(self) -> None:
        if self.asked.filename is not None:
            stones = [tombstones.find(self.conn, self.index.id, self.asked.filename.casefold())]
        else:
            stones = [*tombstones.list(self.conn, self.index.id)]
        for stone in stones:
            if stone is not None and self.asked.covers(stone.filename):
                self._say("deleted", f"{_burnt({stone.key: stone}, stone.key)} ({reasons.moment(stone.at)}).")

    def _missing(self, project: str | None, lying: frozenset[str]) -> None:
        """Files that were there: by the journal for a project, since admissions are found by file name."""
        keys = set()
        if self.asked.filename is not None:
            keys.add(self.asked.filename.casefold())
        elif project is not None:
            for change in journal.of_project(self.conn, self.index.id, project, EXPLAINED_CHANGES):
                if change.filename is not None and self.asked.covers(change.filename):
                    keys.add(change.filename.casefold())
        for admission in admissions.find_many(self.conn, self.index.id, sorted(keys - lying)).values():
            self.found.append(reasons.of_missing(admission))

    def _before(self) -> None:
        if self.asked.filename is None:
            return
        for old in admissions.list_superseded(self.conn, self.index.id, self.asked.filename.casefold()):
            self._say(
                "replaced",
                f"{old.filename} had other bytes until {reasons.moment(old.replaced)} (sha256 {old.sha256}); "
                f"replaced by {old.by}, {old.how}.",
            )

    def _problems(self) -> None:
        for problem in problems.list(self.conn, self.index.id):
            if self.asked.covers(problem.path.rpartition("/")[2]):
                self._say(problem.code, f"{problem.path}: {problem.reason}")

    def _unknown(self, project: str | None) -> None:
        what = "file of that name" if self.asked.filename is not None else "file of it"
        if not scans.find(self.conn, self.index.id).listed:
            self._say("listing", "The folders are being listed: ask again in a moment.")
        self._say("unknown", f"{self.asked.text}: no {what} was ever seen in index {self.index.name}.")
        if project is None:
            return
        if projects.find(self.conn, self.index.id, project) is not None:
            self._say("project", f"Project {project} is there, with other files.")
            return
        near = projects.starting(self.conn, self.index.id, project[:2], SIMILAR_NAMES)
        self.found += reasons.of_similar(project, near)


def _busy(text: str) -> Busy:
    return Busy(f"{text} Try again in {RETRY_SECONDS} s.", retry_after=RETRY_SECONDS)


def _by_project(line: ProjectName) -> str:
    return line.project
