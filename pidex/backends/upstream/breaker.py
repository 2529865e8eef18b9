"""A circuit breaker: a server that does not answer is left alone for a while, then asked by one request."""

from __future__ import annotations

import math
from collections.abc import Callable

from pidex.core.errors import UpstreamDown

#: Seconds of the first pause and of the longest; it doubles with each try that fails.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: Answers in a row that fail, after which a server that is reached is left alone too.
FAULTS = 8


class Breaker:
    """One server's. Times in seconds of `clock`, which only runs forward."""

    def __init__(self, server: str, clock: Callable[[], float]) -> None:
        self._server, self._clock = server, clock
        self._pause = 0.0
        self._shut_until = 0.0
        self._faults = 0
        self._trying = False

    def enter(self) -> None:
        """Raise `UpstreamDown` at once while the server is left alone; after a pause one request may try."""
        if not self._pause:
            return
        left = self._shut_until - self._clock()
        if left <= 0 and not self._trying:
            self._trying = True
            return
        raise UpstreamDown(
            f"{self._server} did not answer lately, and is asked again in {max(left, 1):.0f} s.",
            retry_after=max(1, math.ceil(left)),
        )

    @property
    def shut(self) -> bool:
        """Whether the server is left alone now."""
        return self._pause > 0

    def answered(self) -> None:
        """The server works."""
        self._pause, self._faults, self._trying = 0.0, 0, False

    def faulted(self) -> None:
        """The server is reached, and fails."""
        self._faults += 1
        if self._trying or self._faults >= FAULTS:
            self.unreachable()

    def unreachable(self) -> None:
        """The server is not reached."""
        if self._trying or not self._pause or self._clock() >= self._shut_until:
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._shut_until = self._clock() + self._pause
        self._trying = False

    def left(self) -> None:
        """The request that tried was given up by who asked for it."""
        self._trying = False
