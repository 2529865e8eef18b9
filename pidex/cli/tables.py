"""Rows of values as people read them: columns under their titles, times as dates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime


def lines(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], nothing: str) -> Iterator[str]:
    """A table: `columns` maps titles to fields. `nothing`: what to say where there is no row."""
    if not rows:
        yield nothing
        return
    cells = [[*columns], *([cell(row.get(field)) for field in columns.values()] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def cell(value: object) -> str:
    """One value; control characters never reach a terminal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], ()):
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)


def day(microseconds: int | None) -> str | None:
    """A time in microseconds since 1970 as a date of UTC, with minutes."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
