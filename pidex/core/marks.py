"""What was last seen in the folders: what the next listing is compared with, and which problems were told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pidex.core.folder import UNREAD, Difference, Key, Mark, difference, mark, scope, within
from pidex.core.model import Entry, Place, PlaceState, Problem


class Seen(NamedTuple):
    """As much of a place as a listing is compared with."""

    root: int
    path: str
    mark: Mark
    state: PlaceState


class Marks:
    """The marks of an index's places, as the catalogue has them. For one thread.

    With `rebuild` every place is as if it had never been looked into.
    """

    def __init__(self, places: Iterable[Seen] = (), *, rebuild: bool = False) -> None:
        self._marks: dict[Key, Mark] = {}
        self._restless: set[Key] = set()
        #: Paths that were announced and not looked into yet: the pages of their projects wait.
        self.unread: set[Key] = set()
        for root, path, known, state in places:
            key = (root, path)
            if state is PlaceState.WHOLE:
                self._marks[key] = UNREAD if rebuild else known
                continue
            self._restless.add(key)
            unread = state is PlaceState.UNREAD
            self._marks[key] = UNREAD if unread or rebuild else known
            if unread:
                self.unread.add(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._marks

    def compare(self, listing: Iterable[Entry | Problem]) -> Difference:
        """What a listing of all roots asks for."""
        return difference(listing, self._marks)

    def compare_at(self, paths: Collection[Key], listing: Sequence[Entry | Problem]) -> Difference:
        """What a listing of some files and folders asks for."""
        there = {(item.root, item.path) for item in listing}
        return difference(listing, self._marks, scope(self._marks, paths, there))

    def announce(self, entries: Iterable[Entry]) -> list[Entry]:
        """Of what the first listing found, all that is not known to be whole: unread from now on."""
        found = []
        for entry in entries:
            key = (entry.root, entry.path)
            if key not in self._marks or key in self._restless:
                found.append(entry)
                self._marks[key] = UNREAD
                self.unread.add(key)
        self._restless.clear()
        return found

    def looked(self, place: Place) -> bool:
        """A look is in the catalogue. Whether a page waited for it."""
        key = (place.root, place.path)
        self._marks[key] = mark(place.stat)
        waited = key in self.unread
        self.unread.discard(key)
        return waited

    def again(self, key: Key) -> None:
        """A path must be looked into again, whatever a listing says of it."""
        if key in self._marks:
            self._marks[key] = UNREAD

    def forget(self, key: Key) -> None:
        """Nothing lies there any more."""
        self._marks.pop(key, None)
        self.unread.discard(key)


class Troubles:
    """The problems of an index's folders, and which of them were told. For one thread."""

    def __init__(self) -> None:
        self._found: dict[Key, Problem] | None = None  # None: what the catalogue has is not known
        self._told: frozenset[Problem] = frozenset()

    def doubt(self) -> None:
        """What the catalogue has is not known any more; what was told is."""
        self._found = None

    def elsewhere(self, paths: Collection[Key]) -> list[Problem]:
        """The problems that do not lie at or below some paths."""
        found = self._found or {}
        return [one for key, one in found.items() if key not in paths and not within(key, paths)]

    def replace(self, found: Iterable[Problem]) -> bool:
        """These are the problems now. Whether that is news for the catalogue."""
        before = self._found
        self._found = {(one.root, one.path): one for one in found}
        return self._found != before

    def first(self, most: int) -> list[Problem]:
        """The problems by root and path, so many of them."""
        found = self._found or {}
        return [found[key] for key in sorted(found)[:most]]

    def news(self, most: int) -> list[str]:
        """Lines on problems that were not told before, so many; a file that is no package is none."""
        now = frozenset((self._found or {}).values())
        fresh = [one for one in now - self._told if one.code != "not-a-package"]
        fresh.sort(key=lambda one: (one.root, one.path))
        self._told = now
        lines = [f"{one.path or 'a folder'} is not served: {one.reason}" for one in fresh[:most]]
        if len(fresh) > most:
            lines.append(f"and {len(fresh) - most} more are not served: `pidex scan` names them")
        return lines
