"""What happened in an index and what is new in it: changes by serial, newest releases, and search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from pidex.catalogue import files, indexes, journal, projects, releases, scans, statuses
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.releases import First
from pidex.core import metadata, names
from pidex.core.errors import Busy, NotFound
from pidex.core.interfaces import Mirrored
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


class Share(NamedTuple):
    """One layer of an index: what of its own files the index shows to somebody.

    `answers(project)`: whether this layer has a say about a name, and the caller may know of it. `closed`:
    the projects of which no file is told. `pages`: what is shown of a project; None: nothing is kept back.
    """

    layer: indexes.Index
    answers: Callable[[str], bool]
    closed: frozenset[str]
    pages: Pages | None


class History(ABC):
    """The part of the resolver that looks back. Names only projects that `visible` says `by` may see.

    It tells of what pages show: of the index's own files and those of its bases, after rules and holds; of
    upstreams, what is held. All methods raise `NotFound` for an unknown index.
    """

    _catalogue: Catalogue
    _visibility: Visibilities | None
    _mirror: Mirrored | None

    @abstractmethod
    def page(self, index: str, project: str, *, by: Principal) -> Page:
        """Everything the index says about a project; `NotFound` where `by` may not know of it."""

    @abstractmethod
    def _shares(self, conn: Connection, here: indexes.Index, by: Principal) -> Sequence[Share]:
        """The index, then its bases, in the order in which they answer."""

    @abstractmethod
    def _held_hits(
        self, conn: Connection, here: indexes.Index, query: Query, limit: int, by: Principal
    ) -> Sequence[Hit]:
        """Projects of upstreams that fit, of those whose pages are held here."""

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
        with self._catalogue.read() as conn:
            shares = self._shares(conn, index_of(conn, index), by)
            found = (_newest(conn, share) for share in shares)
            return max(found, default=0)

    def changes(
        self, index: str, since: int, limit: int = MAX_CHANGES, *, by: Principal, after: int = 0
    ) -> list[Change]:
        """The changes after a serial, oldest first, at most `limit` or `MAX_CHANGES`.

        `after`: only those later than this time, in microseconds since 1970. What happened to releases and
        files that are kept back now is not told.
        """
        with self._catalogue.read() as conn:
            shares = self._shares(conn, index_of(conn, index), by)
            lines = [
                _told(share, journal.told(conn, share.layer.id, since=since, after=after)) for share in shares
            ]
            found = merge(*lines, key=lambda change: change.serial)
            return [*islice(found, max(0, min(limit, MAX_CHANGES)))]

    def releases(self, index: str, limit: int, *, by: Principal, project: str | None = None) -> list[Release]:
        """The newest releases, of one project (normalised name) or all, by their first file; newest first.

        `Busy` before the first listing, and as `page` is for a project; `NotFound` for an unknown one. Those
        of upstreams are told of one project alone: which are new there, only their own feeds know.
        """
        if project is not None:
            return self._releases_of(self.page(index, project, by=by), limit)
        with self._catalogue.read() as conn:
            shares = self._shares(conn, index_of(conn, index), by)
            _require_listed(conn, shares)
            found = [(share, releases.newest(conn, share.layer.id)) for share in shares]
            return _described(conn, _first(found, limit))

    def newcomers(self, index: str, limit: int, *, by: Principal) -> list[Release]:
        """The newest projects, each by the time of its first file; newest first. `Busy` as `releases`."""
        with self._catalogue.read() as conn:
            shares = self._shares(conn, index_of(conn, index), by)
            _require_listed(conn, shares)
            found = [(share, releases.newcomers(conn, share.layer.id)) for share in shares]
            return _described(conn, _first(found, limit, whole=True))

    def search(self, index: str, query: Query, limit: int, *, by: Principal) -> list[Hit]:
        """Projects whose names or latest summaries hold the query's terms, the closest first.

        `Busy` before the first listing.
        """
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            shares = self._shares(conn, here, by)
            _require_listed(conn, shares)
            found: dict[str, Share] = {}
            for share in shares:
                for project in releases.candidates(conn, share.layer.id, query, CANDIDATES):
                    if project not in share.closed and share.answers(project):
                        found.setdefault(project, share)
            closest = sorted(found, key=lambda project: (-query.score(project), project))
            own = (_hit(conn, found[project], project, query) for project in closest[:LOOKED_AT])
            hits = [*islice((hit for hit in own if hit is not None), limit)]
            if here.alone or limit <= 0:
                return hits
            held = self._held_hits(conn, here, query, limit, by)
            hits += [hit for hit in held if hit.project not in found]
            return sorted(hits, key=lambda hit: (-hit.score, hit.project))[:limit]

    def _releases_of(self, page: Page, limit: int) -> list[Release]:
        """The newest releases of a page; versions that are equal (VER-2) are one, told by its first file."""
        first: dict[str, File] = {}
        for file in page.files:
            version = names.canonical_version(file.version)
            if version not in first or file.upload_time < first[version].upload_time:
                first[version] = file
        newest = sorted(first.values(), key=lambda file: -file.upload_time)[: max(0, limit)]
        said = self._summaries(newest)
        return [
            Release(
                page.project,
                file.name,
                names.normalized_version(file.version),
                max(0, file.upload_time),
                said.get(file.filename),
            )
            for file in newest
        ]

    def _summaries(self, found: Sequence[File]) -> Mapping[str, str | None]:
        """What files say of themselves, as far as that is known here."""
        said: dict[str, str | None] = {}
        own: dict[str, list[File]] = {}
        for file in found:
            if not file.origin:
                own.setdefault(file.index, []).append(file)
            elif self._mirror is not None and (data := self._mirror.find_metadata(file)) is not None:
                said[file.filename] = metadata.parse(data).summary
        with self._catalogue.read() as conn:
            for name, files_ in own.items():
                keys = {file.filename.casefold(): file.filename for file in files_}
                told = releases.described(conn, index_of(conn, name).id, keys)
                said |= {keys[key]: summary for key, (_, summary) in told.items()}
        return said


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


def _require_listed(conn: Connection, shares: Sequence[Share]) -> None:
    """Raise `Busy` until the first listing of each is done: a feed is never a part of what is there."""
    for index in (share.layer for share in shares):
        scan = scans.find(conn, index.id)
        if index.watched and not scan.listed and scan.finished is None:
            raise Busy(
                f"The folders of index {index.name} are being listed for the first time. "
                f"Try again in {RETRY_SECONDS} s.",
                retry_after=RETRY_SECONDS,
            )


def quarantined(conn: Connection, index: indexes.Index) -> frozenset[str]:
    """The projects of which nothing is offered (PEP 792)."""
    markers = statuses.list(conn, index.id)
    return frozenset(marker.project for marker in markers if marker.status is Status.QUARANTINED)


def _newest(conn: Connection, share: Share) -> int:
    """The serial of the newest change of a layer that is told."""
    found = journal.newest(conn, share.layer.id)
    return next((change.serial for change in found if share.answers(change.project)), 0)


def _told(share: Share, found: Iterable[journal.Change]) -> Iterator[Change]:
    """Those of a layer's changes that may be told."""
    for change in found:
        if share.answers(change.project) and _is_told(share, change):
            yield Change(change.serial, change.project, change.version, change.action, change.at)


def _is_told(share: Share, change: journal.Change) -> bool:
    """Whether what a change speaks of is not kept back now. What is there no more was no secret."""
    if change.project in share.closed:
        return change.version is None
    page = None if share.pages is None else share.pages(change.project)
    if page is None or not page.withheld:
        return True
    if change.version is None:
        return bool(page.files)
    if change.filename is not None:
        key = change.filename.casefold()
        return all(kept.file.filename.casefold() != key for kept in page.withheld)
    version = names.canonical_version(change.version)
    hidden = {names.canonical_version(kept.file.version) for kept in page.withheld}
    return version not in hidden or any(
        names.canonical_version(file.version) == version for file in page.files
    )


def _first(
    found: Iterable[tuple[Share, Iterator[First]]], limit: int, *, whole: bool = False
) -> list[tuple[Share, First]]:
    """The first of them that may be seen; versions that are equal (VER-2) count once, by the oldest.

    `whole`: each stands for its project.
    """
    lines = [_shown_of(share, firsts, whole=whole) for share, firsts in found]
    chosen: dict[tuple[str, str], tuple[Share, First]] = {}
    for share, first in merge(*lines, key=lambda pair: -pair[1].at):
        if len(chosen) >= limit:
            break
        version = "" if whole else names.canonical_version(first.version)
        chosen[first.project, version] = (share, first)
    return sorted(chosen.values(), key=lambda pair: -pair[1].at)


def _shown_of(share: Share, found: Iterable[First], *, whole: bool) -> Iterator[tuple[Share, First]]:
    for first in found:
        if first.project not in share.closed and share.answers(first.project):
            shown = first
            if share.pages is not None:
                ruled = _shown(first, share.pages(first.project), whole=whole)
                if ruled is None:
                    continue
                shown = ruled
            yield share, shown


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


def _described(conn: Connection, found: Sequence[tuple[Share, First]]) -> list[Release]:
    keys: dict[int, list[str]] = {}
    for share, first in found:
        keys.setdefault(share.layer.id, []).append(first.key)
    said = {number: releases.described(conn, number, each) for number, each in keys.items()}
    return [
        Release(first.project, name, names.normalized_version(first.version), first.at, summary)
        for share, first in found
        for name, summary in [said[share.layer.id][first.key]]
    ]


def _hit(conn: Connection, share: Share, project: str, query: Query) -> Hit | None:
    """The project as its latest release describes it, where that fits."""
    index = share.layer
    known = projects.find(conn, index.id, project)
    if share.pages is None:
        listed: Sequence[File] = files.list_project(conn, index.id, project)
    else:
        ruled = share.pages(project)
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
