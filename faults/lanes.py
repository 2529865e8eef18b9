"""Threads that work side by side, each in a lane of its own, while a block runs."""

from __future__ import annotations

import threading
from typing import Self


class Lanes:
    """`work` runs in so many threads from the beginning of the block to its end, until `stopped` is set."""

    def __init__(self, lanes: int) -> None:
        self.stopped = threading.Event()
        self._threads = [threading.Thread(target=self.work, args=(lane,)) for lane in range(lanes)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join()

    def work(self, lane: int) -> None:
        """Work until `stopped`."""
        raise NotImplementedError
