"""Work that waits for other work is done together: one transaction and one sync for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Hands items to `work`, in the order they came: one alone at once, those that come meanwhile together.

    `work` is never run twice at a time and gets at most `most` items. It leaves the outcome in each item;
    what it raises is raised for all of them. Thread-safe.
    """

    def __init__(self, work: Callable[[Sequence[T]], None], *, most: int) -> None:
        self._work, self._most = work, most
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[T]] = []
        self._working = False

    def do(self, item: T) -> None:
        """Have an item worked on; blocks until that is done, by this thread or by another one."""
        ticket = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            leads = not self._working
            self._working = True
        if not leads:
            ticket.turn.acquire()
        if not ticket.done:
            self._lead()
        if ticket.error is not None:
            raise ticket.error

    def _lead(self) -> None:
        """Work for everybody who waits, oneself first; then let the next one lead."""
        with self._lock:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        error: BaseException | None = None
        try:
            self._work([ticket.item for ticket in group])
        except BaseException as raised:
            error = raised
        with self._lock:
            follower = self._waiting[0] if self._waiting else None
            self._working = follower is not None
        if follower is not None:
            follower.turn.release()
        for ticket in group:
            ticket.done, ticket.error = True, error
        for ticket in group[1:]:
            ticket.turn.release()


class _Ticket(Generic[T]):
    """An item that waits. `turn` is let go once: it is done, or its thread is to lead."""

    __slots__ = ("done", "error", "item", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()
