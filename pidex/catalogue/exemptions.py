"""What is shown although a rule would hide it, until when and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import exemptions


@dataclass(frozen=True, slots=True)
class Exemption:
    """One exemption. `subject` is a term ('name', 'name==1.0'); `until` None: without end.

    Times in microseconds since 1970, UTC.
    """

    subject: str
    until: int | None
    reason: str
    by: str
    at: int


_COLUMNS = [exemptions.c[name] for name in Exemption.__dataclass_fields__]
_HERE = exemptions.c.index_id == bindparam("of_index")
_LIST = Prepared(select(*_COLUMNS).where(_HERE).order_by(exemptions.c.subject))
_DELETE = delete(exemptions).where(_HERE, exemptions.c.subject == bindparam("of_subject"))


def list(conn: Connection, index_id: int) -> Sequence[Exemption]:  # noqa: A001
    """All exemptions of an index, ended ones too."""
    return [Exemption(*row) for row in _LIST.all(conn, {"of_index": index_id})]


def put(conn: Connection, index_id: int, exemption: Exemption) -> None:
    """Exempt, or change until when and why."""
    row = {name: getattr(exemption, name) for name in Exemption.__dataclass_fields__}
    upserts.put(conn, exemptions, [{"index_id": index_id, **row}])


def drop(conn: Connection, index_id: int, subject: str) -> bool:
    """Have the rules hold again. False where there was no such exemption."""
    return conn.execute(_DELETE, {"of_index": index_id, "of_subject": subject}).rowcount > 0
