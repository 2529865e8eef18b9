"""What is held of upstreams (in cache.db): pages, name lists, core metadata, and which files lie here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from pidex.catalogue.expendable import (
    Expendable,
    cached_files,
    learnt_hashes,
    upstream_lists,
    upstream_metadata,
    upstream_names,
    upstream_pages,
)
from pidex.catalogue.packing import packed, unpacked
from pidex.catalogue.prepared import Prepared

#: Names in a block: one is unpacked for each question, so blocks are small; 880,000 names are 1,719 of them.
BLOCK_NAMES = 512
#: Core metadata that is read at once and that is kept at most, in rows; the ones stored first go first.
BLOCK_METADATA, MAX_METADATA = 256, 200_000
#: Pages that are kept at most; those not confirmed for longest go first.
MAX_PAGES = 200_000

_p, _n, _l, _m, _f, _h = (
    table.c
    for table in (
        upstream_pages,
        upstream_names,
        upstream_lists,
        upstream_metadata,
        cached_files,
        learnt_hashes,
    )
)


def _upsert(table: Table, *keys: str) -> Prepared:
    """Puts a whole row in the place of the one with its keys."""
    statement = insert(table).values({column.name: bindparam(column.name) for column in table.columns})
    others = {each.name: statement.excluded[each.name] for each in table.columns if each.name not in keys}
    return Prepared(statement.on_conflict_do_update(index_elements=[*keys], set_=others))


_PAGE = Prepared(
    select(_p.fetched, _p.fresh_until, _p.digest).where(
        _p.upstream == bindparam("u"), _p.project == bindparam("p")
    )
)
_BODY = Prepared(
    select(_p.fetched, _p.fresh_until, _p.digest, _p.body, _p.seen).where(
        _p.upstream == bindparam("u"), _p.project == bindparam("p")
    )
)
_PUT_PAGE = _upsert(upstream_pages, "upstream", "project")
_PUT_METADATA = _upsert(upstream_metadata, "key")
_PUT_FILE = _upsert(cached_files, "sha256")
_BLOCK = (
    select(_n.body)
    .where(_n.upstream == bindparam("u"), _n.first <= bindparam("name"))
    .order_by(_n.first.desc())
    .limit(1)
)
_METADATA = Prepared(select(_m.body).where(_m.key == bindparam("k")))
_FILE = Prepared(select(cached_files).where(_f.sha256 == bindparam("s")))
_LEARNT = select(_h.sha256, _h.size).where(_h.digest == bindparam("d"))


class PageRow(NamedTuple):
    """A page as it is held. `digest` None: there is no such project. `body`, `seen`: as they were put."""

    fetched: float
    fresh_until: float
    digest: bytes | None
    body: bytes | None = None
    seen: bytes | None = None


class FileRow(NamedTuple):
    """A file that lies here. `mtime_ns` 0: nobody has read it since it was found without a row."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int
    stored: float
    used: float
    upstream: str = ""
    project: str = ""
    filename: str = ""


class ListRow(NamedTuple):
    """A list of names. `fetched` None: not yet; `used`: when the upstream was last asked for anything."""

    upstream: str
    used: float
    etag: str | None
    fetched: float | None
    names: int


class Store:
    """The tables. As `Expendable`: no method raises for what the file is like; what was in it is gone then.

    Safe in threads and in several processes. Times in Unix seconds, sizes in bytes.
    """

    def __init__(self, expendable: Expendable) -> None:
        self._run = expendable.run

    # --- pages ----------------------------------------------------------------------------------------------

    def find_page(self, upstream: str, project: str, *, body: bool = True) -> PageRow | None:
        """What is held of a page, with or without its contents."""

        def find(conn: Connection) -> PageRow | None:
            row = (_BODY if body else _PAGE).first(conn, {"u": upstream, "p": project})
            return None if row is None else PageRow(*row)

        row = self._run(find, None)
        if row is None or not body:
            return row
        return row._replace(body=unpacked(row.body), seen=unpacked(row.seen))

    def put_page(self, upstream: str, project: str, row: PageRow) -> None:
        """Hold a page in the place of what was held."""
        self.put_many([(upstream, project, row)], ())

    def put_many(
        self, pages: Iterable[tuple[str, str, PageRow]], metadata: Iterable[tuple[str, bytes, float]]
    ) -> None:
        """Hold pages, by upstream and project, and core metadata, by its key with its time; or none of it."""
        rows = [
            {
                "upstream": upstream,
                "project": project,
                **row._asdict(),
                "body": None if row.body is None else packed(row.body),
                "seen": None if row.seen is None else packed(row.seen),
            }
            for upstream, project, row in pages
        ]
        more = [{"key": key, "at": at, "body": packed(data)} for key, data, at in metadata]

        def put(conn: Connection) -> None:
            _PUT_PAGE.run(conn, rows)
            _PUT_METADATA.run(conn, more)

        self._run(put, None, write=True)

    def confirm_page(self, upstream: str, project: str, fetched: float, fresh_until: float) -> None:
        """The upstream says that it has not changed."""
        statement = update(upstream_pages).values(fetched=fetched, fresh_until=fresh_until)
        mine = statement.where(_p.upstream == upstream, _p.project == project)
        self._run(lambda conn: conn.execute(mine), None, write=True)

    def drop_pages(self, upstream: str, project: str | None = None) -> int:
        """Forget what is held of an upstream or of one project of it; how many pages."""
        which = delete(upstream_pages).where(_p.upstream == upstream)
        if project is not None:
            which = which.where(_p.project == project)
        return self._run(lambda conn: conn.execute(which).rowcount, 0, write=True)

    def list_pages(self, upstream: str | None = None) -> Sequence[tuple[str, str, float, bool]]:
        """(upstream, project, fetched, whether it exists there), sorted."""
        query = select(_p.upstream, _p.project, _p.fetched, _p.digest.is_not(None))
        if upstream is not None:
            query = query.where(_p.upstream == upstream)
        ordered = query.order_by(_p.upstream, _p.project)
        nothing: Sequence[tuple[str, str, float, bool]] = ()
        return self._run(
            lambda conn: [(u, p, float(at), bool(there)) for u, p, at, there in conn.execute(ordered)],
            nothing,
        )

    # --- names ----------------------------------------------------------------------------------------------

    def note_use(self, upstream: str, at: float) -> None:
        """An upstream was asked for something: its list of names is worth having."""
        statement = insert(upstream_lists).values(upstream=upstream, used=at)
        upsert = statement.on_conflict_do_update(index_elements=["upstream"], set_={"used": at})
        self._run(lambda conn: conn.execute(upsert), None, write=True)

    def lists(self) -> Sequence[ListRow]:
        """The upstreams that were ever used, with their lists."""
        query = select(_l.upstream, _l.used, _l.etag, _l.fetched, _l.names).order_by(_l.upstream)
        nothing: Sequence[ListRow] = ()
        return self._run(lambda conn: [ListRow(*row) for row in conn.execute(query)], nothing)

    def put_names(self, upstream: str, names: Iterable[str], etag: str | None, at: float) -> int:
        """Hold a list of names, sorted and each once; how many."""

        def put(conn: Connection) -> int:
            conn.execute(delete(upstream_names).where(_n.upstream == upstream))
            iterator, count = iter(names), 0
            while block := list(islice(iterator, BLOCK_NAMES)):
                count += len(block)
                body = packed("\n".join(block).encode())
                values = {"upstream": upstream, "first": block[0], "body": body}
                conn.execute(insert(upstream_names), values)
            told = {"etag": etag, "fetched": at, "names": count}
            statement = insert(upstream_lists).values(upstream=upstream, used=at, **told)
            conn.execute(statement.on_conflict_do_update(index_elements=["upstream"], set_=told))
            return count

        return self._run(put, 0, write=True)

    def confirm_names(self, upstream: str, at: float) -> None:
        """The upstream says that its list has not changed."""
        statement = update(upstream_lists).values(fetched=at).where(_l.upstream == upstream)
        self._run(lambda conn: conn.execute(statement), None, write=True)

    def list_names(self, upstream: str) -> Iterator[str]:
        """The names of the stored list, sorted; a block at a time is in memory."""
        block = self._next_block(upstream, "")
        while block:
            yield from block
            block = self._next_block(upstream, block[-1])

    def has_name(self, upstream: str, name: str) -> bool:
        """Whether the stored list has a name."""

        def find(conn: Connection) -> bool:
            return name in _names(conn.execute(_BLOCK, {"u": upstream, "name": name}).scalar())

        return self._run(find, False)

    def _next_block(self, upstream: str, last: str) -> Sequence[str]:
        query = select(_n.body).where(_n.upstream == upstream, _n.first > last).order_by(_n.first).limit(1)
        nothing: Sequence[str] = ()
        return self._run(lambda conn: _names(conn.execute(query).scalar()), nothing)

    # --- metadata -------------------------------------------------------------------------------------------

    def find_metadata(self, key: str) -> bytes | None:
        """The core metadata that is held under a key."""
        row = self._run(lambda conn: _METADATA.first(conn, {"k": key}), None)
        return None if row is None else unpacked(row[0])

    def list_metadata(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The core metadata that is held under any of the keys; a block at a time is in memory, packed."""

        def read(conn: Connection) -> Sequence[tuple[str, bytes]]:
            return [(key, body) for key, body in conn.execute(query)]

        nothing: Sequence[tuple[str, bytes]] = ()
        for start in range(0, len(keys), BLOCK_METADATA):
            query = select(_m.key, _m.body).where(_m.key.in_(keys[start : start + BLOCK_METADATA]))
            for key, body in self._run(read, nothing):
                if (data := unpacked(body)) is not None:
                    yield key, data

    def put_metadata(self, key: str, data: bytes, at: float) -> None:
        """Hold core metadata."""
        self.put_many((), [(key, data, at)])

    # --- files ----------------------------------------------------------------------------------------------

    def find_file(self, sha256: str) -> FileRow | None:
        """The row of a file that lies here."""

        def find(conn: Connection) -> FileRow | None:
            row = _FILE.first(conn, {"s": sha256})
            return None if row is None else FileRow(*row)

        return self._run(find, None)

    def put_file(self, row: FileRow) -> None:
        """Say that a file lies here."""
        self._run(lambda conn: _PUT_FILE.run(conn, [row._asdict()]), None, write=True)

    def drop_files(self, sha256s: Iterable[str]) -> None:
        """Forget files."""
        gone = [{"s": sha256} for sha256 in sha256s]
        statement = delete(cached_files).where(_f.sha256 == bindparam("s"))
        if gone:
            self._run(lambda conn: conn.execute(statement, gone), None, write=True)

    def list_files(self) -> Sequence[FileRow]:
        """The files that lie here, unused for longest first."""
        query = select(cached_files).order_by(_f.used)
        nothing: Sequence[FileRow] = ()
        return self._run(lambda conn: [FileRow(*row) for row in conn.execute(query)], nothing)

    def note_uses(self, uses: Mapping[str, float]) -> None:
        """When files were last used."""
        rows = [{"s": sha256, "at": at} for sha256, at in uses.items()]
        statement = update(cached_files).where(_f.sha256 == bindparam("s")).values(used=bindparam("at"))
        if rows:
            self._run(lambda conn: conn.execute(statement, rows), None, write=True)

    def find_learnt(self, digest: str) -> tuple[str, int] | None:
        """The SHA-256 and size that a file without declared hashes had when it was first fetched."""

        def find(conn: Connection) -> tuple[str, int] | None:
            row = conn.execute(_LEARNT, {"d": digest}).first()
            return None if row is None else (row.sha256, row.size)

        return self._run(find, None)

    def put_learnt(self, digest: str, sha256: str, size: int) -> None:
        """Remember the SHA-256 of a file without declared hashes: the first one stays."""
        statement = insert(learnt_hashes).values(digest=digest, sha256=sha256, size=size)
        self._run(lambda conn: conn.execute(statement.on_conflict_do_nothing()), None, write=True)

    # --- bounds ---------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Keep what grows within its bounds."""
        old_metadata = select(_m.key).order_by(_m.at.desc()).offset(MAX_METADATA)
        old_pages = select(_p.fetched).order_by(_p.fetched.desc()).offset(MAX_PAGES).limit(1)

        def drop(conn: Connection) -> None:
            conn.execute(delete(upstream_metadata).where(_m.key.in_(old_metadata)))
            oldest = conn.execute(old_pages).scalar()
            if oldest is not None:
                conn.execute(delete(upstream_pages).where(_p.fetched <= oldest))

        self._run(drop, None, write=True)

    def totals(self) -> tuple[int, int, int, int]:
        """How many pages, metadata and files are held, and the bytes of the files."""
        counts = [select(func.count()).select_from(table) for table in (upstream_pages, upstream_metadata)]
        size = select(func.count(), func.coalesce(func.sum(_f.size), 0))

        def count(conn: Connection) -> tuple[int, int, int, int]:
            pages, metadata = (int(conn.execute(query).scalar_one()) for query in counts)
            files, size_of = conn.execute(size).one()
            return pages, metadata, int(files), int(size_of)

        return self._run(count, (0, 0, 0, 0))


def _names(body: bytes | None) -> Sequence[str]:
    text = unpacked(body)
    return text.decode(errors="replace").split("\n") if text else ()
