"""Search in an index: projects by their texts, narrowed by facets; names that were meant; who needs what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import itemgetter
from time import monotonic
from typing import NamedTuple

from pidex.catalogue import contents, indexes, journal, origins, projects
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.fulltext import SharedTexts
from pidex.catalogue.search import State, Texts
from pidex.core import compatibility, finds, metadata, names, needs
from pidex.core.finds import Candidate, Document, Filters, Found
from pidex.core.interfaces import Clock
from pidex.core.layers import Origin
from pidex.core.listing import EVERYTHING
from pidex.core.metadata import Metadata
from pidex.core.model import File, Principal, Status
from pidex.core.pypijson import chosen_version, metadata_file
from pidex.history import Share, index_of
from pidex.resolver import Resolver
from pidex.resolver.listing import listing_of
from pidex.resolver.ruled import concerns_own, ruled
from pidex.resolver.shares import outside, shares_of

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


class _View(NamedTuple):
    """What an index shows to somebody: by its layers, and which names of its upstreams' lists."""

    shares: Mapping[str, Share]
    upstreams: Sequence[str]
    open: Callable[[str], bool]

    def answering(self, found: Iterable[Candidate]) -> Sequence[Candidate]:
        """Those of what was found that the index shows, of each project what its first layer has."""
        off = cache(lambda kind: finds.kind_of(kind).status == Status.QUARANTINED.value)
        told = {name: (share.closed, share.answers) for name, share in self.shares.items()}
        shown = [
            each
            for each in found
            for closed, answers in [told[each[0]]]
            if each[1] not in closed and not off(each[2]) and answers(each[1])
        ]
        if len(told) == 1:
            return shown
        places = {name: place for place, name in enumerate(told)}
        best: dict[str, Candidate] = {}
        for each in shown:
            other = best.get(each[1])
            if other is None or places[each[0]] < places[other[0]]:
                best[each[1]] = each  # in the place of the one that fits better
        return [*best.values()]

    def told(self, found: Iterable[Found]) -> tuple[Found, ...]:
        """Those of which rules and holds leave the release that is told of.

        The texts are made under the rules too. This is for rules that have just changed, for those of heirs,
        and for exemptions that have just ended.
        """
        return tuple(each for each in found if self._has(each))

    def _has(self, found: Found) -> bool:
        pages = self.shares[found.index].pages
        page = None if pages is None else pages(found.project)
        return pages is None or (page is not None and found.version in page.versions)

    def shows(self, name: str, project: str) -> bool:
        """Whether anything of a layer's project is shown."""
        share = self.shares[name]
        if project in share.closed or not share.answers(project):
            return False
        page = None if share.pages is None else share.pages(project)
        return page is None or bool(page.files)


class Search:
    """Finds projects. Safe to use from threads; every method answers with what `by` may know of.

    The texts follow the catalogue's journal: a question first catches up with what changed since the last
    one, for a moment at most; `follow` does so without a bound.
    """

    def __init__(
        self, catalogue: Catalogue, texts: Texts | SharedTexts, resolver: Resolver, clock: Clock
    ) -> None:
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
        filling = self._catch_up()
        now, words = self._clock(), finds.words(query)
        with self._looking(index, by) as view:
            found = [] if query.strip() and not words else self._texts.find(words, [*view.shares])
            seen = filters.narrow(view.answering(found), now)
            if newest:
                seen = sorted(seen, key=itemgetter(3), reverse=True)
            name = names.normalize("-".join(words))
            elsewhere = () if offset or not words else self._elsewhere(view, name)
            meant = () if seen or elsewhere or not words else self._meant(view, name)
            facets, asked = dict(finds.facets(seen)), seen[offset : offset + limit]
            told = view.told(self._texts.tell(asked))
        return Results(told, len(seen) - len(asked) + len(told), facets, meant, filling, elsewhere)

    def near(self, index: str, name: str, *, by: Principal) -> Sequence[str]:
        """Names of projects that were perhaps meant."""
        with self._looking(index, by) as view:
            return self._meant(view, name)

    def needed_by(self, index: str, project: str, *, by: Principal) -> Sequence[tuple[str, str]]:
        """(project, requirement) of each project of the index whose latest release needs this one."""
        self._catch_up()
        with self._looking(index, by) as view:
            return [
                found
                for name in view.shares
                for found in self._texts.needed_by(name, names.normalize(project))
                if view.shows(name, found[0])
            ]

    def known(self, index: str, projects: Iterable[str], *, by: Principal) -> frozenset[str]:
        """Those of the normalised names that the index has."""
        wanted = [*projects]
        with self._looking(index, by) as view:
            return frozenset(
                project
                for name in view.shares
                for project in self._texts.known(name, wanted)
                if view.shows(name, project)
            )

    def _meant(self, view: _View, text: str) -> tuple[str, ...]:
        """Names of which one letter is wrong; only where there are none, those of which two are."""
        wanted = names.normalize(text)[:100]
        found: dict[str, None] = {}
        for name in view.shares:
            near = self._texts.near([f"index:{name}"], wanted, 10 * OFFERED)
            found |= dict.fromkeys(each for each in near if view.shows(name, each))
        elsewhere = self._texts.near(view.upstreams, wanted, 10 * OFFERED)
        found |= dict.fromkeys(each for each in elsewhere if view.open(each))
        steps = {each: finds.distance(wanted, each, 2) or 0 for each in found}
        least = max(1, min(steps.values(), default=1))
        closest = sorted((step, each) for each, step in steps.items() if step <= least)
        return tuple(each for _, each in closest[:OFFERED])

    def _elsewhere(self, view: _View, start: str) -> tuple[str, ...]:
        """Names of upstreams that begin with a text, the shortest first."""
        if not view.upstreams or len(start) < STARTING:
            return ()
        found = {*self._texts.starting(view.upstreams, start, UPSTREAM_NAMES)}
        for name in view.shares:
            found -= {*self._texts.known(name, found)}
        return tuple(sorted(filter(view.open, found), key=lambda name: (len(name), name))[: 2 * OFFERED])

    @contextmanager
    def _looking(self, index: str, by: Principal) -> Iterator[_View]:
        """What an index shows to somebody, by one state of the catalogue. Raises `NotFound`."""
        sees = partial(self._resolver.visible, by=by)
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            shares = {share.layer.name: share for share in shares_of(conn, here, sees, self._clock())}
            found = dict.fromkeys(name for share in shares.values() for name in share.layer.upstreams)
            yield _View(
                shares,
                [f"upstream:{name}" for name in found],
                outside(conn, here, sees, self._clock()) if found else lambda _: False,
            )

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
            behind = last_project if index.name == last_index else ""
            for line in projects.list(conn, index.id, withheld=True, behind=behind):
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
