"""Search in an index: projects by their texts, narrowed by facets; names that were meant; who needs what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic

from pidex.catalogue import contents, indexes, journal, origins, projects
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.search import State, Texts
from pidex.core import compatibility, finds, metadata, names, needs
from pidex.core.finds import Document, Filters, Found
from pidex.core.interfaces import Clock
from pidex.core.layers import Origin
from pidex.core.listing import EVERYTHING
from pidex.core.metadata import Metadata
from pidex.core.model import File, Page, Principal, Status
from pidex.core.permissions import Visibility
from pidex.core.pypijson import chosen_version, metadata_file
from pidex.resolver import Resolver
from pidex.resolver.listing import listing_of
from pidex.resolver.ruled import concerns_own, own_pages, ruled

#: Projects of which texts are written in one transaction, and seconds that a question spends on catching up.
STEP_PROJECTS = 200
CATCH_UP_SECONDS = 0.25
#: Changes after which everything is made anew.
MAX_CHANGES = 10_000
#: Names that are offered where nothing was found.
OFFERED = 5
#: Letters from which on names of upstreams are offered, and how many are looked at.
STARTING, UPSTREAM_NAMES = 3, 500


@dataclass(frozen=True, slots=True)
class Results:
    """What a search found. `meant`: names that were perhaps meant. `filling`: texts are still being read.

    `elsewhere`: names of upstreams that begin so, of which no file is here.
    """

    found: tuple[Found, ...]
    total: int
    facets: dict[str, Sequence[tuple[str, int]]]
    meant: tuple[str, ...]
    filling: bool
    elsewhere: tuple[str, ...] = ()


class Search:
    """Finds projects. Safe to use from threads; every method answers with what `by` may know of.

    The texts follow the catalogue's journal: a question first catches up with what changed since the last
    one, for a moment at most; `follow` does so without a bound.
    """

    def __init__(self, catalogue: Catalogue, texts: Texts, resolver: Resolver, clock: Clock) -> None:
        self._catalogue, self._texts, self._resolver, self._clock = catalogue, texts, resolver, clock

    def search(
        self,
        index: str,
        query: str,
        filters: Filters,
        *,
        by: Principal,
        offset: int = 0,
        limit: int = 20,
        newest: bool = False,
    ) -> Results:
        """The projects of an index that fit, the best (or the newest) first; without a query, all of them.

        Raises `BadRequest` for a query that is too long, `NotFound` for an unknown index.
        """
        visible = self._resolver.visible(index, by=by)
        words = finds.words(query)
        filling = self._catch_up()
        now = self._clock()
        found = [] if query.strip() and not words else self._texts.find(words, index)
        seen = [
            each
            for each in found
            if each.status != "quarantined" and visible.sees(each.project) and filters.fits(each, now)
        ]
        if newest:
            seen.sort(key=lambda each: -each.updated)
        name = names.normalize("-".join(words))
        elsewhere = () if offset or not words else self._elsewhere(index, name, visible)
        meant = () if seen or elsewhere or not words else self._meant(index, name, visible)
        facets, asked = dict(finds.facets(seen)), seen[offset : offset + limit]
        told = self._told(index, asked)
        return Results(told, len(seen) - len(asked) + len(told), facets, meant, filling, elsewhere)

    def near(self, index: str, name: str, *, by: Principal) -> Sequence[str]:
        """Names of projects that were perhaps meant."""
        return self._meant(index, name, self._resolver.visible(index, by=by))

    def needed_by(self, index: str, project: str, *, by: Principal) -> Sequence[tuple[str, str]]:
        """(project, requirement) of each project of the index whose latest release needs this one."""
        visible = self._resolver.visible(index, by=by)
        self._catch_up()
        found = self._texts.needed_by(index, names.normalize(project))
        shown = self._shown(index, [each for each, _ in found if visible.sees(each)])
        return [(each, text) for each, text in found if each in shown]

    def known(self, index: str, projects: Iterable[str], *, by: Principal) -> frozenset[str]:
        """Those of the normalised names that the index has."""
        visible = self._resolver.visible(index, by=by)
        found = self._texts.known(index, [each for each in projects if visible.sees(each)])
        return self._shown(index, found)

    def _meant(self, index: str, text: str, visible: Visibility) -> tuple[str, ...]:
        sources = [f"index:{index}", *self._upstreams(index)]
        near = self._texts.near(sources, names.normalize(text)[:100], 10 * OFFERED)
        seen = [name for name in dict.fromkeys(near) if visible.sees(name)]
        shown = self._shown(index, seen)
        return tuple(islice((name for name in seen if name in shown), OFFERED))

    def _told(self, index: str, found: Sequence[Found]) -> tuple[Found, ...]:
        """Those of which rules and holds leave the release that is told of.

        The texts are made under the rules too. This is for rules that have just changed, and for exemptions
        that have just ended.
        """
        pages = self._pages(index, [each.project for each in found])
        if pages is None:
            return tuple(found)
        versions = {project: page.versions for project, page in pages.items() if page is not None}
        return tuple(each for each in found if each.version in versions.get(each.project, ()))

    def _shown(self, index: str, projects: Iterable[str]) -> frozenset[str]:
        """Those of the projects of which rules and holds leave anything; others than own ones are left."""
        every = frozenset(projects)
        pages = self._pages(index, every) or {}
        return every - {project for project, page in pages.items() if page is not None and not page.files}

    def _pages(self, index: str, projects: Iterable[str]) -> Mapping[str, Page | None] | None:
        """What is shown of own projects now; None where nothing is kept back."""
        with self._catalogue.read() as conn:
            here = indexes.find(conn, index)
            shown = None if here is None else own_pages(conn, here, self._clock())
            return None if shown is None else {project: shown(project) for project in projects}

    def _elsewhere(self, index: str, start: str, visible: Visibility) -> tuple[str, ...]:
        """Names of upstreams that begin with a text, the shortest first."""
        sources = self._upstreams(index)
        if not sources or len(start) < STARTING:
            return ()
        found = {*self._texts.starting(sources, start, UPSTREAM_NAMES)}
        found -= {*self._texts.known(index, found)}
        return tuple(sorted(filter(visible.sees, found), key=lambda name: (len(name), name))[: 2 * OFFERED])

    def _upstreams(self, index: str) -> Sequence[str]:
        """The sources of names that an index has beside its own."""
        with self._catalogue.read() as conn:
            here = indexes.find(conn, index)
            return [] if here is None else [f"upstream:{name}" for name in indexes.reached(conn, here)]

    def learn(self, upstream: str, names: Iterable[str]) -> int:
        """Take over the names that an upstream lists now, sorted; how many changed. For the main process."""
        return self._texts.learn(f"upstream:{upstream}", names)

    def learnt(self) -> frozenset[str]:
        """The upstreams of which names are known."""
        return frozenset(source.removeprefix("upstream:") for source in self._texts.sources())

    # --- keeping the texts in step --------------------------------------------------------------------------

    def follow(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring the texts up to the catalogue's newest change."""
        while not stopped() and self._step():
            pass

    def _catch_up(self) -> bool:
        """Do what can be done in a moment; whether a first filling is still under way."""
        end = monotonic() + CATCH_UP_SECONDS
        while self._step() and monotonic() < end:
            pass
        state = self._texts.state()
        return state is None or state.cursor is not None

    def _step(self) -> bool:
        """One transaction's worth; False where nothing is left to do."""
        state = self._texts.state()
        with self._catalogue.read() as conn:
            newest = journal.serial(conn)
            if state is None:
                return self._texts.write(None, State(newest, ""), ()) or True
            if state.cursor is not None:
                return self._fill(conn, state)
            if newest == state.serial:
                return False
            if newest < state.serial or newest - state.serial > MAX_CHANGES:
                self._texts.forget()
                return True
            touched = [pair for pair in journal.touched(conn, state.serial) if pair[1]]
            again = min((index for index, project in touched if project == EVERYTHING), default=None)
            # Other rules: the texts of this index, and of those after it, are made once more, step by step.
            cursor = None if again is None else f"{again}/"
            return self._write(conn, state, State(newest, cursor), touched)

    def _fill(self, conn: Connection, state: State) -> bool:
        """The next projects of a first filling, by index and name."""
        last_index, _, last_project = (state.cursor or "").partition("/")
        waiting: list[tuple[str, str]] = []
        for index in sorted(indexes.list(conn), key=lambda each: each.name):
            if index.name < last_index:
                continue
            after = last_project if index.name == last_index else ""
            for line in projects.list(conn, index.id, withheld=True):
                if line.project > after:
                    waiting.append((index.name, line.project))
                    if len(waiting) == STEP_PROJECTS:
                        break
            if len(waiting) == STEP_PROJECTS:
                break
        cursor = "/".join(waiting[-1]) if len(waiting) == STEP_PROJECTS else None
        return self._write(conn, state, State(state.serial, cursor), waiting)

    def _write(
        self, conn: Connection, before: State, after: State, touched: Iterable[tuple[str, str]]
    ) -> bool:
        known = {each.name: each for each in indexes.list(conn)}
        blocked = {name: origins.projects_of(conn, each.id, [Origin.BLOCKED]) for name, each in known.items()}
        documents, gone = [], []
        for name, project in touched:
            hidden = name not in known or project in blocked[name]
            document = None if hidden else _document(conn, known[name], project, self._clock())
            if document is None:
                gone.append((name, project))
            else:
                documents.append((name, document))
        self._texts.write(before, after, documents, gone)
        return True


def _document(conn: Connection, index: indexes.Index, project: str, now: float) -> Document | None:
    """What searches know of a project: the latest release that is shown, as its metadata describes it."""
    listing = listing_of(conn, index, project)
    if listing is None:
        return None
    # Of what is quarantined the texts are kept, with its status: it may come back.
    page = replace(listing.page, files=listing.files, status=Status.ACTIVE)
    if concerns_own(conn, index):
        page = ruled(conn, (index,), page, None, now).page
    files = page.files
    if not files:
        return None
    version = chosen_version(page, None)
    described = metadata_file(page, version)
    data = (
        None if described is None else contents.find_metadata(conn, described.sha256, described.packagetype)
    )
    told = Metadata() if data is None else metadata.parse(data)
    wanted = names.canonical_version(version)
    latest = [file for file in files if names.canonical_version(file.version) == wanted]
    return Document(
        project=project,
        name=page.name,
        version=version,
        summary=told.summary or "",
        keywords=" ".join([told.keywords or "", *told.import_names]).replace(",", " "),
        body=told.description or "",
        licence=finds.licence(told),
        origin=_origin(latest),
        status=listing.page.status.value,
        updated=max(file.upload_time for file in files),
        files=len(files),
        pythons=compatibility.pythons(latest),
        platforms=compatibility.families(latest),
        needs=tuple(
            dict.fromkeys(
                (need.project, need.text) for need in needs.read(told.requires_dist) if need.project
            )
        ),
    )


def _origin(files: Sequence[File]) -> str:
    """Where the files came from: empty for our own."""
    found = {str(getattr(file, "origin", "")) for file in files}
    return "" if "" in found else min(found)
