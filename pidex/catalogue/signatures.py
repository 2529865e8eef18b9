"""Signatures (.asc) that came with uploads: served beside their file, never listed."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.tables import signatures

#: Bytes of a signature at most.
MAX_BYTES = 64 * 1024

_HERE = (signatures.c.index_id == bindparam("of_index"), signatures.c.key == bindparam("of_key"))
_FIND = select(signatures.c.body).where(*_HERE)
_DELETE = delete(signatures).where(*_HERE)


def find(conn: Connection, index_id: int, key: str) -> bytes | None:
    """The signature of a casefolded file name."""
    body = conn.execute(_FIND, {"of_index": index_id, "of_key": key}).scalar_one_or_none()
    return None if body is None else bytes(body)


def put(conn: Connection, index_id: int, key: str, body: bytes) -> None:
    """Keep a signature, in place of an older one. The caller has held it to `MAX_BYTES`."""
    upserts.put(conn, signatures, [{"index_id": index_id, "key": key, "body": body}])


def remove(conn: Connection, index_id: int, key: str) -> None:
    """Forget the signature of a casefolded file name."""
    conn.execute(_DELETE, {"of_index": index_id, "of_key": key})
