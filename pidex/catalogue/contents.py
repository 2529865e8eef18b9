"""What was read out of bytes, by their SHA-256 and the kind of archive they were read as."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import contents
from pidex.core.model import Facts, PackageType

_COLUMNS = (
    contents.c.sha256,
    contents.c.blake2b_256,
    contents.c.md5,
    contents.c.size,
    contents.c.metadata,
    contents.c.name,
    contents.c.version,
    contents.c.requires_python,
    contents.c.summary,
)
_FIND = select(*_COLUMNS).where(
    contents.c.sha256 == bindparam("of_sha256"), contents.c.kind == bindparam("of_kind")
)
_FIND_MANY = Prepared(
    select(contents.c.kind, *_COLUMNS).where(contents.c.sha256.in_(bindparam("sha256s", expanding=True))),
    many="sha256s",
)
_METADATA = select(contents.c.metadata).where(
    contents.c.sha256 == bindparam("of_sha256"), contents.c.kind == bindparam("of_kind")
)
_METADATA_OF_ANY = (
    select(contents.c.metadata)
    .where(contents.c.sha256 == bindparam("of_sha256"), contents.c.metadata.is_not(None))
    .order_by(contents.c.kind)
    .limit(1)
)


def find(conn: Connection, sha256: str, kind: PackageType) -> Facts | None:
    """What is known of bytes read as a kind of archive."""
    row = conn.execute(_FIND, {"of_sha256": sha256, "of_kind": kind.value}).one_or_none()
    return None if row is None else _facts(row)


def find_many(conn: Connection, sha256s: Iterable[str]) -> Mapping[tuple[str, PackageType], Facts]:
    """What is known of bytes, by (sha256, kind)."""
    found = {}
    for batch in upserts.batches([*sha256s]):
        for kind, *row in _FIND_MANY.all(conn, {"sha256s": batch}):
            facts = _facts(row)
            found[facts.sha256, PackageType(kind)] = facts
    return found


def find_metadata(conn: Connection, sha256: str, kind: PackageType | None = None) -> bytes | None:
    """The core metadata in bytes of that hash, as the file has it; None where it has none or is not known."""
    if kind is None:
        found = conn.execute(_METADATA_OF_ANY, {"of_sha256": sha256}).scalar_one_or_none()
    else:
        found = conn.execute(_METADATA, {"of_sha256": sha256, "of_kind": kind.value}).scalar_one_or_none()
    return None if found is None else zlib.decompress(found)


def put(conn: Connection, facts: Facts, kind: PackageType) -> None:
    """Remember what was read out of bytes."""
    put_many(conn, [(facts, kind)])


def put_many(conn: Connection, found: Iterable[tuple[Facts, PackageType]]) -> None:
    """Remember what was read out of many files' bytes."""
    rows = {
        (facts.sha256, kind): {
            "sha256": facts.sha256,
            "kind": kind.value,
            "size": facts.size,
            "blake2b_256": facts.blake2b_256,
            "md5": facts.md5,
            "metadata": None if facts.metadata is None else zlib.compress(facts.metadata),
            "metadata_sha256": None if facts.metadata is None else hashlib.sha256(facts.metadata).hexdigest(),
            "name": _text(facts.name),
            "version": _text(facts.version),
            "requires_python": _text(facts.requires_python),
            "summary": _text(facts.summary),
        }
        for facts, kind in found
    }
    upserts.put(conn, contents, [*rows.values()])


def _facts(row: Sequence[Any]) -> Facts:
    sha256, blake2b_256, md5, size, metadata, name, version, requires_python, summary = row
    return Facts(
        sha256=sha256,
        blake2b_256=blake2b_256,
        md5=md5,
        size=size,
        metadata=None if metadata is None else zlib.decompress(metadata),
        name=name,
        version=version,
        requires_python=requires_python,
        summary=summary,
    )


def _text(value: str | None) -> str | None:
    """What a stranger wrote into an archive, as text that both databases take."""
    if value is None:
        return None
    return value.encode("utf-8", "replace").decode().replace("\x00", "")
