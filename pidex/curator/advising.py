"""What is known of public packages from elsewhere: advisories are taken in, told and dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from pidex.catalogue import advisories, audit, indexes, journal
from pidex.catalogue.engine import Connection
from pidex.core import advisories as records
from pidex.core import names, rulebook
from pidex.core.errors import BadRequest, Forbidden, Unauthenticated
from pidex.core.listing import REFRESH
from pidex.core.model import Advisory, Principal
from pidex.core.permissions import Action
from pidex.curator.desk import Desk, name_of

#: Bytes of one record, and records that are taken in with one transaction.
RECORD_BYTES, BATCH = 4 * 1024 * 1024, 2_000
#: Projects of which each is announced; where there are more, everything is.
FEW_PROJECTS = 200
#: Ids that one call drops.
MOST_IDS = 1_000


class Advising(Desk):
    """Advisories are the server's: every index with mirrored files heeds them, as its rules say."""

    def take_advisories(
        self,
        *,
        files: Sequence[BinaryIO],
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        records_expected: int = 0,
        by: Principal,
    ) -> dict[str, Any]:
        """Take records in, one on each line of open files (OSV's JSON). Newer forms replace older ones.

        Withdrawn ones are forgotten. Returns how many were `read`, of them `changed` and `dropped`, and those
        `refused` (the first few reasons). What was taken in stays, also where a later line cannot be read.
        """
        self._overseen(by)
        done = {"read": 0, "changed": 0, "dropped": 0, "refused": 0}
        reasons: list[str] = []
        for batch in _batches(_lines(files)):
            found: dict[tuple[str, str], Advisory | None] = {}
            for line in batch:
                done["read"] += 1
                try:
                    told = records.read(line)
                except BadRequest as error:
                    done["refused"] += 1
                    reasons += [str(error)] if len(reasons) < 5 else []
                    continue
                name = msgspec.json.decode(line)["id"]
                found |= {(project, name): each for project, each in told.items()}
            changed, dropped = self._take(found, by)
            done["changed"] += changed
            done["dropped"] += dropped
            progress(done["read"], max(records_expected, done["read"]))
        with self._catalogue.read() as conn:
            held, projects = advisories.count(conn)
        return {**done, "reasons": reasons, "held": held, "projects": projects}

    def advisories(self, project: str, *, by: Principal) -> list[dict[str, Any]]:
        """What is known of a public project of this name."""
        self._overseen(by)
        with self._catalogue.read() as conn:
            found = advisories.list_project(conn, names.normalize(project))
        return [
            {
                **msgspec.to_builtins(each),
                "severity": each.rating,
                "fixed_in": [*each.fixed_in],
                "link": each.link,
            }
            for each in found
        ]

    def drop_advisories(self, ids: Sequence[str], *, by: Principal) -> dict[str, Any]:
        """Forget advisories by id; every index goes on as if nobody had told of them."""
        self._overseen(by)
        if not 0 < len(ids) <= MOST_IDS:
            raise BadRequest(f"Name 1 to {MOST_IDS:,} advisories.")
        with self._catalogue.write() as conn:
            keys = [key for key in advisories.known(conn) if key[1] in {*ids}]
            advisories.drop(conn, keys)
            if keys:
                self._announce(conn, by, keys, {"dropped": sorted({id_ for _, id_ in keys})})
        return {"dropped": len({id_ for _, id_ in keys})}

    def _overseen(self, by: Principal) -> None:
        if by.name is None:
            raise Unauthenticated("That is for administrators of the server: sign in as one.")
        if not self._accounts.allows(by, Action.ADMIN, None):
            raise Forbidden("That is for administrators of the server: `pidex grant add NAME admin`.")

    def _take(self, found: dict[tuple[str, str], Advisory | None], by: Principal) -> tuple[int, int]:
        with self._catalogue.read() as conn:
            known = advisories.known(conn)
        fresh = [
            (project, each)
            for (project, id_), each in found.items()
            if each is not None and known.get((project, id_)) != each.modified
        ]
        gone = [key for key, each in found.items() if each is None and key in known]
        if fresh or gone:
            with self._catalogue.write() as conn:
                advisories.put(conn, fresh)
                advisories.drop(conn, gone)
                keys = [*gone, *((project, each.id) for project, each in fresh)]
                self._announce(conn, by, keys, {"changed": len(fresh), "dropped": len(gone)})
        return len(fresh), len(gone)

    def _announce(
        self, conn: Connection, by: Principal, keys: Sequence[tuple[str, str]], after: dict[str, Any]
    ) -> None:
        """Have the pages of these projects be made anew in every index that heeds them; tell the audit."""
        now, projects = self._now(), sorted({project for project, _ in keys})
        for index in indexes.list(conn):
            if index.alone and rulebook.rules_of(index.rules).scope != "all":
                continue
            if len(projects) > FEW_PROJECTS:
                indexes.announce(conn, index.id, at=now, by=name_of(by))
            else:
                events = [journal.Event(project, REFRESH) for project in projects]
                journal.record_many(conn, index.id, events, at=now, by=name_of(by))
        audit.record(conn, by, "advisories", at=now, after=after)


def _lines(files: Iterable[BinaryIO]) -> Iterator[bytes]:
    for file in files:
        while line := file.readline(RECORD_BYTES + 1):
            if len(line) > RECORD_BYTES:
                raise BadRequest(f"A record is longer than {RECORD_BYTES:,} bytes.")
            if line.strip():
                yield line


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
