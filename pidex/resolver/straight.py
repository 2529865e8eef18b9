"""Projects for which one upstream answers alone, with nothing kept back: known while nothing changes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from pidex.catalogue import indexes
from pidex.catalogue.engine import Connection
from pidex.core.errors import NotFetched
from pidex.core.interfaces import Clock
from pidex.core.model import File, Page, Principal, Status
from pidex.core.permissions import Action, Visibility
from pidex.core.upstreams import Held, UpstreamFile
from pidex.core.written import Written
from pidex.history import History, index_of, is_storable
from pidex.resolver.layered import Layered, outlined
from pidex.resolver.listing import project_of
from pidex.resolver.ruled import is_open, ruled
from pidex.resolver.sheets import Sheets

#: Projects of which that is known at most.
PROJECTS = 4_096


class Straight(History):
    """The part of the resolver that what installers ask of an upstream goes through.

    `epoch` is a number that the caller gives another value whenever anything in the catalogue may have
    changed, before it asks: what was found out of a project is true for as long, and not read again.
    """

    _sheets: Sheets
    _clock: Clock

    def __init__(self) -> None:
        self._known: tuple[int, dict[tuple[str, str], str]] = (-1, {})

    @abstractmethod
    def _layered(
        self, conn: Connection, here: indexes.Index, by: Principal, action: Action = Action.LIST
    ) -> Layered:
        """What an index with bases or upstreams says, to whom."""

    def outline(
        self, index: str, project: str, *, by: Principal, epoch: int | None = None, wait: bool = True
    ) -> tuple[Page, Sequence[UpstreamFile] | None]:
        """As `page`, for who only writes it down as JSON.

        Where one upstream answers alone and no rule speaks of the project, its files come beside the page, as
        they are listed there and in our order: `simpleapi.page_json` makes the same of them.
        Without `wait`, `BlockingIOError` where the catalogue or the disk has to be asked.
        """
        visible = self.visible(index, by=by)
        upstream = self._straight(index, project, visible, epoch)
        held = None if upstream is None else self._held(upstream, project, wait=wait)
        if upstream is not None and held is not None and held.page is not None:
            if not wait and not isinstance(held.page.files, Written):
                raise BlockingIOError
            page, lines = outlined(index, upstream, held, held.page)
            return page, () if page.status is Status.QUARANTINED else lines
        if not wait:
            raise BlockingIOError
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            if not here.alone and is_storable(project) and visible.sees(project):
                layered = self._layered(conn, here, by)
                layered.outlined = is_open(conn, layered.line, project, self._clock())
                try:
                    page = layered.page(project)
                finally:
                    if epoch is not None and layered.straight:
                        self._note(index, project, epoch, layered.straight)
                if layered.outlined:
                    return page, () if page.status is Status.QUARANTINED else layered.lines
                return ruled(conn, layered.line, page, self._mirror, self._clock()).page, None
        return self.page(index, project, by=by), None

    def _straight(self, index: str, project: str, visible: Visibility, epoch: int | None) -> str | None:
        """The upstream that answers alone for a project; None where that is not known, or not to be told."""
        known, upstreams = self._known
        return upstreams.get((index, project)) if epoch == known and visible.sees(project) else None

    def _held(self, upstream: str, project: str, *, wait: bool) -> Held:
        held = None if self._mirror is None else self._mirror.find_page(upstream, project, wait=wait)
        if held is None:
            raise NotFetched(upstream, project)
        return held

    def _straight_file(
        self, index: str, digest: str, filename: str, visible: Visibility, epoch: int | None, *, wait: bool
    ) -> File | None:
        """The file of a URL, as `locate`, where it is there by what was found out; else None.

        Without `wait`, `BlockingIOError` where more has to be asked.
        """
        project = None if epoch is None else project_of(filename)
        upstream = None if project is None else self._straight(index, project, visible, epoch)
        if project is not None and upstream is not None:
            page = self._held(upstream, project, wait=wait).page
            if page is not None and page.status is not Status.QUARANTINED:
                for file in self._sheets.find_one(upstream, "", page, filename.casefold()).files:
                    if file.filename == filename and file.blake2b_256 == digest:
                        return file
        if not wait:
            raise BlockingIOError
        return None

    def _note(self, index: str, project: str, epoch: int, upstream: str) -> None:
        known, upstreams = self._known
        if epoch != known or len(upstreams) >= PROJECTS:
            # Both at once: what a late thread found out must not be taken for what is true now.
            upstreams = {}
            self._known = epoch, upstreams
        upstreams[index, project] = upstream
