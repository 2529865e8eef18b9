"""Who did what, from where, and what it was before: one row a change, in the change's own transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select

from pidex.catalogue.tables import audit
from pidex.core.model import Principal


class Entry(NamedTuple):
    """A row of the audit. `at` in microseconds since 1970, UTC; `before` and `after` are JSON or None."""

    id: int
    at: int
    actor: str
    via: str
    token_id: int | None
    address: str | None
    action: str
    index_name: str | None
    project: str | None
    subject: str | None
    before: str | None
    after: str | None


_COLUMNS = [audit.c[name] for name in Entry._fields]
_LIST = (
    select(*_COLUMNS)
    .where(audit.c.id > bindparam("since"))
    .order_by(audit.c.id.desc())
    .limit(bindparam("most"))
)


def record(
    conn: Connection,
    by: Principal,
    action: str,
    *,
    index: str | None = None,
    project: str | None = None,
    subject: str | None = None,
    before: object = None,
    after: object = None,
    at: int,
) -> None:
    """Write one row in the caller's transaction. `action` is a noun and a verb: 'file.delete'.

    `before` and `after` are what JSON can hold, never a secret. `at` in microseconds since 1970, UTC.
    """
    row: dict[str, Any] = {
        "at": at,
        "actor": by.name or "anonymous",
        "via": by.via,
        "token_id": None if by.token is None else by.token.token_id,
        "address": by.address,
        "action": action,
        "index_name": index,
        "project": project,
        "subject": subject,
        "before": _text(before),
        "after": _text(after),
    }
    conn.execute(insert(audit).values(row))


def list(conn: Connection, *, since: int = 0, limit: int) -> Sequence[Entry]:  # noqa: A001
    """The newest rows after number `since`, newest first, at most `limit`."""
    return [Entry(*row) for row in conn.execute(_LIST, {"since": since, "most": limit})]


def _text(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
