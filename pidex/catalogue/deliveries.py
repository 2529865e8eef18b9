"""Files that were received, in the order of their commits: how the reconciler hears of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select

from pidex.catalogue.tables import audit

#: The audit's word for a file that came in by an upload, git or FTP.
ACTION = "file.add"

_LATEST = select(func.coalesce(func.max(audit.c.id), 0))
_SINCE = (
    select(audit.c.id, audit.c.subject)
    .where(
        audit.c.id > bindparam("since"),
        audit.c.action == ACTION,
        audit.c.index_name == bindparam("of_index"),
    )
    .order_by(audit.c.id)
)


def mark(conn: Connection) -> int:
    """The mark of now: nothing was received after it."""
    return int(conn.execute(_LATEST).scalar_one())


def list_since(conn: Connection, index: str, since: int) -> Sequence[str]:
    """The names of files that an index received after a mark."""
    rows = conn.execute(_SINCE, {"since": since, "of_index": index})
    return [subject for _, subject in rows if subject]
