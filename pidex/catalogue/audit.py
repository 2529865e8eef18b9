"""Who did what, from where, and what it was before: one row a change, in the change's own transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import audit, seals
from pidex.core.model import Principal


class Entry(NamedTuple):
    """A row of the audit. `at` in microseconds since 1970, UTC; `before` and `after` are JSON or None."""

    id: int
    at: int
    actor: str
    via: str
    token_id: int | None
    address: str | None
    action: str
    index_name: str | None
    project: str | None
    subject: str | None
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded. `action` is a noun and a verb: 'file.delete'.

    `before` and `after` are what JSON can hold, never a secret.
    """

    action: str
    index: str | None = None
    project: str | None = None
    subject: str | None = None
    before: object = None
    after: object = None


class Break(NamedTuple):
    """A place where the chain does not hold: the row's number, and what was done to it or before it."""

    id: int
    reason: str


#: The columns that `search` looks through.
SEARCHED = ("actor", "action", "index_name", "project", "subject")
#: What the first row says of the row before it.
BEGINNING = "0" * 64
#: Rows fetched at once by `breaks`.
FETCH_ROWS = 1000

_COLUMNS = [audit.c[name] for name in Entry._fields]
_LIST = (
    select(*_COLUMNS)
    .where(audit.c.id > bindparam("since"))
    .order_by(audit.c.id.desc())
    .limit(bindparam("most"))
)
_HEAD = Prepared(
    select(
        seals.c.value, select(func.coalesce(func.max(audit.c.id), 0)).scalar_subquery().label("last")
    ).where(seals.c.name == "audit")
)
_ADVANCE = Prepared(update(seals).where(seals.c.name == "audit").values(value=bindparam("of_digest")))
_INSERT = Prepared(insert(audit))
_CHAIN = (
    select(*_COLUMNS, audit.c.previous, audit.c.digest)
    .order_by(audit.c.id)
    .execution_options(yield_per=FETCH_ROWS)
)
_LINK = (
    update(audit)
    .where(audit.c.id == bindparam("of_id"))
    .values(previous=bindparam("previous"), digest=bindparam("digest"))
)


def record(
    conn: Connection,
    by: Principal,
    action: str,
    *,
    index: str | None = None,
    project: str | None = None,
    subject: str | None = None,
    before: object = None,
    after: object = None,
    at: int,
) -> None:
    """Write one row in the caller's transaction: `record_many` of one `Event`."""
    record_many(conn, by, [Event(action, index, project, subject, before, after)], at=at)


def record_many(conn: Connection, by: Principal, events: Iterable[Event], *, at: int) -> None:
    """Write rows in their order, in the caller's transaction. `at` in microseconds since 1970, UTC.

    Each row carries the digest of the row before it, and its own over that and all that it says. There is
    one writer at a time, so the chain has no forks.
    """
    digest, last = _HEAD.one(conn, {})
    rows = []
    for number, event in enumerate(events, last + 1):
        entry = Entry(
            id=number,
            at=at,
            actor=by.name or "anonymous",
            via=by.via,
            token_id=None if by.token is None else by.token.token_id,
            address=by.address,
            action=event.action,
            index_name=event.index,
            project=event.project,
            subject=event.subject,
            before=_text(event.before),
            after=_text(event.after),
        )
        previous, digest = digest, _digest(digest, entry)
        rows.append({**entry._asdict(), "previous": previous, "digest": digest})
    if rows:
        _INSERT.run(conn, rows)
        _ADVANCE.run(conn, [{"of_digest": digest}])


def list(conn: Connection, *, since: int = 0, limit: int) -> Sequence[Entry]:  # noqa: A001
    """The newest rows after number `since`, newest first, at most `limit`."""
    return [Entry(*row) for row in conn.execute(_LIST, {"since": since, "most": limit})]


def search(
    conn: Connection,
    wanted: Mapping[str, str],
    *,
    since: int = 0,
    until: int | None = None,
    before: int | None = None,
    limit: int,
) -> Sequence[Entry]:
    """The newest rows that fit, newest first, at most `limit`.

    `wanted`: values of `SEARCHED` columns; of an action its beginning ('token.'). `since` and `until`: times
    in microseconds since 1970. `before`: only rows with a smaller number, for the next page.
    """
    query = select(*_COLUMNS).where(audit.c.at >= since).order_by(audit.c.id.desc()).limit(limit)
    if until is not None:
        query = query.where(audit.c.at < until)
    if before is not None:
        query = query.where(audit.c.id < before)
    for name in SEARCHED:
        value = wanted.get(name)
        if value:
            column = audit.c[name]
            query = query.where(
                column.startswith(value, autoescape=True) if name == "action" else column == value
            )
    return [Entry(*row) for row in conn.execute(query)]


def projects_of(conn: Connection, action: str) -> frozenset[tuple[str | None, str | None]]:
    """The indexes and projects of which there is a row of an action."""
    query = select(audit.c.index_name, audit.c.project).where(audit.c.action == action).distinct()
    return frozenset((index, project) for index, project in conn.execute(query))


def head(conn: Connection) -> tuple[int, str]:
    """The number of the newest row and the digest that the next one will carry."""
    digest, last = _HEAD.one(conn, {})
    return int(last), str(digest)


def breaks(conn: Connection) -> Iterator[Break]:
    """Where the chain does not hold: rows that were changed, removed or put between."""
    previous, last = BEGINNING, 0
    for row in conn.execute(_CHAIN):
        entry, (said, digest) = Entry(*row[:-2]), row[-2:]
        if said != previous:
            yield Break(entry.id, f"rows between {last} and {entry.id} were removed, changed or put there")
        if digest != _digest(said, entry):
            yield Break(entry.id, f"row {entry.id} was changed")
        previous, last = digest, entry.id
    newest = _HEAD.first(conn, {})
    if newest is None or newest[0] != previous:
        yield Break(last, f"rows after {last} were removed, or the newest were put there by other means")


def chain(conn: Connection) -> None:
    """Chain the rows that a catalogue has, in the caller's transaction: for its migration."""
    previous, links = BEGINNING, []
    for row in conn.execute(_CHAIN).fetchall():
        digest = _digest(previous, Entry(*row[:-2]))
        links.append({"of_id": row[0], "previous": previous, "digest": digest})
        previous = digest
    if links:
        conn.execute(_LINK, links)
    conn.execute(insert(seals).values(name="audit", value=previous))


def _digest(previous: str | None, entry: Entry) -> str:
    """SHA-256 over the row before and all that this one says, as JSON in one spelling."""
    text = json.dumps([previous, *entry], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _text(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
