"""Derived rows exactly as they are stored, for who compares them: nothing is believed of what is in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select, text

from pidex.catalogue import contents as known
from pidex.catalogue import upserts
from pidex.catalogue.places import project_of
from pidex.catalogue.tables import contents, counters, files, intents, journal, places, projects
from pidex.core import names
from pidex.core.model import Facts, Place, PlaceState, Stat

#: What the journal says of a serial that was passed over on purpose: after a restore.
RESTORE = "restore"
#: Rows fetched at once.
FETCH_ROWS = 1000

Row = Mapping[Any, Any]

_OF_INDEX = {table: table.c.index_id == bindparam("of_index") for table in (places, files, projects)}
_KEYS = [
    select(table.c.key).where(table.c.index_id == bindparam("of_index")).distinct()
    for table in (places, files)
]
_BY_KEYS = {
    table: select(table).where(_OF_INDEX[table], table.c.key.in_(bindparam("keys", expanding=True)))
    for table in (places, files)
}
_WHOLE = (
    select(places)
    .where(_OF_INDEX[places], places.c.state == PlaceState.WHOLE.value, places.c.sha256.is_not(None))
    .order_by(places.c.sha256, places.c.root, places.c.path)
)
_KEYS_OF = (
    select(places.c.key)
    .where(_OF_INDEX[places], places.c.sha256.in_(bindparam("sha256s", expanding=True)))
    .distinct()
)
_CONTENTS = select(contents).execution_options(yield_per=FETCH_ROWS)
_CONTENTS_OF = select(contents).where(contents.c.sha256.in_(bindparam("sha256s", expanding=True)))
_PROJECTS = select(projects).where(_OF_INDEX[projects])
_LATEST = (
    select(journal.c.project, func.max(journal.c.serial))
    .where(journal.c.index_id == bindparam("of_index"))
    .group_by(journal.c.project)
)
_SERIALS = (
    select(journal.c.serial, journal.c.action)
    .order_by(journal.c.serial)
    .execution_options(yield_per=10 * FETCH_ROWS)
)
_COUNTER = select(counters.c.value).where(counters.c.name == "serial")
_INTENTS = select(intents.c.index_id, intents.c.filename, intents.c.at)


class Gap(NamedTuple):
    """A place in the journal where numbers are missing."""

    after: int
    before: int


def keys(conn: Connection, index_id: int) -> Sequence[str]:
    """The casefolded file names that lie in an index's folders or are listed, sorted."""
    found: set[str] = set()
    for statement in _KEYS:
        found.update(conn.execute(statement, {"of_index": index_id}).scalars())
    return sorted(found)


def rows(
    conn: Connection, index_id: int, wanted: Sequence[str]
) -> tuple[dict[str, list[Row]], dict[str, Row]]:
    """The places and the listed rows of casefolded file names."""
    lying: dict[str, list[Row]] = {}
    listed: dict[str, Row] = {}
    for batch in upserts.batches(wanted):
        values = {"of_index": index_id, "keys": batch}
        for row in conn.execute(_BY_KEYS[places], values).mappings():
            lying.setdefault(row["key"], []).append(row)
        for row in conn.execute(_BY_KEYS[files], values).mappings():
            listed[row["key"]] = row
    return lying, listed


def list_whole(conn: Connection, index_id: int, sha256: str | None = None) -> Sequence[Place]:
    """The places of an index whose bytes are known, or are those of a hash, in the order of their hashes."""
    statement = _WHOLE if sha256 is None else _WHOLE.where(places.c.sha256 == sha256)
    found = conn.execute(statement, {"of_index": index_id}).mappings().all()
    return [
        Place(
            row["root"],
            row["path"],
            Stat(row["size"], row["mtime_ns"], row["ctime_ns"], row["inode"], row["device"]),
            PlaceState.WHOLE,
            row["sha256"],
        )
        for row in found
    ]


def hashes(conn: Connection) -> set[str]:
    """The hashes of all bytes that any index lists."""
    return set(conn.execute(select(files.c.sha256).distinct()).scalars())


def list_contents(conn: Connection) -> Iterator[Row]:
    """What was read out of bytes, `metadata` as the file has it, or None where it cannot be unpacked.

    The connection stays busy until the end.
    """
    for row in conn.execute(_CONTENTS).mappings():
        yield _unpacked(row)


def contents_of(conn: Connection, sha256s: Iterable[str]) -> dict[tuple[str, str], Row]:
    """The same of some bytes, by hash and kind."""
    found = {}
    for batch in upserts.batches(sorted(sha256s)):
        for row in conn.execute(_CONTENTS_OF, {"sha256s": batch}).mappings():
            found[row["sha256"], row["kind"]] = _unpacked(row)
    return found


def _unpacked(row: Row) -> Row:
    unpacked = row["metadata"]
    if unpacked is not None:
        try:
            unpacked = zlib.decompress(unpacked)
        except (zlib.error, TypeError):
            unpacked = None
    return {**row, "metadata": unpacked, "packed": row["metadata"] is not None}


def list_projects(conn: Connection, index_id: int) -> Sequence[Row]:
    """The project list of an index."""
    return conn.execute(_PROJECTS, {"of_index": index_id}).mappings().all()


def serials(conn: Connection, index_id: int) -> Mapping[str, int]:
    """The serial of the last change of each project."""
    return {project: number for project, number in conn.execute(_LATEST, {"of_index": index_id})}  # noqa: C416


def gaps(conn: Connection) -> Iterator[Gap]:
    """Where numbers are missing in the journal, other than those that a restore passed over."""
    last = 0
    for serial, action in conn.execute(_SERIALS):
        if serial != last + 1 and action != RESTORE:
            yield Gap(last, serial)
        last = serial
    newest = int(conn.execute(_COUNTER).scalar_one_or_none() or 0)
    if newest != last:
        yield Gap(last, newest + 1)


def list_intents(conn: Connection) -> Sequence[tuple[int, str, int]]:
    """Publishes under way: index, file name, and since when in microseconds."""
    return [(index, name, at) for index, name, at in conn.execute(_INTENTS)]


def orphans(conn: Connection) -> Sequence[str]:
    """The tables with rows that refer to rows which are not there."""
    if conn.dialect.name != "sqlite":
        return []  # PostgreSQL lets none be made
    return sorted({str(row[0]) for row in conn.execute(text("PRAGMA foreign_key_check"))})


def damage(conn: Connection, *, deep: bool) -> str | None:
    """The first damage that SQLite finds in its own file; `deep`: also between tables and indexes."""
    if conn.dialect.name != "sqlite":
        return None
    found = str(conn.execute(text(f"PRAGMA {'integrity' if deep else 'quick'}_check(1)")).scalar_one())
    return None if found == "ok" else found.replace("\n", " ")


def keys_of(conn: Connection, index_id: int, sha256s: Iterable[str]) -> set[str]:
    """The casefolded file names of an index whose places have bytes of these hashes."""
    found: set[str] = set()
    for batch in upserts.batches(sorted(sha256s)):
        found.update(conn.execute(_KEYS_OF, {"of_index": index_id, "sha256s": batch}).scalars())
    return found


def projects_of(wanted: Iterable[str]) -> set[str]:
    """The projects that casefolded file names say."""
    return {project for key in wanted if (project := project_of(key)) is not None}


def facts_of(conn: Connection, sha256: str, path: str) -> Facts | None:
    """What is known of bytes as the kind of archive that a path says; None where it is not known."""
    kind = names.extension(path.rpartition("/")[2])
    return None if kind is None else known.find(conn, sha256, kind.packagetype)


# --- rebuilding ---------------------------------------------------------------------------------------------


def forget_places(
    conn: Connection, index_id: int, wanted: Iterable[str], paths: Iterable[tuple[int, str]]
) -> None:
    """Drop all that was read at paths and at those of casefolded file names, and how they are listed."""
    by_key = [{"of_index": index_id, "of_key": key} for key in wanted]
    by_path = [{"of_index": index_id, "of_root": root, "of_path": path} for root, path in paths]
    for table in (places, files):
        if by_key:
            conn.execute(delete(table).where(_OF_INDEX[table], table.c.key == bindparam("of_key")), by_key)
        here = (table.c.root == bindparam("of_root"), table.c.path == bindparam("of_path"))
        if by_path:
            conn.execute(delete(table).where(_OF_INDEX[table], *here), by_path)


def forget_contents(conn: Connection, sha256s: Iterable[str]) -> None:
    """Drop what was read out of bytes."""
    rows_of = [{"of_sha256": sha256} for sha256 in sha256s]
    if rows_of:
        conn.execute(delete(contents).where(contents.c.sha256 == bindparam("of_sha256")), rows_of)


def forget_projects(conn: Connection, index_id: int, wanted: Iterable[str]) -> None:
    """Drop lines of the project list."""
    rows_of = [{"of_index": index_id, "of_project": project} for project in wanted]
    if rows_of:
        statement = delete(projects).where(_OF_INDEX[projects], projects.c.project == bindparam("of_project"))
        conn.execute(statement, rows_of)
