"""What was found of one state of the catalogue, kept for whoever asks the same of it next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic
from typing import TypeVar, cast

#: Answers that one worker keeps, and seconds for which it does: rules that go by the time change them, too.
ANSWERS, SECONDS = 128, 30.0

T = TypeVar("T")


class Recall:
    """Answers by a key, until `state()` is another number. Safe to use from threads.

    The key has to hold everything that an answer depends on, beside the state: who may see what above all.
    """

    def __init__(self, state: Callable[[], int], clock: Callable[[], float] = monotonic) -> None:
        self._state, self._clock = state, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[int, float, object]] = OrderedDict()

    def get(
        self, key: Hashable, make: Callable[[], T], keeps: Callable[[T], bool] = lambda _answer: True
    ) -> T:
        """What is kept under a key, else what `make` makes now; `keeps` says whether that stays."""
        state, now = self._state(), self._clock()
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == state and now - known[1] < SECONDS:
                self._known.move_to_end(key)
                return cast("T", known[2])
        made = make()
        if keeps(made):
            with self._lock:
                self._known[key] = state, now, made
                self._known.move_to_end(key)
                while len(self._known) > ANSWERS:
                    self._known.popitem(last=False)
        return made
