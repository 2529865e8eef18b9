"""What happened in an index and what is new in it: changes by serial, newest releases, and search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pidex.catalogue import files, indexes, journal, origins, projects, releases, scans, statuses
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.releases import First
from pidex.core import names
from pidex.core.errors import Busy, NotFound
from pidex.core.layers import Origin
from pidex.core.model import Change, File, Hit, Page, Principal, Release, Status
from pidex.core.permissions import OPERATOR_GROUP, Action, Visibility
from pidex.core.pypijson import chosen_version, metadata_file
from pidex.core.queries import Query

#: What a client is told to wait, in seconds, while files are still being read.
RETRY_SECONDS = 5
#: Changes in one answer at most.
MAX_CHANGES = 50_000
#: Projects found by the database at most, and how many of them, the closest first, are looked at.
CANDIDATES, LOOKED_AT = 10_000, 1_000


#: The page that is shown of a project, None where there is none.
Pages = Callable[[str], Page | None]
#: What a caller may list or read of an index: `Accounts.visibility`.
Visibilities = Callable[[Principal, str, Action], Visibility]
EVERYTHING = Visibility(frozenset({"*"}))


class History(ABC):
    """The part of the resolver that looks back. Names only projects that `visible` says `by` may see.

    All methods raise `NotFound` for an unknown index.
    """

    _catalogue: Catalogue
    _visibility: Visibilities | None

    @abstractmethod
    def page(self, index: str, project: str, *, by: Principal) -> Page:
        """Everything the index says about a project; `NotFound` where `by` may not know of it."""

    @abstractmethod
    def _own_pages(self, conn: Connection, index: indexes.Index) -> Pages | None:
        """What rules and holds leave of an index's own files, by project; None: they keep nothing back."""

    def visible(self, index: str, *, by: Principal, action: Action = Action.LIST) -> Visibility:
        """Which projects of an index a caller may know of (or, by `action`, read the files of).

        The one filter: whatever tells of projects goes through it (T26). It looks at names alone, so what it
        hides is answered for in the same way whether it is there or not.
        """
        if self._visibility is None or OPERATOR_GROUP in by.groups:
            return EVERYTHING if by.token is None else Visibility(frozenset({"*"}), by.token.projects)
        return self._visibility(by, index, action)

    def serial(self, index: str, *, by: Principal) -> int:
        """The serial of the newest change of any project; 0 where there is none."""
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            return newest_serial(conn, index_of(conn, index), visible)

    def changes(
        self, index: str, since: int, limit: int = MAX_CHANGES, *, by: Principal, after: int = 0
    ) -> list[Change]:
        """The changes after a serial, oldest first, at most `limit` or `MAX_CHANGES`.

        `after`: only those later than this time, in microseconds since 1970.
        """
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            found = (
                Change(change.serial, change.project, change.version, change.action, change.at)
                for change in journal.told(conn, here.id, since=since, after=after)
                if visible.sees(change.project)
            )
            return [*islice(found, max(0, min(limit, MAX_CHANGES)))]

    def releases(self, index: str, limit: int, *, by: Principal, project: str | None = None) -> list[Release]:
        """The newest releases, of one project (normalised name) or all, by their first file; newest first.

        `Busy` before the first listing, and as `page` is for a project; `NotFound` for an unknown one.
        """
        if project is not None:
            self.page(index, project, by=by)
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _listed(conn, index)
            found = releases.newest(conn, here.id, project)
            return _described(conn, here, self._first(conn, here, visible, found, limit))

    def newcomers(self, index: str, limit: int, *, by: Principal) -> list[Release]:
        """The newest projects, each by the time of its first file; newest first. `Busy` as `releases`."""
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _listed(conn, index)
            found = releases.newcomers(conn, here.id)
            return _described(conn, here, self._first(conn, here, visible, found, limit, whole=True))

    def search(self, index: str, query: Query, limit: int, *, by: Principal) -> list[Hit]:
        """Projects whose names or latest summaries hold the query's terms, the closest first.

        `Busy` before the first listing.
        """
        visible = self.visible(index, by=by)
        with self._catalogue.read() as conn:
            here = _listed(conn, index)
            withheld, pages = _closed(conn, here), self._own_pages(conn, here)
            found = [
                project
                for project in releases.candidates(conn, here.id, query, CANDIDATES)
                if project not in withheld and visible.sees(project)
            ]
            found.sort(key=lambda project: (-query.score(project), project))
            hits = (_hit(conn, here, project, query, pages) for project in found[:LOOKED_AT])
            return [*islice((hit for hit in hits if hit is not None), limit)]

    def _first(
        self,
        conn: Connection,
        index: indexes.Index,
        visible: Visibility,
        found: Iterator[First],
        limit: int,
        *,
        whole: bool = False,
    ) -> list[First]:
        """The first of them that may be seen; versions that are equal (VER-2) count once, by the oldest.

        `whole`: each stands for its project.
        """
        withheld, pages = _closed(conn, index), self._own_pages(conn, index)
        chosen: dict[tuple[str, str], First] = {}
        for first in found:
            if len(chosen) >= limit:
                break
            if first.project in withheld or not visible.sees(first.project):
                continue
            shown = first if pages is None else _shown(first, pages(first.project), whole=whole)
            if shown is not None:
                chosen[shown.project, names.canonical_version(shown.version)] = shown
        return sorted(chosen.values(), key=lambda first: -first.at)


def index_of(conn: Connection, name: str) -> indexes.Index:
    """An index by its name. Raises `NotFound`."""
    found = indexes.find(conn, name) if is_storable(name) else None
    if found is None:
        raise NotFound("There is no such index.")
    return found


def newest_serial(conn: Connection, index: indexes.Index, visible: Visibility) -> int:
    """The serial of the newest change of a project that may be seen; 0 where there is none."""
    if visible.nothing:
        return 0
    found = journal.newest(conn, index.id)
    return next((change.serial for change in found if visible.sees(change.project)), 0)


def is_storable(text: str) -> bool:
    """Whether a text from outside can be asked of a database: no NUL, and nothing that is not Unicode."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _listed(conn: Connection, name: str) -> indexes.Index:
    """An index of which the first listing is done: a feed is never a part of what is there."""
    here = index_of(conn, name)
    scan = scans.find(conn, here.id)
    if not scan.listed and scan.finished is None:
        raise Busy(
            f"The folders of index {name} are being listed for the first time. "
            f"Try again in {RETRY_SECONDS} s.",
            retry_after=RETRY_SECONDS,
        )
    return here


def quarantined(conn: Connection, index: indexes.Index) -> frozenset[str]:
    """The projects of which nothing is offered (PEP 792)."""
    markers = statuses.list(conn, index.id)
    return frozenset(marker.project for marker in markers if marker.status is Status.QUARANTINED)


def _closed(conn: Connection, index: indexes.Index) -> frozenset[str]:
    """The projects of which nothing is told."""
    return quarantined(conn, index) | origins.projects_of(conn, index.id, [Origin.BLOCKED])


def _shown(first: First, page: Page | None, *, whole: bool) -> First | None:
    """A release (`whole`: a project) by those of its files that its page has; None where there are none."""
    wanted = names.canonical_version(first.version)
    found = [
        file
        for file in (() if page is None else page.files)
        if whole or names.canonical_version(file.version) == wanted
    ]
    if not found:
        return None
    at, last = min(file.upload_time for file in found), found[-1]
    return First(first.project, last.version, at, last.filename.casefold())


def _described(conn: Connection, index: indexes.Index, found: Iterable[First]) -> list[Release]:
    found = [*found]
    said = releases.described(conn, index.id, [first.key for first in found])
    return [
        Release(first.project, name, names.normalized_version(first.version), first.at, summary)
        for first in found
        for name, summary in [said[first.key]]
    ]


def _hit(
    conn: Connection, index: indexes.Index, project: str, query: Query, pages: Pages | None
) -> Hit | None:
    """The project as its latest release describes it, where that fits. `pages`: what is shown of it."""
    known = projects.find(conn, index.id, project)
    if pages is None:
        listed: Sequence[File] = files.list_project(conn, index.id, project)
    else:
        ruled = pages(project)
        listed = () if ruled is None else ruled.files
    if known is None or not listed:
        return None
    listed = sorted(listed, key=lambda file: (names.version_key(file.version), file.filename))
    versions = tuple(dict.fromkeys(names.normalized_version(file.version) for file in listed))
    page = Page(index.name, project, known.name, known.serial, versions, tuple(listed))
    version = chosen_version(page, None)
    file = metadata_file(page, version)
    if file is None:
        return None
    key = file.filename.casefold()
    _, summary = releases.described(conn, index.id, [key])[key]
    if not query.fits(known.name, summary):
        return None
    return Hit(project, known.name, version, summary, query.score(known.name))
