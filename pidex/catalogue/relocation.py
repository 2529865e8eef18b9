"""Where files lie, by their rows: read, and written over in a copy of a catalogue that has them elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, func, select, union, update

from pidex.catalogue import admissions, upserts
from pidex.catalogue.tables import admissions as admitted
from pidex.catalogue.tables import files, indexes, places, problems, superseded, tombstones
from pidex.core.model import PlaceState, Shelf, Stat

#: Rows read and written at once.
BATCH_ROWS = 2_000
#: By whom and how, where the bytes of a name that no folder has any more become earlier ones.
MOVED_BY, MOVED_HOW = "pidex", "folder"


class Listed(NamedTuple):
    """A listed file and where it lies. `stat`: that of the bytes that are served.

    `lies`: what was read at the path are its bytes; else only the kept ones are.
    """

    key: str
    filename: str
    project: str
    sha256: str
    size: int
    root: int
    path: str
    stat: Stat
    lies: bool


class Moved(NamedTuple):
    """Where a listed file lies from now on. `place`: what is at its path; `stat`: what is served, and whence.

    Without `place` its path has other bytes, and only the kept ones are its own.
    """

    file: Listed
    root: int
    path: str
    place: Stat | None
    shelf: Shelf
    stat: Stat


_LISTED = (
    select(
        files.c.key, files.c.filename, files.c.project, files.c.sha256, files.c.size, files.c.root,
        files.c.path, *(files.c[name] for name in Stat._fields),
        and_(places.c.state == PlaceState.WHOLE.value, places.c.sha256 == files.c.sha256),
    )
    .select_from(
        files.outerjoin(
            places,
            and_(
                places.c.index_id == files.c.index_id,
                places.c.root == files.c.root,
                places.c.path == files.c.path,
            ),
        )
    )
    .where(files.c.index_id == bindparam("of_index"))
    .order_by(files.c.key)
)  # fmt: skip
_UNREAD = select(func.count()).where(
    places.c.index_id == bindparam("of_index"), places.c.state == PlaceState.UNREAD.value
)
_FILES = update(files).where(files.c.index_id == bindparam("of_index"), files.c.key == bindparam("of_key"))
_PLACES = update(places).where(
    places.c.index_id == bindparam("of_index"),
    places.c.root == bindparam("of_root"),
    places.c.path == bindparam("of_path"),
)
_BESIDE = and_(files.c.index_id == admitted.c.index_id, files.c.key == admitted.c.key)
_HERE = admitted.c.index_id == bindparam("of_index")
_UNLISTED = select(admitted.c.key).outerjoin(files, _BESIDE).where(_HERE, files.c.key.is_(None))
_SPELLED = (
    select(admitted.c.key, files.c.filename)
    .join(files, _BESIDE)
    .where(_HERE, files.c.filename != admitted.c.filename)
)
_SPELL = update(admitted).where(_HERE, admitted.c.key == bindparam("of_key"))


def listed(conn: Connection, index_id: int) -> Iterator[Listed]:
    """The files of an index, by key. The connection stays busy until the end."""
    rows = conn.execution_options(yield_per=BATCH_ROWS).execute(_LISTED, {"of_index": index_id})
    for key, filename, project, sha256, size, root, path, *stat, lies in rows:
        yield Listed(key, filename, project, sha256, size, root, path, Stat(*stat), bool(lies))


def unread(conn: Connection, index_id: int) -> int:
    """How many files of an index nobody has read yet."""
    return int(conn.execute(_UNREAD, {"of_index": index_id}).scalar_one())


def earlier(conn: Connection) -> frozenset[str]:
    """The hashes of the bytes that names had before, or that were deleted."""
    return frozenset(conn.execute(union(select(superseded.c.sha256), select(tombstones.c.sha256))).scalars())


def settle(
    conn: Connection,
    index_id: int,
    moved: Iterable[Moved],
    *,
    folders: Sequence[str],
    root: int,
    bucket: bool,
    at: int,
) -> int:
    """Have an index of a fresh copy lie elsewhere; how many names have no bytes of their own there.

    What lay beside its files (refused, shadowed, not whole) is not there. In a `bucket` a name is a member
    because it was admitted: names that no folder has any more become earlier ones, as after a deletion.
    `folders`: what the index has of its own; `root`: its first one. `at` in microseconds.
    """
    for table in (places, problems):
        conn.execute(delete(table).where(table.c.index_id == index_id))
    for batch in _batches(moved):
        conn.execute(_FILES, [_row(index_id, each) for each in batch])
        upserts.put(conn, places, [_place(index_id, each) for each in batch])
    stones = update(tombstones).where(tombstones.c.index_id == index_id)
    in_bucket = tombstones.c.sha256 + "/" + tombstones.c.filename
    if bucket:
        conn.execute(stones.values(root=root, path=in_bucket))
    else:
        conn.execute(
            stones.where(tombstones.c.path == in_bucket).values(root=root, path=tombstones.c.filename)
        )
    conn.execute(update(indexes).where(indexes.c.id == index_id).values(folders=json.dumps([*folders])))
    return _members(conn, index_id, at) if bucket else 0


def stay(conn: Connection, index_id: int, moved: Iterable[Moved]) -> None:
    """Have files lie where they lie, with other second names."""
    for batch in _batches(moved):
        conn.execute(_FILES, [_row(index_id, each) for each in batch])
        at_paths = [
            {"of_index": index_id, "of_root": each.root, "of_path": each.path, **each.place._asdict()}
            for each in batch
            if each.place is not None
        ]
        if at_paths:
            conn.execute(_PLACES, at_paths)


def _row(index_id: int, moved: Moved) -> dict[str, object]:
    found = {"of_index": index_id, "of_key": moved.file.key, "root": moved.root, "path": moved.path}
    return found | {"shelf": moved.shelf.value, **moved.stat._asdict()}


def _place(index_id: int, moved: Moved) -> Mapping[str, object]:
    stat = moved.place or moved.stat
    return {
        "index_id": index_id, "root": moved.root, "path": moved.path, "key": moved.file.key,
        "project": moved.file.project, **stat._asdict(), "state": PlaceState.WHOLE.value,
        "sha256": moved.file.sha256, "code": None, "reason": None, "looks": 0, "next_look": None,
    }  # fmt: skip


def _members(conn: Connection, index_id: int, at: int) -> int:
    """Have those names be members that are listed, spelled as they are listed; how many are not."""
    unlisted = conn.execute(_UNLISTED, {"of_index": index_id}).scalars().all()
    gone = admissions.find_many(conn, index_id, unlisted)
    admissions.supersede(conn, index_id, gone.values(), replaced=at, by=MOVED_BY, how=MOVED_HOW)
    admissions.delete_many(conn, index_id, gone)
    spelled = conn.execute(_SPELLED, {"of_index": index_id}).all()
    if spelled:
        rows = [{"of_index": index_id, "of_key": key, "filename": name} for key, name in spelled]
        conn.execute(_SPELL, rows)
    return len(gone)


def _batches(moved: Iterable[Moved]) -> Iterator[Sequence[Moved]]:
    coming = iter(moved)
    while batch := [*islice(coming, BATCH_ROWS)]:
        yield batch
