"""What searches look through (search.db): texts of projects, what they need, and all names. May be lost."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from pidex.core import finds
from pidex.core.finds import MAX_BODY, Candidate, Document, Found, spread

#: The tables below, by number: a file with another number is emptied and filled anew.
VERSION: Final = 2
#: How long a writer waits for another, in seconds.
BUSY_SECONDS: Final = 5.0
#: Projects that one search finds at most.
MAX_FOUND: Final = 10_000
#: Of those, the ones of which only the name holds what is looked for.
MAX_NAMED: Final = 200
#: What the sources of names that are indexes of ours begin with.
INDEX: Final = "index:"
#: Names that `learn` writes in one transaction.
LEARNT: Final = 10_000

_TABLES: Final = """
create table state (one integer primary key check (one = 1), serial integer not null, cursor text);
create table projects (
  id integer primary key, index_name text not null, project text not null, name text not null,
  version text not null, summary text not null, origin text not null, status text not null,
  updated integer not null, kind text not null, unique (index_name, project));
create index projects_alike on projects (index_name, project, kind, updated);
create virtual table texts using fts5 (
  name, summary, keywords, body, tokenize = "unicode61 remove_diacritics 2", prefix = '2 3');
create table needs (
  id integer not null, index_name text not null, target text not null, requirement text not null);
create index needs_by_target on needs (index_name, target);
create index needs_by_id on needs (id);
create table names (
  source text not null, name text not null, reversed text not null, primary key (source, name))
  without rowid;
create index names_reversed on names (source, reversed);
"""
#: What is told of a project that was found, and of one that may be told of.
COLUMNS: Final = "index_name, project, name, version, summary, origin, status, updated"
CANDIDATE: Final = "index_name, project, kind, updated"
_CANDIDATE: Final = ", ".join(f"p.{name}" for name in CANDIDATE.split(", "))


class State(NamedTuple):
    """How far the texts are: up to which serial of the journal.

    `cursor`: ('index/project') up to where a first filling has come; None once all is there.
    """

    serial: int
    cursor: str | None


class Texts:
    """One search.db. Safe to use from threads and processes; everything in it is made from the catalogue."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for conn in self._open:
                conn.close()
            self._open.clear()
            self._local = threading.local()

    def state(self) -> State | None:
        """How far the texts are; None where there are none."""
        row = self._conn().execute("select serial, cursor from state").fetchone()
        return None if row is None else State(*row)

    def count(self) -> int:
        """How many projects there are texts of."""
        return int(self._conn().execute("select count(*) from projects").fetchone()[0])

    def write(
        self,
        before: State | None,
        after: State,
        documents: Iterable[tuple[str, Document]],
        gone: Iterable[tuple[str, str]] = (),
    ) -> bool:
        """Put documents (with their index) in, take projects out, and note the new state.

        False, and nothing is written, where somebody else has brought it further since `before`.
        """
        with self._write() as conn:
            if self.state() != before:
                return False
            if before is None:
                _empty(conn)
            for index, project in gone:
                _remove(conn, index, project)
            for index, document in documents:
                _remove(conn, index, document.project)
                _add(conn, index, document)
            conn.execute(
                "insert or replace into state (one, serial, cursor) values (1, ?, ?)",
                (after.serial, after.cursor),
            )
            return True

    def forget(self) -> None:
        """Have everything made anew."""
        with self._write() as conn:
            conn.execute("delete from state")

    def learn(self, source: str, names: Iterable[str]) -> int:
        """Have a source hold these names, sorted, and no others; how many changed.

        In many short transactions: whoever writes meanwhile waits for one of them.
        """
        changed, after, coming = 0, "", iter(names)
        while batch := [*islice(coming, LEARNT)]:
            changed += self._replace(source, after, batch[-1], batch)
            after = batch[-1]
        return changed + self._replace(source, after, "\U0010ffff", ())

    def _replace(self, source: str, after: str, last: str, names: Iterable[str]) -> int:
        """Hold of the names behind one and up to another exactly these."""
        there = "select name from names where source = ? and name > ? and name <= ?"
        wanted, held = {*names}, {row[0] for row in self._conn().execute(there, (source, after, last))}
        if wanted == held:
            return 0
        with self._write() as conn:
            gone = [(source, name) for name in held - wanted]
            conn.executemany("delete from names where source = ? and name = ?", gone)
            rows = [(source, name, name[::-1]) for name in sorted(wanted - held)]
            conn.executemany("insert or ignore into names values (?, ?, ?)", rows)
        return len(wanted ^ held)

    def sources(self) -> Sequence[str]:
        """The sources of names that are no indexes of ours."""
        statement = "select distinct source from names where source not like 'index:%'"
        return [source for (source,) in self._conn().execute(statement)]

    # --- questions ------------------------------------------------------------------------------------------

    def find(self, words: Sequence[str], indexes: Sequence[str]) -> Sequence[Candidate]:
        """Projects of some indexes whose texts hold words that begin with all of these, the best first.

        All of them without words. The name itself comes first, then names that begin with it, then those
        that hold it, then by how well the texts fit.
        """
        conn = self._conn()
        marks = ", ".join("?" * len(indexes))
        where, values = f"and p.index_name in ({marks})", [*indexes]
        if not words:
            statement = (
                f"select {_CANDIDATE} from projects p where 1 {where} order by p.project limit {MAX_FOUND}"  # noqa: S608
            )
            return conn.execute(statement, values).fetchall()
        # Nothing but the names of columns is put together here.
        statement = (
            f"select {_CANDIDATE} from texts join projects p on p.id = texts.rowid"  # noqa: S608
            f" where texts match ? {where} order by bm25(texts, 12.0, 4.0, 4.0, 1.0) limit {MAX_FOUND}"
        )
        rows = conn.execute(statement, [_match(words), *values])
        return finds.by_name({**dict.fromkeys(rows), **_named(conn, words, where, values)}, words)

    def tell(self, found: Sequence[Candidate]) -> Sequence[Found]:
        """What is told of some of what was found; nothing of what has gone since."""
        statement = f"select {COLUMNS} from projects where index_name = ? and project = ?"  # noqa: S608
        rows = (self._conn().execute(statement, each[:2]).fetchone() for each in found)
        return [Found(*row) for row in rows if row is not None]

    def needed_by(self, index: str, project: str) -> Sequence[tuple[str, str]]:
        """(project, requirement) of each project of an index whose latest release needs this one."""
        statement = (
            "select p.project, n.requirement from needs n join projects p on p.id = n.id"
            " where n.index_name = ? and n.target = ? order by p.project, n.rowid"
        )
        return self._conn().execute(statement, (index, project)).fetchall()

    def known(self, index: str, projects: Iterable[str]) -> Sequence[str]:
        """Those of the normalised names that an index has."""
        statement = "select 1 from projects where index_name = ? and project = ?"
        conn = self._conn()
        return [each for each in projects if conn.execute(statement, (index, each)).fetchone()]

    def starting(self, sources: Sequence[str], start: str, limit: int) -> Sequence[str]:
        """Names of sources that begin with a text."""
        return _range(self._conn(), sources, start, (0, 1_000), limit)

    def near(self, sources: Sequence[str], name: str, limit: int) -> Sequence[str]:
        """Names of sources that were perhaps meant; see `finds.nearest`."""
        conn = self._conn()
        statement = "select name from names where source = ? and name in (select value from json_each(?))"

        def equal(tried: Sequence[str]) -> set[str]:
            wanted = json.dumps(tried)
            return {row[0] for source in sources for row in conn.execute(statement, (source, wanted))}

        return finds.nearest(name, limit, equal=equal, alike=partial(_range, conn, sources))

    # --- connections ----------------------------------------------------------------------------------------

    def _conn(self) -> sqlite3.Connection:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = _opened(self._path)
            with self._lock:
                self._open.append(conn)
            self._local.conn = conn
        return conn

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        conn = self._conn()
        conn.execute("begin immediate")
        try:
            yield conn
        except BaseException:
            conn.rollback()
            raise
        conn.commit()


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to tables of this version. What is no such file, or damaged, is made anew."""
    for again in (True, False):
        conn = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            conn.execute("pragma journal_mode = wal")
            conn.execute("pragma cache_size = -16384")  # KiB
            conn.execute("pragma synchronous = off")  # lost at a power cut at worst, and made anew
            if conn.execute("pragma user_version").fetchone()[0] != VERSION:
                _make(conn)
            return conn
        except sqlite3.DatabaseError:
            conn.close()
            if not again:
                raise
            for ending in ("", "-wal", "-shm"):
                with suppress(OSError):
                    path.with_name(path.name + ending).unlink()
    raise AssertionError


def _make(conn: sqlite3.Connection) -> None:
    conn.execute("begin immediate")
    if conn.execute("pragma user_version").fetchone()[0] != VERSION:
        kinds = (
            "select name from sqlite_master where type = 'table' and name not like 'texts\\_%' escape '\\'"
        )
        for (name,) in conn.execute(kinds).fetchall():
            conn.execute(f'drop table "{name}"')
        for statement in _TABLES.split(";\n"):
            conn.execute(statement)
        conn.execute(f"pragma user_version = {VERSION}")
    conn.commit()


def _empty(conn: sqlite3.Connection) -> None:
    for table in ("projects", "texts", "needs"):
        conn.execute(f"delete from {table}")  # noqa: S608  # ours
    conn.execute("delete from names where source like 'index:%'")


def _remove(conn: sqlite3.Connection, index: str, project: str) -> None:
    asked = (index, project)
    row = conn.execute("select id from projects where index_name = ? and project = ?", asked).fetchone()
    if row is not None:
        conn.execute("delete from projects where id = ?", row)
        conn.execute("delete from texts where rowid = ?", row)
        conn.execute("delete from needs where id = ?", row)
        conn.execute("delete from names where source = ? and name = ?", (f"{INDEX}{index}", project))


def _add(conn: sqlite3.Connection, index: str, document: Document) -> None:
    d = document
    marks = ", ".join("?" * 9)
    number = conn.execute(
        f"insert into projects ({COLUMNS}, kind) values ({marks})",  # noqa: S608
        (index, d.project, d.name, d.version, d.summary, d.origin, d.status, d.updated, finds.kind_text(d)),
    ).lastrowid
    conn.execute(
        "insert into texts (rowid, name, summary, keywords, body) values (?, ?, ?, ?, ?)",
        (number, f"{d.name} {d.project}", spread(d.summary), spread(d.keywords), spread(d.body[:MAX_BODY])),
    )
    conn.executemany(
        "insert into needs (id, index_name, target, requirement) values (?, ?, ?, ?)",
        [(number, index, target, text) for target, text in d.needs],
    )
    conn.execute(
        "insert or ignore into names values (?, ?, ?)", (f"{INDEX}{index}", d.project, d.project[::-1])
    )


def _match(words: Sequence[str]) -> str:
    """The query of words in FTS5's language: each a phrase that a word of the text begins with."""
    phrases = (" ".join(spread(word).replace('"', " ").split()) for word in words)
    return " ".join(f'"{phrase}"*' for phrase in phrases if phrase)


def _named(
    conn: sqlite3.Connection, words: Sequence[str], where: str, values: Sequence[str]
) -> Mapping[Candidate, None]:
    """Projects whose names hold words anywhere."""
    statement = (
        f"select {_CANDIDATE} from projects p where p.project like ? escape '!' {where} limit {MAX_NAMED}"  # noqa: S608
    )
    return dict.fromkeys(conn.execute(statement, [pattern_of("-".join(words)), *values]))


def pattern_of(text: str) -> str:
    """The pattern (`like ... escape '!'`) of names that hold a text anywhere."""
    return "%" + "".join(f"!{each}" if each in "%_!" else each for each in text.lower()) + "%"


def _range(
    conn: sqlite3.Connection,
    sources: Sequence[str],
    start: str,
    lengths: tuple[int, int],
    limit: int,
    *,
    backwards: bool = False,
) -> Sequence[str]:
    """Names (or names written backwards) that begin with a text: one walk along an index for each source."""
    found: list[str] = []
    column = "reversed" if backwards else "name"
    statement = (
        f"select {column} from names where source = ? and {column} >= ? and {column} < ?"  # noqa: S608
        f" and length({column}) between ? and ? limit ?"
    )
    for source in sources:
        rows = conn.execute(statement, (source, start, start + "\U0010ffff", *lengths, limit))
        found += [value for (value,) in rows]
    return found[:limit]
