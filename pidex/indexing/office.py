"""What changes to indexes begin with: who may make them, and how they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pidex.accounts import Accounts
from pidex.catalogue import audit, indexes
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.errors import Forbidden, NotFound, Unauthenticated
from pidex.core.interfaces import Clock, Mirrored, Storage
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.intake import Intake


class Office:
    """The parts that changes are made with. `data`: the data directory.

    `known`: the URLs of upstreams that are known by name. `home`: where folders of indexes are made that name
    none, the data directory unless nodes have a place in common.
    """

    def __init__(  # noqa: PLR0917  the parts, in the order of the layers
        self,
        catalogue: Catalogue,
        storage: Storage,
        intake: Intake,
        accounts: Accounts,
        clock: Clock,
        data: Path,
        *,
        mirror: Mirrored | None = None,
        known: Callable[[str], str | None] = lambda _name: None,
        home: Path | None = None,
    ) -> None:
        self._catalogue, self._storage, self._intake = catalogue, storage, intake
        self._accounts, self._clock, self._data = accounts, clock, data
        self._mirror, self._known, self._home = mirror, known, home or data

    def _administers(self, by: Principal, index: str | None = None) -> None:
        """Raise what somebody is told who may not administer an index (None: the server)."""
        if index is not None:
            self._accounts.require(by, Action.ADMIN, index)
        elif by.name is None:
            raise Unauthenticated("That is for administrators of the server: sign in as one.")
        elif not self._accounts.allows(by, Action.ADMIN, None):
            raise Forbidden("That is for administrators of the server: `pidex grant add NAME admin`.")

    def _told(
        self,
        conn: Connection,
        by: Principal,
        action: str,
        index: indexes.Index | None = None,
        *,
        project: str | None = None,
        subject: str | None = None,
        before: object = None,
        after: object = None,
    ) -> None:
        """Write the audit's row, and have the pages of the index and its heirs made anew."""
        now = self._now()
        name = None if index is None else index.name
        audit.record(
            conn, by, action, index=name, project=project, subject=subject, before=before, after=after, at=now
        )
        if index is not None:
            indexes.announce(conn, index.id, at=now, by=by.name or "anonymous")

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def index_of(conn: Connection, name: str) -> indexes.Index:
    """An index by its name. Raises `NotFound`."""
    found = indexes.find(conn, name)
    if found is None:
        raise NotFound(f"There is no index {name[:80]}. `pidex index list` shows them.")
    return found
