"""What others receive, as the loop over the folders follows it: heard of once, left alone while it comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pidex.core.folder import Key
from pidex.core.model import Entry, Place
from pidex.intake.delivery import Received

#: Seconds until it is asked again whether a file has been received.
AGAIN_SECONDS = 0.1


class Door(Protocol):
    """What is asked here of `Intake`."""

    def received(self, index: str, since: int | None) -> Received: ...

    def recover(self, index: str, *, older: float = 0.0) -> tuple[int, int]: ...


class Receiving:
    """The files that come into an index by `Intake.receive`, in whichever process. For one thread.

    Times in seconds of any one clock.
    """

    def __init__(self, intake: Door, index: str) -> None:
        self._intake, self._index = intake, index
        self._mark: int | None = None
        self._coming: frozenset[Key] = frozenset()
        self._left: dict[Key, float] = {}

    def begin(self) -> None:
        """From here on: whoever calls this reads the places next."""
        self._mark = self._intake.received(self._index, None).mark

    def recover(self, *, older: float) -> None:
        """Finish or undo what its process has given up: what began so many seconds ago, or longer."""
        self._intake.recover(self._index, older=older)

    def hear(self) -> Sequence[Place]:
        """The places that were written since the last time; to be asked before a listing."""
        received = self._intake.received(self._index, self._mark)
        self._mark, self._coming = received.mark, received.coming
        return received.places

    def leave(self, entries: Sequence[Entry], now: float) -> Sequence[Entry]:
        """Entries of the listing without those whose receiver will write them; they are due again later."""
        left = self._coming.intersection((entry.root, entry.path) for entry in entries)
        if not left:
            return entries
        self._left.update(dict.fromkeys(left, now + AGAIN_SECONDS))
        return [entry for entry in entries if (entry.root, entry.path) not in left]

    def due(self, now: float) -> set[Key]:
        """The paths that were left alone and are to be listed again now."""
        found = {key for key, at in self._left.items() if at <= now}
        for key in found:
            del self._left[key]
        return found

    def dues(self) -> Iterable[float]:
        """When paths that were left alone are due; none where nothing was."""
        return self._left.values()
