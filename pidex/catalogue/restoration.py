"""What becomes of a catalogue that is put back: where its files lie now, and what was decided since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from pidex.catalogue import audit, indexes, journal
from pidex.catalogue.comparison import RESTORE
from pidex.catalogue.tables import (
    UNFINISHED,
    admissions,
    counters,
    files,
    intents,
    places,
    sessions,
    tokens,
    tombstones,
)
from pidex.catalogue.tables import indexes as indexes_table
from pidex.core.model import Principal, Shelf, Stat

Key = tuple[int, str]

_STAT: dict[str, Any] = {
    name: bindparam(f"to_{name}") for name in ("size", "mtime_ns", "ctime_ns", "inode", "device")
}
_PLACE = (
    update(places)
    .where(places.c.root == bindparam("of_root"), places.c.path == bindparam("of_path"))
    .values(**_STAT)
)
_FILE = (
    update(files)
    .where(files.c.root == bindparam("of_root"), files.c.path == bindparam("of_path"))
    .values(shelf=bindparam("to_shelf"), **_STAT)
)
_ADVANCE = update(counters).where(counters.c.name == "serial").values(value=bindparam("to"))
_BURNT = (
    select(indexes_table.c.name, tombstones)
    .select_from(tombstones.join(indexes_table, indexes_table.c.id == tombstones.c.index_id))
    .order_by(indexes_table.c.name, tombstones.c.key)
)
_REVOKED = select(tokens.c.digest, tokens.c.revoked).where(tokens.c.revoked.is_not(None))
_REVOKE = (
    update(tokens)
    .where(tokens.c.digest == bindparam("of_digest"), tokens.c.revoked.is_(None))
    .values(revoked=bindparam("at"))
)


class Since:
    """What a catalogue knows that a backup of it, or an older one, must not forget."""

    def __init__(self, conn: Connection) -> None:
        self.serial = journal.serial(conn)
        self.burnt = [dict(row) for row in conn.execute(_BURNT).mappings()]
        self.revoked = [(digest, at) for digest, at in conn.execute(_REVOKED)]


def carry(conn: Connection, since: Since | None, *, at: int, by: Principal, source: str) -> int:
    """Take over what was decided since the backup, and tell of the restore; how many names stay burnt for it.

    Names that were deleted since stay burnt, unless the backup has their files (T31); serials go on above
    all that anybody has seen; tokens that were revoked stay so; everybody signs in again. `at` in
    microseconds since 1970.
    """
    conn.execute(delete(sessions))
    conn.execute(delete(intents))  # nobody was told of these uploads, and their files are in no backup
    burnt = 0
    serial = journal.serial(conn)
    if since is not None:
        serial = max(serial, since.serial)
        burnt = _burn(conn, since.burnt)
        if since.revoked:
            conn.execute(_REVOKE, [{"of_digest": digest, "at": when} for digest, when in since.revoked])
    conn.execute(_ADVANCE, {"to": serial})
    for index in indexes.list(conn):
        journal.record(conn, index.id, "", RESTORE, at=at, by=by.name or "")
    audit.record(conn, by, "backup.restore", subject=source, after={"serial": serial, "burnt": burnt}, at=at)
    return burnt


def _burn(conn: Connection, found: Iterable[Mapping[str, object]]) -> int:
    numbers = {index.name: index.id for index in indexes.list(conn)}
    known = {(index, key) for index, key in conn.execute(select(admissions.c.index_id, admissions.c.key))}
    known |= {(index, key) for index, key in conn.execute(select(tombstones.c.index_id, tombstones.c.key))}
    rows = []
    for each in found:
        number = numbers.get(str(each["name"]))
        if number is not None and (number, each["key"]) not in known:
            rows.append({**{k: v for k, v in each.items() if k != "name"}, "index_id": number})
    if rows:
        conn.execute(tombstones.insert(), rows)
    return len(rows)


def restat(conn: Connection, found: Mapping[Key, Stat], kept: frozenset[Key]) -> None:
    """Note where the bytes of places lie now. `kept`: those that have a kept name of the same inode."""
    rows = [
        {
            "of_root": root,
            "of_path": path,
            "to_shelf": (Shelf.KEPT if (root, path) in kept else Shelf.FOLDER).value,
            **{f"to_{name}": value for name, value in stat._asdict().items()},
        }
        for (root, path), stat in found.items()
    ]
    conn.execute(delete(places).where(UNFINISHED))  # of what is not whole there is no backup
    if rows:
        conn.execute(_PLACE, [{k: v for k, v in row.items() if k != "to_shelf"} for row in rows])
        conn.execute(_FILE, rows)


def move_folders(conn: Connection, moved: Mapping[str, str]) -> None:
    """Note the new places of the folders of indexes, by their old ones."""
    for index in indexes.list(conn):
        folders: Sequence[str] = [moved.get(folder, folder) for folder in index.folders]
        if folders != [*index.folders]:
            indexes.set_folders(conn, index.id, folders)
