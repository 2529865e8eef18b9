"""How often what was downloaded, by day, client and Python; what nobody uses, who uses what was yanked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pidex.catalogue import downloads, files, indexes, yanks
from pidex.catalogue.downloads import Count
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.expendable import Expendable
from pidex.core import names
from pidex.core.agents import client_of
from pidex.core.errors import BadRequest, NotFound, PidexError
from pidex.core.interfaces import Clock
from pidex.core.model import Principal
from pidex.core.permissions import OPERATOR_GROUP, Action, Visibility

#: Days that are told apart; older ones are one sum a file.
KEEP_DAYS = 400
#: Days after which a file that nobody downloaded is one that is not used.
UNUSED_DAYS = 30
#: Lines of a list.
LINES = 500
DAY_SECONDS = 86_400

Visibilities = Callable[[Principal, str, Action], Visibility]
#: Index and file name of a download, and the User-Agent that asked for it.
Download = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Share:
    """So many downloads of a version, a file, by a client, for a Python or of a project."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """Downloads of one day (days since 1970, UTC)."""

    day: int
    number: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Downloads of a project or an index in the last `days`: one entry a day, the rest most used first.

    `project` is empty where it is about a whole index; then `projects` says which, else `versions` and
    `files`. Empty names of Pythons: the client did not say.
    """

    index: str
    project: str
    days: int
    total: int
    by_day: tuple[DayCount, ...]
    clients: tuple[Share, ...]
    pythons: tuple[Share, ...]
    projects: tuple[Share, ...] = ()
    versions: tuple[Share, ...] = ()
    files: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class Unused:
    """A file that nobody has downloaded since it is counted. `listed` in microseconds since 1970, UTC."""

    project: str
    name: str
    version: str
    filename: str
    size: int
    listed: int


@dataclass(frozen=True, slots=True)
class YankedUse:
    """A yanked file that somebody still downloads. `last` in days since 1970, UTC."""

    project: str
    version: str
    filename: str
    client: str
    python: str
    number: int
    last: int
    reason: str


class Statistics:
    """Counts downloads. No addresses, no users: only what a User-Agent says of program and Python.

    Workers `note` what they sent, in batches; the main process `settle`s that into the catalogue. Questions
    are answered of what `by` may know of. Safe to use from threads and processes.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        expendable: Expendable,
        clock: Clock,
        visibility: Visibilities | None = None,
    ) -> None:
        self._catalogue, self._expendable, self._clock = catalogue, expendable, clock
        self._visibility = visibility

    # --- counting -------------------------------------------------------------------------------------------

    def note(self, found: Mapping[Download, int]) -> None:
        """Count downloads; they wait in cache.db until `settle`. Names that are no package's are left out."""
        day, sums = self._today(), Counter[Count]()
        for (index, filename, agent), number in found.items():
            try:
                parsed = names.parse(filename)
            except PidexError:
                continue
            client = client_of(agent)
            key = Count(index, day, parsed.project, filename, *client, parsed.version, 0)
            sums[key] += number
        downloads.note(self._expendable, (key._replace(number=number) for key, number in sums.items()))

    def settle(self) -> int:
        """Add what was noted to the sums in the catalogue, and fold old days; how many lines there were.

        For the main process. Raises `CatalogueError`; what was noted waits on then.
        """
        taken = downloads.take(self._expendable)
        try:
            with self._catalogue.read() as conn:
                old = downloads.is_old(conn, self._today() - KEEP_DAYS)
            if taken or old:
                with self._catalogue.write() as conn:
                    downloads.add(conn, taken, {each.name: each.id for each in indexes.list(conn)})
                    if old:
                        downloads.fold(conn, self._today() - KEEP_DAYS)
        except BaseException:
            downloads.note(self._expendable, taken)
            raise
        return len(taken)

    # --- questions ------------------------------------------------------------------------------------------

    def project(self, index: str, project: str, *, days: int = 30, by: Principal) -> Usage:
        """Downloads of a project through an index. `NotFound` where `by` may not know of it."""
        project, since = names.normalize(project), self._since(days)
        if not self._visible(index, by).sees(project):
            raise NotFound(f"Index {index} has no project {project[:100]}.")
        with self._catalogue.read() as conn:
            found = downloads.list_project(conn, _index(conn, index).id, project, since)
        return Usage(
            index,
            project,
            days,
            sum(each.number for each in found),
            self._days(days, ((each.day, each.number) for each in found)),
            _shares((each.client, each.number) for each in found),
            _shares((each.python, each.number) for each in found),
            versions=_shares((each.version, each.number) for each in found),
            files=_shares((each.filename, each.number) for each in found),
        )

    def index(self, index: str, *, days: int = 30, by: Principal) -> Usage:
        """Downloads through an index, of the projects that `by` may know of."""
        since, visible = self._since(days), self._visible(index, by)
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            if visible.everything:
                found = downloads.totals(conn, here.id, since, LINES)
            else:
                found = _seen(conn, here.id, since, visible)
        return Usage(
            index,
            "",
            days,
            sum(number for _, number in found["client"]),
            self._days(days, found["day"]),
            _shares(found["client"]),
            _shares(found["python"]),
            projects=_shares(found["project"]),
        )

    def never(self, index: str, *, by: Principal) -> Sequence[Unused]:
        """Own files, listed for `UNUSED_DAYS`, that nobody downloaded through any index; oldest first."""
        visible = self._visible(index, by)
        before = int((self._clock() - UNUSED_DAYS * DAY_SECONDS) * 1_000_000)
        with self._catalogue.read() as conn:
            found = downloads.never(conn, _index(conn, index).id, before)
            return [*islice((Unused(*each) for each in found if visible.sees(each[0])), LINES)]

    def yanked(self, index: str, *, days: int = 30, by: Principal) -> Sequence[YankedUse]:
        """Yanked files that were downloaded in the last days: by which client for which Python, most first.

        Files of which the last download was before the day of the yank are not among them.
        """
        visible, since = self._visible(index, by), self._since(days)
        marks: dict[str, tuple[str, int]] = {}
        with self._catalogue.read() as conn:
            here = _index(conn, index)
            lines = [line for line in downloads.of_yanked(conn, here.id, since) if visible.sees(line[0])]
            for project in {line[0] for line in lines}:
                day = _yanked_on(conn, here.id, project)
                for file in files.list_project(conn, here.id, project):
                    if file.yanked is not None:
                        marks[file.filename] = file.yanked, day
        found = [
            YankedUse(*line, marks[line[2]][0])
            for line in lines
            if line[2] in marks and line[-1] >= marks[line[2]][1]
        ]
        return sorted(found, key=lambda each: (-each.number, each.filename, each.client))[:LINES]

    def _visible(self, index: str, by: Principal) -> Visibility:
        if self._visibility is None or OPERATOR_GROUP in by.groups:
            return Visibility(frozenset({"*"}), ("*",) if by.token is None else by.token.projects)
        return self._visibility(by, index, Action.LIST)

    def _today(self) -> int:
        return int(self._clock() // DAY_SECONDS)

    def _since(self, days: int) -> int:
        if not 1 <= days <= KEEP_DAYS:
            raise BadRequest(f"days has to be a number from 1 to {KEEP_DAYS}.")
        return self._today() - days + 1

    def _days(self, days: int, found: Iterable[tuple[int, int]]) -> tuple[DayCount, ...]:
        """Every day, also those without a download, oldest first."""
        sums = Counter[int]()
        for day, number in found:
            sums[day] += number
        today = self._today()
        return tuple(DayCount(day, sums[day]) for day in range(today - days + 1, today + 1))


def _seen(
    conn: Connection, index_id: int, since: int, visible: Visibility
) -> Mapping[str, Sequence[tuple[Any, int]]]:
    """As `downloads.totals`, of the projects that may be seen."""
    clients = [each for each in downloads.by_client(conn, index_id, since) if visible.sees(each[0])]
    days = [each for each in downloads.by_day(conn, index_id, since) if visible.sees(each[0])]
    return {
        "day": [(day, number) for _, day, number in days],
        "client": [(client, number) for _, client, _, number in clients],
        "python": [(python, number) for _, _, python, number in clients],
        "project": [(project, number) for project, _, _, number in clients],
    }


def _index(conn: Connection, name: str) -> indexes.Index:
    found = indexes.find(conn, name)
    if found is None:
        raise NotFound(f"There is no index {name[:100]}.")
    return found


def _yanked_on(conn: Connection, index_id: int, project: str) -> int:
    """The day of the first yank in a project."""
    marks = yanks.list_project(conn, index_id, project)
    return min((mark.at // (DAY_SECONDS * 1_000_000) for mark in marks), default=0)


def _shares(found: Iterable[tuple[str, int]]) -> tuple[Share, ...]:
    sums = Counter[str]()
    for name, number in found:
        sums[name] += number
    ordered = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Share(name, number) for name, number in ordered[:LINES])
