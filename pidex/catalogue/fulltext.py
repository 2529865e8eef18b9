"""What searches look through where nodes share PostgreSQL (search1_*): texts of projects. May be lost."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text

from pidex.catalogue.engine import Catalogue
from pidex.catalogue.search import CANDIDATE, COLUMNS, INDEX, MAX_FOUND, MAX_NAMED, State, Texts, pattern_of
from pidex.core import finds
from pidex.core.finds import MAX_BODY, Candidate, Document, Found, spread

#: One process at a time makes tables or writes: any fixed number that nothing else in the database uses.
_LOCK: Final = 7_095_340
#: What words weigh by where they stand: README, keywords, summary, name. As in search.db.
_WEIGHTS: Final = "{0.083, 0.333, 0.333, 1}"

#: Characters of a word that is looked for, and of a name that is needed: PostgreSQL refuses longer ones.
_WORD_CHARS: Final = 200

#: The number in the names is that of these tables' form: another one makes tables of its own beside them.
_TABLES: Final = """
create table search1_state (one int primary key check (one = 1), serial bigint not null, cursor text);
create table search1_projects (
  id bigint generated always as identity primary key,
  index_name text collate "C" not null, project text collate "C" not null, name text not null,
  version text not null, summary text not null, origin text not null, status text not null,
  updated bigint not null, kind text not null, texts tsvector not null,
  unique (index_name, project) include (kind, updated));
create index search1_projects_texts on search1_projects using gin (texts);
create index search1_projects_reversed on search1_projects (index_name, (reverse(project)));
create table search1_needs (
  index_name text collate "C" not null, project text collate "C" not null,
  target text collate "C" not null, requirement text not null);
create index search1_needs_by_target on search1_needs (index_name, target);
create index search1_needs_by_project on search1_needs (index_name, project)
"""
_THERE = text("select to_regclass('search1_state') is not null")
_TURN = text("select pg_advisory_xact_lock(:lock)")
_STATE = text("select serial, cursor from search1_state")
_NOTE = text(
    "insert into search1_state (one, serial, cursor) values (1, :serial, :cursor)"
    " on conflict (one) do update set serial = excluded.serial, cursor = excluded.cursor"
)
_FORGET = text("delete from search1_state")
_EMPTY = [text(f"delete from {table}") for table in ("search1_projects", "search1_needs")]  # noqa: S608
_COUNT = text("select count(*) from search1_projects")
_REMOVE = [
    text(
        f"delete from {table} t using unnest(cast(:names as text[]), cast(:projects as text[]))"  # noqa: S608
        " as gone (index_name, project) where t.index_name = gone.index_name and t.project = gone.project"
    )
    for table in ("search1_projects", "search1_needs")
]
_ADD = text(
    f"insert into search1_projects ({COLUMNS}, kind, texts) values"  # noqa: S608  # names of columns
    f" ({', '.join(f':{each}' for each in COLUMNS.split(', '))}, :kind,"
    " setweight(to_tsvector('simple', :a), 'A') || setweight(to_tsvector('simple', :b), 'B')"
    " || setweight(to_tsvector('simple', :c), 'C') || setweight(to_tsvector('simple', :d), 'D'))"
)
_ADD_NEED = text("insert into search1_needs values (:index_name, :project, :target, :requirement)")
#: Out of the index alone, which has all four columns: the rows are long. An index at a time is in order.
_EACH = (
    "select found.* from unnest(cast(:names as text[])) as asked (name) cross join lateral"  # noqa: S608
    f" (select {CANDIDATE} from search1_projects where index_name = asked.name %s"
    " order by project limit :most) as found order by project limit :most"
)
_ALL = text(_EACH % "")
_NAMED = text(_EACH % "and project like :pattern escape '!'")
#: Of a word that more projects have than are found, any of them are ranked: reading all takes seconds. `is
#: true` keeps the planner from reading all of an index by its name, beside what fits.
_FITTING = text(
    f"select {CANDIDATE} from (select {CANDIDATE}, ts_rank('{_WEIGHTS}', texts, query, 1) as fit"  # noqa: S608
    " from search1_projects, to_tsquery('simple', :query) as query"
    " where texts @@ query and (index_name = any(:names)) is true limit :most) as fitting"
    " order by fit desc, project"
)
_TELL = text(
    f"select {COLUMNS} from search1_projects"  # noqa: S608
    " join unnest(cast(:names as text[]), cast(:projects as text[]))"
    " with ordinality as asked (index_name, project, place) using (index_name, project) order by place"
)
_NEEDED_BY = text(
    "select project, requirement from search1_needs where index_name = :name and target = :target"
    " order by project, ctid"
)
_KNOWN = text("select project from search1_projects where index_name = :name and project = any(:projects)")
_ALIKE = {
    column: text(
        f"select {column} from search1_projects where index_name = any(:names)"  # noqa: S608
        f' and {column} >= :start collate "C" and {column} < :end collate "C"'
        f" and length({column}) between :least and :longest limit :most"
    )
    for column in ("project", "reverse(project)")
}

_BETWEEN: Final = re.compile(r"[\W_]+")


class SharedTexts:
    """The same as `Texts`, for all nodes of a cluster: in the catalogue's database, beside the catalogue.

    Whoever comes first makes the tables, and any process may bring them further: in one transaction that
    says from where. They have no migrations, as they are made from the catalogue. What upstreams list stays
    with each node (`own`), as the lists themselves do.
    """

    def __init__(self, catalogue: Catalogue, own: Texts) -> None:
        self._catalogue, self._own = catalogue, own

    def close(self) -> None:
        """Close what is this node's own."""
        self._own.close()

    def state(self) -> State | None:
        """How far the texts are; None where there are none."""
        with self._catalogue.read() as conn:
            return _state(conn)

    def count(self) -> int:
        """How many projects there are texts of."""
        return sum(number for (number,) in self._ask(_COUNT))

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
        coming = [*documents]
        away = [*gone, *((index, document.project) for index, document in coming)]
        with self._catalogue.derive() as conn:
            conn.execute(_TURN, {"lock": _LOCK})
            if _state(conn) != before:
                return False
            if before is None:
                _make(conn)
                for statement in _EMPTY:
                    conn.execute(statement)
            if away:
                pairs = {"names": [name for name, _ in away], "projects": [project for _, project in away]}
                for statement in _REMOVE:
                    conn.execute(statement, pairs)
            if coming:
                conn.execute(_ADD, [_row(index, document) for index, document in coming])
            needs = [need for index, document in coming for need in _needs(index, document)]
            if needs:
                conn.execute(_ADD_NEED, needs)
            conn.execute(_NOTE, after._asdict())
            return True

    def forget(self) -> None:
        """Have everything made anew."""
        with self._catalogue.derive() as conn:
            conn.execute(_TURN, {"lock": _LOCK})
            if _state(conn) is not None:
                conn.execute(_FORGET)

    def learn(self, source: str, names: Iterable[str]) -> int:
        """Have a source hold these names, sorted, and no others, at this node; how many changed."""
        return self._own.learn(source, names)

    def sources(self) -> Sequence[str]:
        """The sources of names that are no indexes of ours, as this node knows them."""
        return self._own.sources()

    # --- questions ------------------------------------------------------------------------------------------

    def find(self, words: Sequence[str], indexes: Sequence[str]) -> Sequence[Candidate]:
        """Projects of some indexes whose texts hold words that begin with all of these; see `Texts.find`."""
        asked = {"names": [*indexes], "most": MAX_FOUND}
        if not words:
            return [*map(tuple, self._ask(_ALL, asked))]
        query, pattern = _query(words), pattern_of("-".join(map(_plain, words)))
        rows = [*self._ask(_FITTING, asked | {"query": query})] if query else []
        rows += self._ask(_NAMED, asked | {"pattern": pattern, "most": MAX_NAMED})
        return finds.by_name(dict.fromkeys(map(tuple, rows)), words)

    def tell(self, found: Sequence[Candidate]) -> Sequence[Found]:
        """What is told of some of what was found; nothing of what has gone since."""
        asked = {"names": [each[0] for each in found], "projects": [each[1] for each in found]}
        return [Found(*row) for row in self._ask(_TELL, asked)]

    def needed_by(self, index: str, project: str) -> Sequence[tuple[str, str]]:
        """(project, requirement) of each project of an index whose latest release needs this one."""
        rows = self._ask(_NEEDED_BY, {"name": index, "target": project})
        return [(name, requirement) for name, requirement in rows]

    def known(self, index: str, projects: Iterable[str]) -> Sequence[str]:
        """Those of the normalised names that an index has."""
        rows = self._ask(_KNOWN, {"name": index, "projects": [_plain(each) for each in projects]})
        return [name for (name,) in rows]

    def starting(self, sources: Sequence[str], start: str, limit: int) -> Sequence[str]:
        """Names of upstreams that begin with a text."""
        return self._own.starting(sources, start, limit)

    def near(self, sources: Sequence[str], name: str, limit: int) -> Sequence[str]:
        """Names of sources that were perhaps meant; see `finds.nearest`. Indexes of ours, or upstreams."""
        names = [each.removeprefix(INDEX) for each in sources if each.startswith(INDEX)]
        if len(names) < len(sources):
            return self._own.near([*sources], name, limit)
        return finds.nearest(
            _plain(name),
            limit,
            equal=lambda tried: {each for index in names for each in self.known(index, tried)},
            alike=partial(self._alike, names),
        )

    def _alike(
        self, names: Sequence[str], start: str, lengths: tuple[int, int], most: int, *, backwards: bool
    ) -> Sequence[str]:
        words = {"names": names, "start": start, "end": start + "\U0010ffff", "most": most}
        words |= {"least": lengths[0], "longest": lengths[1]}
        rows = self._ask(_ALIKE["reverse(project)" if backwards else "project"], words)
        return [value for (value,) in rows]

    def _ask(self, statement: TextClause, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        with self._catalogue.read() as conn:
            if not conn.execute(_THERE).scalar_one():
                return []
            return conn.execute(statement, values or {}).all()


def _make(conn: Connection) -> None:
    if not conn.execute(_THERE).scalar_one():
        for statement in _TABLES.split(";\n"):
            conn.execute(text(statement))


def _state(conn: Connection) -> State | None:
    if not conn.execute(_THERE).scalar_one():
        return None
    row = conn.execute(_STATE).first()
    return None if row is None else State(row.serial, row.cursor)


def _row(index: str, document: Document) -> Mapping[str, Any]:
    d = document
    values = (index, d.project, d.name, d.version, d.summary, d.origin, d.status, d.updated)
    row: dict[str, Any] = {**dict(zip(COLUMNS.split(", "), values, strict=True)), "kind": finds.kind_text(d)}
    told = {"a": f"{d.name} {d.project}", "b": d.summary, "c": d.keywords, "d": d.body}
    plain = {name: _plain(value) if isinstance(value, str) else value for name, value in row.items()}
    return plain | {name: _folded(value[:MAX_BODY]) for name, value in told.items()}


def _needs(index: str, document: Document) -> Iterable[Mapping[str, str]]:
    for target, requirement in document.needs:
        if len(target) > _WORD_CHARS:
            continue  # no project has such a name
        told = {"target": _plain(target), "requirement": _plain(requirement)}
        yield {"index_name": index, "project": document.project} | told


def _folded(text: str) -> str:
    """A text as words of letters and digits alone, without case or accents: servers cut it in one way."""
    apart = unicodedata.normalize("NFKD", spread(_plain(text)).casefold())
    plain = _BETWEEN.sub(" ", "".join(each for each in apart if not unicodedata.combining(each)))
    return plain.strip()[:MAX_BODY]  # signs that stand for whole phrases make it longer


def _query(words: Iterable[str]) -> str:
    """The query of words in PostgreSQL's language: each a phrase that a word of the text begins with."""
    phrases = (_folded(word).split() for word in words)
    return " & ".join(
        "(" + " <-> ".join(f"'{each}'" for each in phrase) + ":*)" for phrase in phrases if phrase
    )


def _plain(text: str) -> str:
    """A text that the database takes: without NUL and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
