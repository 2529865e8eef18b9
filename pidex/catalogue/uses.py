"""When tokens were last used at any node of a cluster. May be lost."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text

#: For how long it is remembered, in seconds.
REMEMBERED_SECONDS = 400 * 86_400

_NAME = "used:"
_NOTE = text(
    "insert into shared (name, value, until) values (:name, :value, :until)"
    " on conflict (name) do update set value = excluded.value, until = excluded.until"
    " where shared.until < excluded.until"
)
_LIST = text("select name, value from shared where name like 'used:%'")


def note(conn: Connection, token_id: int, at: int) -> None:
    """Remember that a token was used at a time (microseconds since 1970), unless it was later elsewhere."""
    until = at + REMEMBERED_SECONDS * 1_000_000
    conn.execute(_NOTE, {"name": f"{_NAME}{token_id}", "value": str(at), "until": until})


def list(conn: Connection) -> Mapping[int, int]:  # noqa: A001
    """When each token was last used (microseconds since 1970), as far as is known."""
    return {int(name.removeprefix(_NAME)): int(value) for name, value in conn.execute(_LIST)}
