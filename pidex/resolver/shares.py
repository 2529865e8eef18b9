"""What each layer of an index adds to feeds, changelogs and searches, which are made of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

from pidex.catalogue import indexes, origins, places, projects
from pidex.catalogue.engine import Connection
from pidex.core import metadata
from pidex.core.errors import PidexError
from pidex.core.interfaces import Mirrored
from pidex.core.layers import Origin
from pidex.core.model import File, Hit, Page
from pidex.core.permissions import Visibility
from pidex.core.pypijson import chosen_version, metadata_file
from pidex.core.queries import Query
from pidex.core.upstreams import Held
from pidex.history import Share, quarantined
from pidex.resolver.layered import Layered, Sees, closed
from pidex.resolver.lineage import lineage_of
from pidex.resolver.ruled import hides, own_pages, ruled
from pidex.resolver.sheets import Sheets

#: Pages of upstreams that one search reads, of those whose names fit.
HELD_HITS = 100


def shares_of(conn: Connection, here: indexes.Index, sees: Sees, now: float) -> Sequence[Share]:
    """An index and its bases, each with what of it the index shows to who sees that (`sees`).

    The same as `choose` says of one name, for all names: the first layer that has anything of it, or all
    where it is merged. `now` in Unix seconds. Good as long as the connection reads the same state.
    """
    mine = sees(here.name)
    if mine.nothing:
        return ()
    line = lineage_of(conn, here)
    blocked = _decided(conn, line, Origin.BLOCKED)
    merged = frozenset[str]()
    if len(line) > 1:
        merged = _decided(conn, line, Origin.MERGED) - _decided(conn, line, Origin.LOCAL)
    shut = closed(conn, line)
    found: list[Share] = []
    before: set[str] = set()
    for number, each in enumerate(line):
        answers = _answers(mine, sees(each.name), blocked, frozenset(before - merged))
        withheld = shut | quarantined(conn, each)
        found.append(Share(each, answers, withheld, own_pages(conn, each, now, line)))
        if number + 1 < len(line):  # of the last nobody asks: it is mostly the largest
            before |= {project for project, _ in projects.sizes(conn, each.id)}
            before |= places.unfinished_projects(conn, each.id)
    return found


def outside(conn: Connection, here: indexes.Index, sees: Sees, now: float) -> Callable[[str], bool]:
    """Which names of upstreams' lists an index shows to who sees that. Claims are read at the first one."""

    @cache
    def judges() -> Sequence[Callable[[str], bool]]:
        line = lineage_of(conn, here)
        locked = Layered(conn, here, None, Sheets(), sees, whole=False).locked()
        ruled_out = (hides(conn, each, now, mirrored=True) for each in line if each.rules)
        return [locked, closed(conn, line).__contains__, *ruled_out]

    mine = sees(here.name)
    return lambda name: mine.sees(name) and not any(shut_out(name) for shut_out in judges())


class Hearsay(Mirrored):
    """A mirror that only says what it holds, however old: who searches has nothing asked."""

    def __init__(self, mirror: Mirrored) -> None:
        self._mirror = mirror

    def find_page(
        self, upstream: str, project: str, *, confirm: bool = True, wait: bool = True
    ) -> Held | None:
        return self._mirror.find_page(upstream, project, confirm=False, wait=wait)

    def list_pages(self, upstream: str) -> Iterator[str]:
        return self._mirror.list_pages(upstream)

    def list_names(self, upstream: str) -> Iterator[str]:
        return self._mirror.list_names(upstream)

    def has_name(self, upstream: str, project: str) -> bool:
        return self._mirror.has_name(upstream, project)

    def find_metadata(self, file: File, *, wait: bool = True) -> bytes | None:
        return self._mirror.find_metadata(file, wait=wait)

    def yanked_since(self, upstream: str, project: str) -> Mapping[str, int]:
        return self._mirror.yanked_since(upstream, project)


def held_hits(
    conn: Connection, layered: Layered, mirror: Mirrored, query: Query, *, now: float, limit: int
) -> Sequence[Hit]:
    """Projects of upstreams whose pages are held and that fit; `layered` has a `Hearsay` for a mirror."""
    names: dict[str, None] = {}
    for upstream in layered.upstreams():
        names |= dict.fromkeys(mirror.list_pages(upstream))
    by_name = Query(query.names, every=query.every)
    # Where a summary alone may do, each has to be looked at: it is in the metadata, where that is held.
    any_name = bool(query.summaries) and not query.every
    likely = [name for name in names if any_name or by_name.fits(name, None)]
    likely.sort(key=lambda name: (-query.score(name), name))

    def shown(project: str) -> Page | None:
        try:
            page = ruled(conn, layered.line, layered.page(project), mirror, now).page
        except PidexError:
            return None  # not ours to show, or dropped just now
        return page if page.origin and page.files else None

    found = (_held_hit(shown(name), mirror, query) for name in likely[:HELD_HITS])
    return [*islice((hit for hit in found if hit is not None), limit)]


def _held_hit(page: Page | None, mirror: Mirrored, query: Query) -> Hit | None:
    if page is None:
        return None
    version = chosen_version(page, None)
    described = metadata_file(page, version)
    data = None if described is None else mirror.find_metadata(described)
    summary = None if data is None else metadata.parse(data).summary
    if not query.fits(page.name, summary):
        return None
    return Hit(page.project, page.name, version, summary, query.score(page.name))


def _answers(
    mine: Visibility, own: Visibility, blocked: frozenset[str], taken: frozenset[str]
) -> Callable[[str], bool]:
    hidden = taken | blocked
    if mine.everything and own.everything:
        return lambda project: project not in hidden

    def answers(project: str) -> bool:
        return project not in hidden and mine.sees(project) and (own is mine or own.sees(project))

    return answers


def _decided(conn: Connection, line: Sequence[indexes.Index], origin: Origin) -> frozenset[str]:
    every = [origins.projects_of(conn, each.id, (origin,)) for each in line]
    return frozenset().union(*every)
