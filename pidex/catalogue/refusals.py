"""What a database's error means for a person, and what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from pidex.core.errors import CatalogueError, PidexError, StorageFull

REPAIR = "Stop the server, run `pidex restore --latest`, then `pidex scan`."

#: PostgreSQL's words for a full disk, and for what is as good as a server that is away: a standby that was
#: taken for the primary, and a transaction that was ended because it did nothing for too long.
DISK_FULL, AWAY_STATES = "53100", frozenset({"25006", "25P03"})


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise errors of the database called `name` as `CatalogueError` or `StorageFull`; others pass."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error) as error:
        found = refusal(error, name)
        if found is None:
            raise
        raise found from error


def damaged(name: str, how: str) -> CatalogueError:
    """The refusal of a corrupt catalogue, with the two commands that bring it back."""
    return CatalogueError(f"The catalogue {name} is damaged ({how}). {REPAIR}")


def refusal(error: Exception, name: str) -> PidexError | None:
    """The sentence for a database error; None where it is a mistake of ours, such as a broken constraint."""
    if isinstance(error, exc.TimeoutError):
        return CatalogueError(f"The catalogue {name} is asked too much at once.", retry_after=1)
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, name)
    state = getattr(cause, "sqlstate", None)
    if state == DISK_FULL:
        return StorageFull(f"There is no space left for the catalogue {name}.")
    if state in AWAY_STATES or isinstance(error, exc.OperationalError | exc.InterfaceError):
        return CatalogueError(f"The catalogue {name} does not answer: {str(cause).strip()}", retry_after=1)
    return None


def _of_sqlite(cause: sqlite3.Error, name: str) -> PidexError | None:
    code = getattr(cause, "sqlite_errorname", "")
    undecodable = not code and str(cause).startswith("Could not decode")  # said by the driver alone
    if undecodable or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")):
        return damaged(name, str(cause))
    if code.startswith("SQLITE_FULL"):
        return StorageFull(f"There is no space left for the catalogue {name}.")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return CatalogueError(f"The catalogue {name} is held by another writer for too long.", retry_after=1)
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR", "SQLITE_AUTH")):
        return CatalogueError(f"The catalogue {name} cannot be used: {cause} ({code}).")
    return None
