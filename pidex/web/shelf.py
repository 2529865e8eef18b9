"""The page cache of one worker: finished pages by path and rights, bounded in bytes, dropped by project."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from pidex.web.replies import Reply

#: What a page costs beside its bytes: headers, keys and objects.
OVERHEAD_BYTES = 4_096

#: Media type and content coding; None: the page has but one type, or is sent as it is.
Slot = tuple[str | None, str | None]
#: Where a page is kept: its path, and for a list that is not as strangers see it the rights that it shows.
Key = str | tuple[str, Hashable]


@dataclass(frozen=True, slots=True)
class Variant:
    """One representation of a page: the whole answer, its HEAD, and its 304. `tag`: `etag` as in a header."""

    etag: str
    tag: bytes
    whole: Reply
    head: Reply
    unchanged: Reply
    #: Large bodies go out in pieces, from here; then `whole.body` is empty.
    long: bytes = b""
    #: The list in its stored form has to be unpacked on its way out.
    packed: bool = False


@dataclass(slots=True)
class Entry:
    """A page in all representations asked for so far. `project` is '' for what every change touches."""

    index: str
    project: str
    action: str  # what has to be allowed: 'list' or 'download'
    private: bool  # whether strangers may not have it
    kind: str  # 'page', 'list' or 'metadata': what log and metrics call it
    typed: bool  # whether its media type is negotiated, or only its coding
    valid_until: float | None
    mirrored: bool = False  # whether a client's `no-cache` has an upstream asked
    variants: dict[Slot, Variant] = field(default_factory=dict)
    size: int = OVERHEAD_BYTES


class Shelf:
    """Entries by path, the least recently used dropped when `limit` bytes are passed. For one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self._keys: dict[tuple[str, str], set[Key]] = {}

    def put(self, key: Key, entry: Entry, slot: Slot, variant: Variant) -> None:
        """Keep one more representation of the page of a key; `entry` is used where there is none yet."""
        cost = len(variant.whole.body) + len(variant.long) + OVERHEAD_BYTES
        if cost + OVERHEAD_BYTES > self.limit:
            return
        there = self.entries.get(key)
        if there is None:
            there = self.entries[key] = entry
            self._keys.setdefault((entry.index, entry.project), set()).add(key)
            self.size += entry.size
        elif variant is there.variants.get(slot):
            return
        # Representations of one page outlive each other only as long as the shortest-lived.
        if entry.valid_until is not None:
            there.valid_until = min(entry.valid_until, there.valid_until or entry.valid_until)
        old = there.variants.get(slot)
        if old is not None:
            freed = len(old.whole.body) + len(old.long) + OVERHEAD_BYTES
            there.size -= freed
            self.size -= freed
        there.variants[slot] = variant
        there.size += cost
        self.size += cost
        self.entries.move_to_end(key)
        while self.size > self.limit:
            self.drop(next(iter(self.entries)))

    def drop(self, key: Key) -> None:
        """Forget the page of a key."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return
        self.size -= entry.size
        about = (entry.index, entry.project)
        keys = self._keys[about]
        keys.discard(key)
        if not keys:
            del self._keys[about]

    def drop_project(self, index: str, project: str) -> None:
        """Forget every page of a project."""
        for key in list(self._keys.get((index, project), ())):
            self.drop(key)

    def drop_everywhere(self, project: str) -> None:
        """Forget every page of a project in whichever index."""
        for index, name in list(self._keys):
            if name == project:
                self.drop_project(index, name)

    def drop_index(self, index: str) -> None:
        """Forget every page of an index."""
        for key in [key for key, entry in self.entries.items() if entry.index == index]:
            self.drop(key)

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self._keys.clear()
        self.size = 0

    def __iter__(self) -> Iterator[Key]:
        return iter(self.entries)
