"""Publishes that are under way: committed before the file is linked into place, gone once it is admitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import moves, upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import intents


@dataclass(frozen=True, slots=True)
class Intent:
    """A file that is being put at a path of a root. `at` in microseconds since 1970, UTC.

    `owner` is 'node:process' on a cluster, so that others know who has given it up.
    """

    filename: str
    root: int
    path: str
    sha256: str
    size: int
    by: str
    at: int
    owner: str | None = ""

    @property
    def node(self) -> str:
        """The node whose it is; '' where nobody else could have it."""
        return (self.owner or "").partition(":")[0]

    @property
    def key(self) -> str:
        return self.filename.casefold()


_COLUMNS = [intents.c[name] for name in Intent.__dataclass_fields__]
_HERE = intents.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE).order_by(intents.c.key)
_FIND = Prepared(select(*_COLUMNS).where(_HERE, intents.c.key == bindparam("of_key")))
_DELETE = Prepared(delete(intents).where(_HERE, intents.c.key == bindparam("of_key")))


def find(conn: Connection, index_id: int, key: str) -> Intent | None:
    """The live intent for a casefolded file name."""
    row = _FIND.first(conn, {"of_index": index_id, "of_key": key})
    return None if row is None else Intent(*row)


def list(conn: Connection, index_id: int) -> Sequence[Intent]:  # noqa: A001
    """All live intents of an index: what the reconciler leaves alone, and a start finishes or undoes."""
    return [Intent(*row) for row in conn.execute(_LIST, {"of_index": index_id})]


def put(conn: Connection, index_id: int, intent: Intent) -> None:
    """Announce a publish. Raises `Moving` where none may begin any more."""
    moves.check(conn, fresh=True)
    row = {name: getattr(intent, name) for name in Intent.__dataclass_fields__}
    upserts.put(conn, intents, [{"index_id": index_id, "key": intent.key, **row}])


def done(conn: Connection, index_id: int, key: str) -> None:
    """End the publish of a casefolded file name, finished or undone."""
    done_many(conn, index_id, [key])


def done_many(conn: Connection, index_id: int, keys: Iterable[str]) -> None:
    """`done` for many names at once."""
    _DELETE.run(conn, [{"of_index": index_id, "of_key": key} for key in keys])
