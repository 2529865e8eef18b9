"""Damaged bytes: put aside, never deleted, and replaced by sound ones where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from pidex.backends.quarantine import Quarantine
from pidex.catalogue import audit, comparison, indexes, projects, seals
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import PidexError
from pidex.core.folder import filename_key, same
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import OPERATOR, Entry, Look, Place, PlaceState, Principal
from pidex.intake import Intake
from pidex.verify.finding import Difference, Repair
from pidex.verify.mirrored import Stock
from pidex.verify.reading import Pace, Unreadable, digests

#: What is said of a place whose bytes are damaged, and that cannot be moved away.
DAMAGED_CODE = "damaged-on-disk"
DAMAGED_REASON = "its bytes are not those that were admitted: the disk has damaged them"


class Source(Protocol):
    """Who may have the bytes of a hash once more: a mirror fetches them again."""

    def refetch(self, sha256: str) -> bool:
        """Have sound bytes of this hash in the place where they lay; whether they are there now."""


class Healer:
    """Mends what can be mended. For who holds the data directory; `source` may bring bytes back."""

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        intake: Intake,
        quarantine: Quarantine,
        *,
        clock: Clock,
        source: Source | None = None,
        stock: Stock | None = None,
    ) -> None:
        self._catalogue, self._storage, self._intake = catalogue, storage, intake
        self._quarantine, self._clock, self._source = quarantine, clock, source
        self._stock = stock

    # --- bytes ----------------------------------------------------------------------------------------------

    def heal(self, found: Difference, *, by: Principal) -> str:
        """Put damaged bytes aside, and sound ones in their place where there are any; what was done.

        In the folder and among the kept copies, whichever is damaged: mostly these are two names of the same
        bytes. Without sound bytes the file is not listed any more; its admission stays, so that it is
        again what it was once somebody puts the same bytes into the folder. What an upstream has is dropped.
        """
        if found.repair is Repair.MIRROR:
            return self._renew(found)
        storage = self._storage
        if found.path and storage.blocks(found.root, found.path) is not None:
            return self._refill(found, by)
        kept_bad = self._damaged(storage.kept_path(found.sha256), found.sha256)
        if kept_bad is not None:
            self._aside(storage.kept_path(found.sha256), found.sha256, kept_bad, by)
        if not found.path:
            return self._keep_again(found, storage, by)
        path = storage.path(found.root, found.path)
        bad = self._damaged(path, found.sha256)
        if bad is None:
            return self._keep_again(found, storage, by)
        sound = self._sound(found, storage)
        fixed = storage.fixed(found.root, found.path)
        if fixed is None:
            self._aside(path, found.sha256, bad, by)
            if sound:
                storage.restore(found.sha256, found.root, found.path)
                self._read_again(found)
                return f"{found.path}: damaged bytes are in quarantine, sound ones in their place."
            self._intake.forget(found.index, [(found.root, found.path)], by=by)
            return (
                f"{found.path}: damaged bytes are in quarantine, and there are no sound ones: it is not"
                " listed any more. Put the same file into the folder again, or restore it from a backup."
            )
        stat = storage.stat(found.root, found.path)
        if stat is not None:
            entry = Entry(found.root, found.path, stat)
            look = Look(entry, PlaceState.REFUSED, code=DAMAGED_CODE, reason=DAMAGED_REASON)
            self._intake.adopt(found.index, [look], by=by)
        served = "the kept copy is served" if sound else "it is not listed any more"
        return f"{found.path} is damaged and cannot be moved ({fixed}): {served}."

    def _renew(self, found: Difference) -> str:
        """Drop a damaged file of an upstream, which has it still, and have it once more."""
        if self._stock is None:
            return found.sentence
        name = self._stock.name(found.sha256)
        if self._stock.renew(found.sha256):
            return f"The damaged bytes of {name} are dropped, and fetched again."
        return f"The damaged bytes of {name} are dropped. They are fetched when somebody asks for them."

    def _refill(self, found: Difference, by: Principal) -> str:
        """Send the bytes of an object to the bucket again, where this machine has sound ones."""
        name = found.path.rpartition("/")[2]
        if not self._storage.refill(found.sha256):
            return (
                f"{found.sentence} There are none on this machine: {name} is not handed out until the bucket"
                " has them again, from a backup of its own or by an upload of the same file."
            )
        with self._catalogue.write() as conn:
            at = int(self._clock() * 1_000_000)
            audit.record(conn, by, "file.refill", subject=name, at=at, after={"sha256": found.sha256})
        return f"{found.sentence} They were sent again from this machine."

    def _sound(self, found: Difference, storage: Storage) -> bool:
        """Whether there is a kept copy with the right bytes now, from wherever it could be had."""
        if storage.kept(found.sha256) is not None:
            return self._damaged(storage.kept_path(found.sha256), found.sha256) is None
        if self._elsewhere(found, storage):
            return True
        return self._source is not None and self._source.refetch(found.sha256)

    def _elsewhere(self, found: Difference, storage: Storage) -> bool:
        """Keep the bytes of another path that has them; whether one has."""
        for _, place in self._places(found):
            here = (place.root, place.path)
            if here == (found.root, found.path):
                continue
            path = storage.path(*here)
            stat = storage.stat(*here)
            if stat is None or not same(stat, place.stat) or self._damaged(path, found.sha256) is not None:
                continue
            try:
                if storage.keep(Entry(*here, stat), found.sha256) is not None:
                    return True
            except PidexError:
                continue
        return False

    def _keep_again(self, found: Difference, storage: Storage, by: Principal) -> str:
        """Have a kept copy of a file whose bytes in the folder are sound."""
        if storage.kept(found.sha256) is None and not self._elsewhere(replace(found, path=""), storage):
            return f"The kept copy {found.sha256[:12]}... is in quarantine, and no folder has its bytes."
        for name, place in self._places(found):
            self._read_again(replace(found, index=name, root=place.root, path=place.path))
        return f"The kept copy {found.sha256[:12]}... is in quarantine, and made anew from the folder."

    def _places(self, found: Difference) -> list[tuple[str, Place]]:
        with self._catalogue.read() as conn:
            return [
                (index.name, place)
                for index in indexes.list(conn)
                for place in comparison.list_whole(conn, index.id, found.sha256)
            ]

    def _read_again(self, found: Difference) -> None:
        """Note the stat of a file whose bytes were looked at just now: they are those that are known."""
        storage = self._storage
        read = digests(storage.path(found.root, found.path), Pace(), cold=False)
        if read is None or isinstance(read, Unreadable) or read[1].sha256 != found.sha256:
            return
        with self._catalogue.read() as conn:
            facts = comparison.facts_of(conn, found.sha256, found.path)
        if facts is not None:
            look = Look(Entry(found.root, found.path, read[0]), PlaceState.WHOLE, facts)
            self._intake.adopt(found.index, [look])

    def _damaged(self, path: str, sha256: str) -> str | None:
        """What bytes have instead of their hash, or why they cannot be read; None: they are sound or gone."""
        read = digests(path, Pace())
        if read is None:
            return None
        if isinstance(read, Unreadable):
            return read.reason
        return None if read[1].sha256 == sha256 else read[1].sha256

    def _aside(self, path: str, sha256: str, found: str, by: Principal) -> None:
        now = self._clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        note = {"sha256": sha256, "found": found, "at": now, "by": by.name}
        where = self._quarantine.put(path, stamp=stamp, note=note)
        with self._catalogue.write() as conn:
            audit.record(
                conn, by, "file.quarantine", subject=os.path.basename(path), at=int(now * 1_000_000),
                before={"path": path, "sha256": sha256}, after={"found": found, "as": where.name},
            )  # fmt: skip

    # --- rows -----------------------------------------------------------------------------------------------

    def forget(self, found: list[Difference], *, by: Principal) -> list[str]:
        """Drop derived rows that are wrong. The next scan reads the files again; what was done, in sentences.

        Nothing that people decided is touched: admissions, with the times since when files are known, stay.
        """
        said = []
        with self._catalogue.write() as conn:
            numbers = {index.name: index.id for index in indexes.list(conn)}
            hashes = {each.sha256 for each in found if each.repair is Repair.CONTENTS}
            comparison.forget_contents(conn, hashes)
            if hashes:
                said.append(f"What was read out of {len(hashes)} files is read again.")
            for name, number in numbers.items():
                paths = {(e.root, e.path) for e in found if e.repair is Repair.READ and e.index == name}
                keys = {filename_key(path) for _, path in paths}
                keys |= comparison.keys_of(conn, number, hashes)
                comparison.forget_places(conn, number, keys, paths)
                if keys:
                    said.append(f"{name}: {len(keys)} files are read again.")
                lines = {e.subject for e in found if e.repair is Repair.PROJECT and e.index == name}
                lines |= comparison.projects_of(keys)
                comparison.forget_projects(conn, number, lines)
                projects.refresh(conn, number, lines)
                if lines:
                    said.append(f"{name}: {len(lines)} lines of the project list are made again.")
            if said:
                at = int(self._clock() * 1_000_000)
                audit.record(conn, by, "catalogue.repair", at=at, after={"done": said})
        return said

    def seal(self, tables: Iterable[str]) -> None:
        """Take what derived tables hold for right: after a scan has made them again."""
        with self._catalogue.write() as conn:
            seals.renew(conn, tables)

    def accept(self, *, by: Principal) -> None:
        """Take what the sealed tables hold now for right: a person has looked at them."""
        with self._catalogue.write() as conn:
            different = seals.differing(conn)
            audit.record(
                conn, by, "catalogue.accept", at=int(self._clock() * 1_000_000), after={"tables": different}
            )
            seals.renew(conn)


#: Who repairs where nobody asked: the scrub.
SCRUB = OPERATOR._replace(via="scrub")
