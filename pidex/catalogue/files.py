"""The files that an index lists, each row enough to make its line of a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as changed
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select

from pidex.catalogue import upserts, yanks
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import files
from pidex.core import names
from pidex.core.model import File, PackageType, Shelf, Stat

#: Rows fetched at once by `list_all`.
FETCH_ROWS = 1000

_COLUMNS = (
    files.c.filename,
    files.c.project,
    files.c.name,
    files.c.version,
    files.c.packagetype,
    files.c.python_version,
    files.c.sha256,
    files.c.blake2b_256,
    files.c.md5,
    files.c.size,
    files.c.upload_time,
    files.c.requires_python,
    files.c.metadata_sha256,
    files.c.shelf,
    files.c.root,
    files.c.path,
    files.c.mtime_ns,
    files.c.ctime_ns,
    files.c.inode,
    files.c.device,
)
_TYPES = {kind.value: kind for kind in PackageType}
_SHELVES = {shelf.value: shelf for shelf in Shelf}
_HERE = files.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE)
_LIST_ALL = _LIST.order_by(files.c.project, files.c.key).execution_options(yield_per=FETCH_ROWS)
_OF_PROJECT = _LIST.where(files.c.project == bindparam("of_project")).order_by(files.c.key)
_BY_KEY = Prepared(_LIST.where(files.c.key == bindparam("of_key")))
_BY_KEYS = Prepared(_LIST.where(files.c.key.in_(bindparam("keys", expanding=True))), many="keys")
_BY_BLAKE2 = _LIST.where(files.c.blake2b_256 == bindparam("of_blake2")).order_by(files.c.key)
_RELEASES = Prepared(
    select(files.c.project, files.c.version, func.count())
    .where(_HERE, files.c.project.in_(bindparam("projects", expanding=True)))
    .group_by(files.c.project, files.c.version),
    many="projects",
)
_COUNT = select(func.count()).select_from(files).where(_HERE)
_SHA256S = select(files.c.sha256).distinct()
_DELETE = delete(files).where(_HERE, files.c.key == bindparam("of_key"))


def list_project(conn: Connection, index_id: int, project: str, *, index: str = "") -> Sequence[File]:
    """The files of a project by name, with the yanks of their releases and of themselves (YNK-1).

    `index`: what they say of whose they are.
    """
    values = {"of_index": index_id, "of_project": project}
    found = [_file(row, index) for row in conn.execute(_OF_PROJECT, values).fetchall()]
    return _yanked(found, yanks.list_project(conn, index_id, project)) if found else found


def list_all(conn: Connection, index_id: int, *, index: str = "") -> Iterator[File]:
    """All files of an index by project and name, with yanks. The connection stays busy until the end."""
    marks: dict[str, Any] = {}
    for yank in yanks.list(conn, index_id):
        marks.setdefault(yank.project, []).append(yank)
    rows = conn.execute(_LIST_ALL, {"of_index": index_id})
    for row in rows:
        file = _file(row, index)
        yield _yanked([file], marks[file.project])[0] if file.project in marks else file


def find_by_key(conn: Connection, index_id: int, key: str) -> File | None:
    """The file that the index lists under a casefolded name, without its yank."""
    row = _BY_KEY.first(conn, {"of_index": index_id, "of_key": key})
    return None if row is None else _file(row)


def find_by_keys(conn: Connection, index_id: int, keys: Iterable[str]) -> Mapping[str, File]:
    """The files that the index lists under casefolded names, without their yanks."""
    found = {}
    for batch in upserts.batches([*keys]):
        for row in _BY_KEYS.all(conn, {"of_index": index_id, "keys": batch}):
            file = _file(row)
            found[file.filename.casefold()] = file
    return found


def find_by_blake2(conn: Connection, index_id: int, digest: str) -> Sequence[File]:
    """The files with that BLAKE2b-256 (64 hexadecimal digits), by name, without yanks."""
    return [_file(row) for row in conn.execute(_BY_BLAKE2, {"of_index": index_id, "of_blake2": digest})]


def releases(conn: Connection, index_id: int, projects: Iterable[str]) -> Mapping[str, Mapping[str, int]]:
    """How many files each version, as spelled, of those projects has that have any."""
    found: dict[str, Any] = {}
    for batch in upserts.batches(sorted(projects)):
        for project, version, number in _RELEASES.all(conn, {"of_index": index_id, "projects": batch}):
            found.setdefault(project, {})[version] = number
    return found


def count(conn: Connection, index_id: int) -> int:
    """How many files the index lists."""
    return int(conn.execute(_COUNT, {"of_index": index_id}).scalar_one())


def sha256s(conn: Connection) -> frozenset[str]:
    """The hashes of all bytes that any index lists: what must be kept."""
    return frozenset(conn.execute(_SHA256S).scalars())


def replace(conn: Connection, index_id: int, key: str, file: File | None) -> None:
    """List a file under a casefolded name, in place of what was there; None: list nothing there.

    The caller also records the change and refreshes the project, in the same transaction.
    """
    replace_many(conn, index_id, {key: file})


def replace_many(conn: Connection, index_id: int, found: Mapping[str, File | None]) -> None:
    """`replace` for many names at once."""
    gone = [{"of_index": index_id, "of_key": key} for key, file in found.items() if file is None]
    if gone:
        conn.execute(_DELETE, gone)
    rows = [
        {
            "index_id": index_id,
            "key": key,
            "filename": file.filename,
            "project": file.project,
            "name": file.name,
            "version": file.version,
            "packagetype": file.packagetype.value,
            "python_version": file.python_version,
            "sha256": file.sha256,
            "blake2b_256": file.blake2b_256,
            "md5": file.md5,
            "size": file.size,
            "upload_time": file.upload_time,
            "requires_python": file.requires_python,
            "metadata_sha256": file.metadata_sha256,
            "shelf": file.shelf.value,
            "root": file.root,
            "path": file.path,
            "mtime_ns": file.stat.mtime_ns,
            "ctime_ns": file.stat.ctime_ns,
            "inode": file.stat.inode,
            "device": file.stat.device,
        }
        for key, file in found.items()
        if file is not None
    ]
    upserts.put(conn, files, rows)


def _file(row: Sequence[Any], index: str = "") -> File:
    (
        filename,
        project,
        name,
        version,
        packagetype,
        python_version,
        sha256,
        blake2b_256,
        md5,
        size,
        upload_time,
        requires_python,
        metadata_sha256,
        shelf,
        root,
        path,
        mtime_ns,
        ctime_ns,
        inode,
        device,
    ) = row
    return File(
        filename,
        project,
        name,
        version,
        _TYPES[packagetype],
        python_version,
        sha256,
        blake2b_256,
        md5,
        size,
        upload_time,
        requires_python,
        metadata_sha256,
        None,
        _SHELVES[shelf],
        root,
        path,
        Stat(size, mtime_ns, ctime_ns, inode, device),
        index,
    )


def _yanked(found: Sequence[File], marks: Sequence[yanks.Yank]) -> Sequence[File]:
    """Mark the files that are yanked by their own name, else by their release."""
    if not marks:
        return found
    by_file = {mark.target: mark.reason for mark in marks if mark.scope == "file"}
    by_release = {mark.target: mark.reason for mark in marks if mark.scope == "release"}
    return [
        file if reason is None else changed(file, yanked=reason)
        for file in found
        for reason in [
            by_file.get(file.filename.casefold(), by_release.get(names.canonical_version(file.version)))
        ]
    ]
