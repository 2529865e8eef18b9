"""Compares all that is kept: rows, files, hashes, what is derived, the journal, the audit; and mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from pidex.catalogue import audit, comparison, indexes, seals
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.errors import CatalogueError
from pidex.core.folder import roots_of
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import NO_STAT, Place, Principal
from pidex.verify.finding import Difference, Differences, Repair, Report
from pidex.verify.healing import Healer
from pidex.verify.listing import Lies, Listing, contents, look
from pidex.verify.mirrored import Stock
from pidex.verify.reading import Pace, Stopped, Unreadable, digests, streamed

__all__ = ["Difference", "Healer", "Item", "Pace", "Repair", "Report", "Stock", "Verifier"]

#: A publish that is under way for longer than this, in seconds, was given up.
ABANDONED_SECONDS = 60.0
#: Differences that a report names; more are one line.
MOST_DIFFERENCES = 10_000

#: What verifying tells while it reads: bytes, and bytes in all.
Progress = Callable[[int, int], None]


class Item(NamedTuple):
    """Bytes to be hashed: those of a place of an index, a kept copy that lies at none, or an upstream's."""

    sha256: str
    size: int
    of: str = ""
    place: Place | None = None
    mirrored: bool = False


class Verifier:
    """Compares one state of a catalogue with itself and with the folders. Reads only; any number at a time.

    `storage` has the folders of all indexes. While a server works on them, what is found has to be confirmed
    by a second look (`confirmed`): files come and go between the two things that are compared. `stock`: the
    files of upstreams that lie here, which are only hashed: each time one is opened, the rest is compared.
    """

    def __init__(
        self, catalogue: Catalogue, storage: Storage, clock: Clock, stock: Stock | None = None
    ) -> None:
        self._catalogue, self._storage, self._clock, self._stock = catalogue, storage, clock, stock

    def verify(
        self,
        *,
        deep: bool = False,
        pace: Pace | None = None,
        progress: Progress = lambda done, total: None,
        by: Principal,
    ) -> Report:
        """Compare everything. `deep`: hash every file again, at a pace."""
        found: list[Difference] = []
        files = size = 0
        try:
            with self._catalogue.read() as conn:
                listings = {each.name: self._look(each) for each in indexes.list(conn)}
            with self._catalogue.read() as conn:
                damage = comparison.damage(conn, deep=deep)
                if damage is not None:
                    found.append(_broken(damage))
                found += self._whole(conn)
                for index in indexes.list(conn):
                    if index.name in listings:
                        listing = Listing(conn, index, self._storage, listings[index.name])
                        found += listing.differences()
                        files, size = files + listing.files, size + listing.bytes
        except CatalogueError as error:
            found.append(_broken(str(error)))
            return Report(deep, files, size, tuple(found))
        except Exception as error:  # a value that no program of ours wrote may be anything
            found.append(_strange(error))
        if deep:
            try:
                found += self._deep(pace or Pace(), progress)
            except Stopped:
                raise
            except Exception as error:
                found.append(_strange(error))
        return Report(deep, files, size, tuple(dict.fromkeys(found))[:MOST_DIFFERENCES])

    def confirmed(self, first: Report, *, by: Principal) -> Report:
        """A report without the differences that were moments of a change: those that a second look lacks."""
        if not first.differences:
            return first
        again = {(each.code, each.subject) for each in self.verify(by=by).differences}
        bytes_ = (Repair.BYTES, Repair.MIRROR)
        reread = {each for each in first.differences if each.repair in bytes_ and self.still(each)}
        kept = [each for each in first.differences if (each.code, each.subject) in again or each in reread]
        return replace(first, differences=tuple(kept))

    def _look(self, index: indexes.Index) -> Lies:
        return look(self._storage, roots_of(self._storage.roots, index.name, index.id))

    def _whole(self, conn: Connection) -> Differences:
        """What does not belong to one index."""
        for table in comparison.orphans(conn):
            yield Difference("orphan", table, f"Rows of {table} refer to rows that are not there.")
        for table in seals.differing(conn):
            if table in seals.DERIVED:
                sentence = f"The table {table} was changed by something other than pidex, or damaged."
                yield Difference("seal", table, sentence, Repair.SCAN)
                continue
            sentence = (
                f"The table {table} was changed by something other than pidex, or damaged: compare it with a"
                " backup, or accept it as it is with --accept."
            )
            yield Difference("seal", table, sentence)
        for gap in comparison.gaps(conn):
            sentence = f"The journal has no changes between {gap.after} and {gap.before}."
            yield Difference("journal", str(gap.before), sentence)
        for broken in audit.breaks(conn):
            yield Difference("audit", str(broken.id), f"The audit was tampered with: {broken.reason}.")
        old = (self._clock() - ABANDONED_SECONDS) * 1_000_000
        for _, filename, at in comparison.list_intents(conn):
            if at < old:
                sentence = f"The upload of {filename} was cut off, and neither finished nor undone."
                yield Difference("intent", filename, sentence, Repair.START)
        yield from contents(conn)

    # --- bytes ----------------------------------------------------------------------------------------------

    def _deep(self, pace: Pace, progress: Progress) -> Differences:
        """Hash every place and every kept copy, each inode once."""
        items = self.items()
        total, done = sum(item.size for item in items), 0
        for item in items:
            yield from self.check(item, pace)
            done += item.size
            progress(done, total)

    def items(self) -> list[Item]:
        """All that can be hashed, each inode once, in the order of hashes."""
        with self._catalogue.read() as conn:
            found = [
                Item(place.sha256 or "", place.stat.size, index.name, place)
                for index in indexes.list(conn)
                for place in comparison.list_whole(conn, index.id)
                if place.root in roots_of(self._storage.roots, index.name, index.id)
            ]
        inodes = {(item.place.stat.inode, item.sha256) for item in found if item.place is not None}
        found += [
            Item(each.sha256, each.stat.size)
            for each in self._storage.list_kept()
            if (each.stat.inode, each.sha256) not in inodes
        ]
        if self._stock is not None:
            found += [Item(sha256, size, mirrored=True) for sha256, size in self._stock.list()]
        return sorted(found, key=lambda item: item.sha256)

    def check(self, item: Item, pace: Pace) -> Differences:
        """Hash one of them. Raises `Stopped` where the pace does."""
        if item.mirrored:
            yield from self._mirrored(item.sha256, pace)
        elif item.place is not None:
            yield from self._place(item.of, item.place, pace)
        else:
            yield from self._kept(item.sha256, pace)

    def _place(self, index: str, place: Place, pace: Pace) -> Differences:
        blocks = self._storage.blocks(place.root, place.path)
        if blocks is None:
            read = digests(self._storage.path(place.root, place.path), pace)
        else:
            read = streamed(blocks, place.stat, pace)
        if read is None:  # gone or changed: the quick part tells
            return
        sha256 = place.sha256 or ""
        if isinstance(read, Unreadable):
            sentence = f"{place.path} cannot be read: {read.reason}."
        elif read[1].sha256 == sha256:
            with self._catalogue.read() as conn:
                noted = [*comparison.contents_of(conn, [sha256]).values()]
            hashes = (read[1].blake2b_256, read[1].md5, read[1].size)
            if any((row["blake2b_256"], row["md5"], row["size"]) != hashes for row in noted):
                sentence = f"Other hashes are noted of {place.path} than it has."
                yield Difference("contents", sha256, sentence, Repair.CONTENTS, index, sha256=sha256)
            return
        elif read[0][:2] != place.stat[:2] or read[0].inode != place.stat.inode:
            return  # another file by now: the quick part tells
        else:
            sentence = f"The bytes of {place.path} are damaged: its sha256 is not what it was."
        yield Difference("bytes", place.path, sentence, Repair.BYTES, index, place.root, place.path, sha256)

    def _kept(self, sha256: str, pace: Pace) -> Differences:
        read = digests(self._storage.kept_path(sha256), pace)
        if read is None or (not isinstance(read, Unreadable) and read[1].sha256 == sha256):
            return
        sentence = f"The kept copy {sha256[:12]}... is damaged."
        yield Difference("kept", sha256, sentence, Repair.BYTES, sha256=sha256)

    def _mirrored(self, sha256: str, pace: Pace) -> Differences:
        assert self._stock is not None
        read = digests(self._stock.path(sha256), pace)
        if read is None or (not isinstance(read, Unreadable) and read[1].sha256 == sha256):
            return
        sentence = f"The mirrored file {self._stock.name(sha256)} is damaged."
        yield Difference("mirrored", sha256, sentence, Repair.MIRROR, sha256=sha256)

    def still(self, found: Difference) -> bool:
        """Whether bytes are still not what they should be, read once more."""
        storage = self._storage
        blocks = storage.blocks(found.root, found.path) if found.path else None
        if blocks is not None:
            again = streamed(blocks, NO_STAT, Pace())
            return isinstance(again, Unreadable) or again[1].sha256 != found.sha256
        path = storage.path(found.root, found.path) if found.path else storage.kept_path(found.sha256)
        if found.repair is Repair.MIRROR and self._stock is not None:
            path = self._stock.path(found.sha256)
        read = digests(path, Pace())
        return read is not None and (isinstance(read, Unreadable) or read[1].sha256 != found.sha256)


def _strange(error: Exception) -> Difference:
    sentence = f"A row of the catalogue cannot be understood ({type(error).__name__}: {error})."
    return Difference("row", "catalogue", sentence)


def _broken(damage: str) -> Difference:
    sentence = f"The catalogue is damaged ({damage}): run `pidex restore --latest`, then `pidex scan`."
    return Difference("catalogue", "catalogue", sentence)
