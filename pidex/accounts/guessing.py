"""Wrong guesses, counted once for all nodes of a cluster; see `core.throttle`, whose rules these are."""

from __future__ import annotations

from pidex.catalogue import guesses
from pidex.catalogue.engine import Catalogue
from pidex.core.throttle import ACCOUNT, ADDRESS, Ticket, keys


class SharedThrottle:
    """As `core.throttle.Throttle`, with its buckets in the database and by its clock. Thread-safe."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def take(self, account: str, address: str | None, _now: float) -> Ticket | float:
        """Leave to evaluate a guess, or the seconds until there may be one. Raises `CatalogueError`."""
        pair, by_address, by_account = keys(account, address)
        with self._catalogue.beside() as conn:
            known = guesses.is_known(conn, pair)
            wanted = [(pair, ACCOUNT)] if known else [(by_address, ADDRESS), (by_account, ACCOUNT)]
            taken, wait = [], 0.0
            for key, size in wanted:
                missing = guesses.take(conn, key, *size)
                if not missing:
                    taken.append((key, size))
                wait = max(wait, missing)
            if wait:
                for key, size in taken:
                    guesses.give(conn, key, size.seconds)
                return wait
        return Ticket(pair, tuple(wanted))

    def right(self, ticket: Ticket, _now: float) -> None:
        """The guess was right: it is paid back."""
        with self._catalogue.beside() as conn:
            for key, size in ticket.taken:
                guesses.give(conn, key, size.seconds)
            guesses.know(conn, ticket.pair)
