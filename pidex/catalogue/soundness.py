"""What SQLite says of a catalogue file as it lies there: journal, integrity, and the library's version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pidex.catalogue.refusals import translated

#: The oldest SQLite that the statements here work with (partial indexes, upserts, RETURNING).
OLDEST_SQLITE = (3, 35, 0)


def sqlite_version() -> tuple[int, ...]:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version_info


def journal_mode(catalogue: Path) -> str:
    """'wal' for a catalogue in order. Raises `CatalogueError`."""
    with _reading(catalogue) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def damage(catalogue: Path) -> str | None:
    """The first damage that SQLite's quick check finds; None where it finds none. Raises `CatalogueError`."""
    with _reading(catalogue) as connection:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if found == "ok" else found.replace("\n", " ")


@contextmanager
def _reading(catalogue: Path) -> Iterator[sqlite3.Connection]:
    with (
        translated(str(catalogue)),
        closing(sqlite3.connect(f"{catalogue.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as found,
    ):
        yield found
