"""Files that people are sending in parts: invisible to everybody else, resumable for a while, then gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pidex.core.errors import Busy
from pidex.intake import Stage

#: Drafts that are kept at the same time, and seconds that one is kept for whoever may resume it.
MOST_DRAFTS, KEPT_SECONDS = 100, 900.0


@dataclass(frozen=True, slots=True)
class Key:
    """Whose draft of what: the owner as accounts name them."""

    owner: str
    index: str
    name: str


class Draft:
    """A staged file without a name in the folder. One at a time writes to it; `touched` in Unix seconds."""

    def __init__(self, key: Key, stage: Stage, touched: float) -> None:
        self.key, self.stage, self.touched = key, stage, touched
        self.busy = True


class Drafts:
    """The drafts of all sessions. Thread-safe; nothing of it outlives the process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Key, Draft] = {}
        self._open = True

    def begin(self, key: Key, stage: Stage) -> Draft:
        """A new draft in somebody's hands, instead of an older one under that name."""
        draft = Draft(key, stage, self._clock())
        with self._lock:
            older = self._known.pop(key, None)
            if older is not None and not older.busy:
                older.stage.close()
            self._known[key] = draft
        self.sweep()
        return draft

    def resume(self, key: Key) -> Draft | None:
        """Take a draft into one's hands; None where there is none.

        Raises `Busy` where another session has it.
        """
        with self._lock:
            draft = self._known.get(key)
            if draft is None:
                return None
            if draft.busy:
                raise Busy(f"{key.name} is still being received in another session. Try again in a moment.")
            draft.busy = True
            return draft

    def find(self, key: Key) -> Draft | None:
        """A draft, in whoever's hands; None where there is none."""
        with self._lock:
            return self._known.get(key)

    def list(self, owner: str, index: str) -> Sequence[Draft]:
        """Somebody's drafts for an index."""
        with self._lock:
            return [draft for key, draft in self._known.items() if (key.owner, key.index) == (owner, index)]

    def keep(self, draft: Draft) -> None:
        """Lay a draft aside for its owner."""
        with self._lock:
            draft.touched, draft.busy = self._clock(), False
            if not self._open or self._known.get(draft.key) is not draft:
                draft.stage.close()

    def rename(self, draft: Draft, key: Key) -> None:
        """Give a draft in one's hands another name, instead of another draft that may have it."""
        with self._lock:
            if self._known.get(draft.key) is draft:
                del self._known[draft.key]
            older = self._known.pop(key, None)
            if older is not None and not older.busy:
                older.stage.close()
            draft.key = key
            self._known[key] = draft

    def drop(self, draft: Draft) -> None:
        """Done with a draft, received or not."""
        with self._lock:
            draft.stage.close()
            if self._known.get(draft.key) is draft:
                del self._known[draft.key]

    def sweep(self) -> None:
        """Drop what nobody came back for, and the oldest where there are too many."""
        with self._lock:
            idle = sorted(
                (draft for draft in self._known.values() if not draft.busy), key=lambda each: each.touched
            )
            spare = len(self._known) - MOST_DRAFTS
            for number, draft in enumerate(idle):
                if number < spare or draft.touched + KEPT_SECONDS <= self._clock():
                    draft.stage.close()
                    del self._known[draft.key]

    def close(self) -> None:
        """Drop all; those in somebody's hands as soon as they are laid aside."""
        with self._lock:
            self._open = False
            for draft in self._known.values():
                if not draft.busy:
                    draft.stage.close()
            self._known.clear()
