"""Statements that are compiled once and handed to SQLite's driver as they are: 5 us in place of 60 us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable

#: Lengths of lists for which a statement is kept compiled: longer ones are rare, and worth SQLAlchemy's time.
KEPT_LENGTHS = 64

#: SQL, its parameters in their order, and the values that the statement has itself.
_Compiled = tuple[str, tuple[str, ...], Mapping[str, Any]]


class Prepared:
    """A statement for the way that every upload takes, with named parameters of plain types.

    What comes back is as the driver has it: no booleans. `many` names the parameter that is a list (made with
    `expanding=True`). On PostgreSQL, whose round trip costs more than SQLAlchemy does, it is executed by it.
    """

    def __init__(self, statement: Any, *, many: str | None = None) -> None:
        self.statement: Executable = statement
        self._many = many
        self._compiled: dict[int, _Compiled] = {}

    def all(self, conn: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows; none where the statement gives none back."""
        count = len(values[self._many]) if self._many is not None else 1
        if conn.dialect.name != "sqlite" or not 0 < count <= KEPT_LENGTHS:
            result = conn.execute(self.statement, values)
            return result.all() if result.returns_rows else ()
        sql, names, fixed = self._compiled.get(count) or self._compile(conn, values, count)
        given = {**fixed, **values}
        if self._many is not None:
            given.update((f"{self._many}_{at}", one) for at, one in enumerate(values[self._many], 1))
        # The transaction is SQLAlchemy's, which began it on this very connection.
        driver: Any = conn.connection.driver_connection
        found: Sequence[Any] = driver.execute(sql, [given[name] for name in names]).fetchall()
        return found

    def first(self, conn: Connection, values: Mapping[str, Any]) -> Any | None:
        """The first row, or None."""
        rows = self.all(conn, values)
        return rows[0] if rows else None

    def one(self, conn: Connection, values: Mapping[str, Any]) -> Any:
        """The only row there is."""
        (row,) = self.all(conn, values)
        return row

    def run(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for each row; none of them: nothing happens. Rows name the same parameters."""
        if not rows:
            return
        if conn.dialect.name != "sqlite":
            conn.execute(self.statement, rows)
            return
        sql, names, fixed = self._compiled.get(1) or self._compile(conn, rows[0], 1)
        driver: Any = conn.connection.driver_connection
        driver.executemany(
            sql, [[row[name] if name in row else fixed[name] for name in names] for row in rows]
        )

    def _compile(self, conn: Connection, values: Mapping[str, Any], count: int) -> _Compiled:
        statement: Any = self.statement
        compiled = statement.compile(dialect=conn.dialect, column_keys=[*values])
        expanded = compiled.construct_expanded_state(values)
        names = tuple(expanded.positiontup or ())
        found = self._compiled[count] = (expanded.statement, names, dict(expanded.parameters))
        return found
