"""Compares what an index lists with the rows that it follows from, and with what lies in the folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pidex.catalogue import admissions, comparison, places, tombstones
from pidex.catalogue.engine import Connection
from pidex.catalogue.indexes import Index
from pidex.core import listing, metadata, names
from pidex.core.errors import BadName
from pidex.core.folder import Election, Key, difference, elect, mark, same, same_but_ctime
from pidex.core.folder import Source as Origin
from pidex.core.interfaces import Storage
from pidex.core.model import (
    Admission,
    Entry,
    Facts,
    PackageType,
    Place,
    PlaceState,
    Problem,
    Shelf,
    Stat,
)
from pidex.verify.finding import Difference, Differences, Repair

#: File names compared in one go.
BATCH_KEYS = 500

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_STATES = {state.value for state in PlaceState}
_KINDS = {kind.value: kind for kind in PackageType}
#: What a listed row says that follows from other rows, by its columns.
_DERIVED = (
    "filename", "project", "name", "version", "python_version", "sha256", "blake2b_256", "md5", "size",
    "upload_time", "requires_python", "metadata_sha256", "root", "path",
)  # fmt: skip
_SOURCES = {"upload", "seen", "mtime"}

Row = Mapping[Any, Any]


class Lies(NamedTuple):
    """A listing of an index's folders: what lies there, and of what no package can be made."""

    entries: Mapping[Key, Stat]
    problems: tuple[Problem, ...]


def look(storage: Storage, roots: Sequence[int]) -> Lies:
    """List folders by their numbers."""
    entries: dict[Key, Stat] = {}
    problems: list[Problem] = []
    for item in chain.from_iterable(storage.list(root) for root in roots):
        if isinstance(item, Entry):
            entries[item.root, item.path] = item.stat
        else:
            problems.append(item)
    return Lies(entries, tuple(problems))


class Listing:
    """One index in one state of the catalogue, compared with one listing of its folders."""

    def __init__(self, conn: Connection, index: Index, storage: Storage, lies: Lies) -> None:
        self._conn, self._index, self._storage, self._lies = conn, index, storage, lies
        self._known: dict[Key, bytes] = {}
        #: Of the rows as they are: how many files each project has, and its last one's name.
        self.projects: dict[str, tuple[int, tuple[int, str], str]] = {}
        self.files = self.bytes = 0

    def differences(self) -> Differences:
        """Every difference of this index, without reading a file."""
        keys = comparison.keys(self._conn, self._index.id)
        for start in range(0, len(keys), BATCH_KEYS):
            yield from self._batch(keys[start : start + BATCH_KEYS])
        yield from self._folder()
        yield from self._projects()

    def _found(self, code: str, path: str, sentence: str, repair: Repair, root: int = 0) -> Difference:
        return Difference(code, path, sentence, repair, self._index.name, root, path)

    # --- one file name --------------------------------------------------------------------------------------

    def _batch(self, keys: Sequence[str]) -> Differences:
        conn, number = self._conn, self._index.id
        lying, rows = comparison.rows(conn, number, keys)
        admitted = admissions.find_many(conn, number, keys)
        burnt = tombstones.find_many(conn, number, keys)
        hashes = {row["sha256"] for found in lying.values() for row in found if row["sha256"]}
        facts = comparison.contents_of(conn, hashes | {each.sha256 for each in admitted.values()})
        for key in keys:
            good = True
            found: list[Place] = []
            for row in lying.get(key, ()):
                wrong = self._place(row)
                if wrong is not None:
                    good = False
                    yield wrong
                else:
                    found.append(_place(row))
            row_of = rows.get(key)
            if row_of is not None:
                self._count(row_of)
            if good:
                stone = burnt.get(key)
                reason = None if stone is None else stone.reason or "deleted"
                yield from self._name(key, found, row_of, admitted.get(key), burnt=reason, facts=facts)

    def _place(self, row: Row) -> Difference | None:
        """What is wrong with the row of a place, taken by itself and with its file."""
        key = (row["root"], row["path"])
        name = str(row["path"]).rpartition("/")[2]
        self._known[key] = mark(_stat(row))
        whole, pending = row["state"] == "whole", row["state"] == "pending"
        said = row["code"] is not None and row["reason"] is not None
        silent = row["code"] is None and row["reason"] is None
        right = (
            row["state"] in _STATES
            and row["key"] == name.casefold()
            and row["project"] == places.project_of(name)
            and (bool(_SHA256.match(row["sha256"] or "")) if whole else row["sha256"] is None)
            and (silent if whole or row["state"] == "unread" else said)
            and (row["looks"] >= 1 if pending else row["looks"] == 0)
            and (row["next_look"] is not None) == pending
        )
        if right:
            return None
        sentence = f"What is noted of {row['path']} contradicts itself."
        return self._found("place", str(row["path"]), sentence, Repair.READ, row["root"])

    def _name(
        self,
        key: str,
        found: Sequence[Place],
        row: Row | None,
        admission: Admission | None,
        *,
        burnt: str | None,
        facts: Mapping[tuple[str, str], Row],
    ) -> Differences:
        """Elect anew what a file name stands for, and compare."""
        held = row is not None and admission is not None and row["sha256"] == admission.sha256
        good = self._good(found, admission, burnt)
        election = elect(
            found,
            admission,
            good=good is not None,
            held=held,
            mutability=self._index.mutability,
            burnt=burnt,
        )
        filename = admission.filename if admission else found[0].filename if found else key
        if election.place is None or election.sha256 is None:
            if row is not None:
                yield self._found(
                    "listed",
                    row["path"],
                    f"{filename} is listed, and should not be.",
                    Repair.READ,
                    row["root"],
                )
            return
        if election.source is Origin.HELD:
            return
        path, root = election.place.path, election.place.root
        if admission is None or election.admits or admission.source not in _SOURCES:
            yield self._found(
                "admission", path, f"{filename} is not admitted as it lies there.", Repair.READ, root
            )
        elif row is None:
            yield self._found(
                "unlisted", path, f"{filename} is not listed, and should be.", Repair.READ, root
            )
        else:
            yield from self._row(row, election, admission, facts)
            yield from self._shelf(row, election.place)

    def _good(self, found: Sequence[Place], admission: Admission | None, burnt: str | None) -> Stat | None:
        if admission is None or not found or burnt is not None:
            return None
        if any(place.state is PlaceState.WHOLE and place.sha256 == admission.sha256 for place in found):
            return None
        return self._storage.sound(admission.sha256)

    def _row(
        self, row: Row, election: Election, admission: Admission, facts: Mapping[tuple[str, str], Row]
    ) -> Differences:
        """Compare a listed row with the row that follows from what was read."""
        assert election.place is not None
        filename, kind = election.place.filename, names.extension(election.place.filename)
        read = None if kind is None else facts.get((election.sha256 or "", kind.packagetype.value))
        if read is None:
            yield self._found(
                "contents", row["path"], f"What was read out of {filename} is lost.", Repair.READ, row["root"]
            )
            return
        try:
            expected = listing.listed(
                election.place, _facts(read), admission, Shelf.FOLDER, election.place.stat
            )
        except BadName:
            expected = None
        wrong = "packagetype" if expected is None or row["packagetype"] != expected.packagetype.value else ""
        for column in _DERIVED if expected is not None else ():
            if _plain(row[column]) != _plain(getattr(expected, column)):
                wrong = column
        if not wrong and admission.size != row["size"]:
            wrong = "size"
        if wrong:
            sentence = f"{filename} is listed with another {wrong} than was read out of it."
            yield self._found("row", row["path"], sentence, Repair.READ, row["root"])

    def _shelf(self, row: Row, place: Place) -> Differences:
        """Whether the bytes that a row names are there, as they were."""
        filename, sha256, said = place.filename, row["sha256"], _stat(row)
        if row["shelf"] == Shelf.KEPT.value:
            there = self._storage.kept(sha256)
        elif row["shelf"] == Shelf.FOLDER.value:
            there = self._lies.entries.get((row["root"], row["path"]))
        else:
            yield self._found(
                "row", row["path"], f"{filename} is listed on no shelf.", Repair.READ, row["root"]
            )
            return
        if there is None and row["root"] not in self._storage.folders and row["root"] in self._storage.roots:
            sentence = f"The bytes of {filename} are missing from the bucket."
            where = (self._index.name, row["root"], row["path"], sha256)
            yield Difference("object", row["path"], sentence, Repair.BYTES, *where)
        elif there is None and row["shelf"] == Shelf.KEPT.value:
            sentence = f"The kept copy of {filename} is missing."
            yield self._found("kept-missing", row["path"], sentence, Repair.READ, row["root"])
        elif there is not None and not same(there, said) and not self._moved(there, said, sha256):
            sentence = f"{filename} is listed with another stat than its bytes have."
            yield self._found("shelf", row["path"], sentence, Repair.READ, row["root"])

    def _moved(self, there: Stat, said: Stat, sha256: str) -> bool:
        """Whether only another name of the inode came or went, and the bytes are the same."""
        return same_but_ctime(there, said) and self._storage.sound(sha256) is not None

    # --- the folders ----------------------------------------------------------------------------------------

    def _folder(self) -> Differences:
        """Compare what lies in the folders with the places that are known."""
        items: list[Entry | Problem] = [Entry(*key, stat) for key, stat in self._lies.entries.items()]
        items += self._lies.problems
        found = difference(items, self._known)
        for entry in found.look:
            new = (entry.root, entry.path) not in self._known
            what = "was never read" if new else "is not the file that was read"
            yield self._found(
                "unread" if new else "changed", entry.path, f"{entry.path} {what}.", Repair.READ, entry.root
            )
        for root, path in found.forget:
            yield self._found("missing", path, f"{path} is not in its folder any more.", Repair.READ, root)

    # --- the project list -----------------------------------------------------------------------------------

    def _count(self, row: Row) -> None:
        self.files += 1
        self.bytes += int(row["size"]) if isinstance(row["size"], int) else 0
        project = row["project"]
        number, best, name = self.projects.get(project, (0, (-1, ""), ""))
        mine = (row["upload_time"], row["key"])
        self.projects[project] = (number + 1, *((mine, row["name"]) if mine > best else (best, name)))

    def _projects(self) -> Differences:
        rows = {row["project"]: row for row in comparison.list_projects(self._conn, self._index.id)}
        serials = comparison.serials(self._conn, self._index.id)
        for project in sorted({*rows, *self.projects}):
            row, found = rows.get(project), self.projects.get(project)
            if row is None or found is None:
                what = (
                    "is missing from the project list"
                    if row is None
                    else "is in the project list without files"
                )
                yield self._project(project, what)
            elif (row["files"], row["name"]) != (found[0], found[2]) or row["serial"] != serials.get(
                project, 0
            ):
                yield self._project(project, "is not in the project list as its files say")

    def _project(self, project: str, what: str) -> Difference:
        return Difference("project", project, f"{project} {what}.", Repair.PROJECT, self._index.name)


def contents(conn: Connection) -> Iterator[Difference]:
    """What is noted of bytes, compared with the metadata that is noted with it."""
    for row in comparison.list_contents(conn):
        inside, said = row["metadata"], row["metadata_sha256"]
        right = row["kind"] in _KINDS and bool(_SHA256.match(row["sha256"] or ""))
        if row["packed"]:
            right = right and inside is not None and hashlib.sha256(inside).hexdigest() == said
            read = metadata.parse(inside or b"")
            right = right and all(
                _plain(row[name]) == _plain(getattr(read, name))
                for name in ("name", "version", "requires_python", "summary")
            )
        else:
            columns = (said, row["name"], row["version"], row["requires_python"], row["summary"])
            right = right and all(each is None for each in columns)
        if not right:
            sentence = f"What is noted of the bytes {str(row['sha256'])[:12]}... contradicts itself."
            yield Difference(
                "contents", str(row["sha256"]), sentence, Repair.CONTENTS, sha256=str(row["sha256"])
            )


def _stat(row: Row) -> Stat:
    return Stat(row["size"], row["mtime_ns"], row["ctime_ns"], row["inode"], row["device"])


def _place(row: Row) -> Place:
    return Place(
        row["root"], row["path"], _stat(row), PlaceState(row["state"]), row["sha256"], row["code"],
        row["reason"], row["looks"], row["next_look"],
    )  # fmt: skip


def _facts(row: Row) -> Facts:
    return Facts(
        sha256=row["sha256"], blake2b_256=row["blake2b_256"], md5=row["md5"], size=row["size"],
        metadata=row["metadata"], name=row["name"], version=row["version"],
        requires_python=row["requires_python"], summary=row["summary"],
    )  # fmt: skip


def _plain(value: object) -> object:
    """Text as the databases have it."""
    return value.encode("utf-8", "replace").decode().replace("\x00", "") if isinstance(value, str) else value
