"""Reads every byte once in some days, slowly: what a disk loses is found while there is another copy."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pidex.core.errors import PidexError
from pidex.core.interfaces import Clock
from pidex.verify import Item, Verifier
from pidex.verify.finding import Difference, Repair
from pidex.verify.healing import SCRUB, Healer
from pidex.verify.reading import Pace, Stopped

#: Read no slower than this, in bytes a second: what is small is soon done, and then rests.
LEAST_RATE = 256 * 1024
#: Seconds that it pauses while the machine is busy, between two looks whether it is time, and between notes.
PAUSE_SECONDS, LOOK_SECONDS, NOTE_SECONDS = 10.0, 60.0, 30.0
#: Damages that are remembered.
MOST_DAMAGES = 100
DAY = 86_400.0
#: The file of the data directory in which the state is noted.
NAME = "scrub.json"


@dataclass(frozen=True, slots=True)
class State:
    """How far a scrub is. Times in Unix seconds; `cursor`: the hash up to which this round has read.

    `damaged`: what this round found and what was done about it, newest last.
    """

    began: float = 0.0
    cursor: str = ""
    files: int = 0
    bytes: int = 0
    finished: float | None = None
    damaged: tuple[str, ...] = ()


def read(path: Path) -> State:
    """The noted state; that of a beginning where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
        return State(**{**found, "damaged": tuple(found["damaged"])})
    except (OSError, ValueError, KeyError, TypeError):
        return State()


def write(path: Path, state: State) -> None:
    """Note the state. Nothing is lost without it but time."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(state)), encoding="utf-8")
    os.replace(part, path)


class Scrub:
    """The loop. For who holds the data directory; `busy` says whether the machine has better things to do."""

    def __init__(
        self,
        verifier: Verifier,
        healer: Healer,
        path: Path,
        *,
        days: float,
        clock: Clock,
        busy: Callable[[], bool],
        log: logging.Logger,
    ) -> None:
        self._verifier, self._healer, self._path = verifier, healer, path
        self._days, self._clock, self._busy, self._log = days, clock, busy, log

    def run(self, stop: threading.Event) -> None:
        """Read, round after round, until `stop`."""
        while not stop.is_set():
            state = read(self._path)
            if state.finished is not None and self._clock() < state.began + self._days * DAY:
                stop.wait(LOOK_SECONDS)
                continue
            if state.finished is not None or not state.began:
                state = State(began=self._clock())
            try:
                self._round(state, stop)
            except Stopped:
                return

    def _round(self, state: State, stop: threading.Event) -> None:
        """One round, from the cursor on. Raises `Stopped`."""
        items = self._verifier.items()
        left = [item for item in items if item.sha256 > state.cursor]
        total = sum(item.size for item in items)
        pace = Pace(max(total / (self._days * DAY), LEAST_RATE), stop.wait)
        noted = self._clock()
        for item in left:
            while self._busy():
                if stop.wait(PAUSE_SECONDS):
                    raise Stopped
            if stop.is_set():
                raise Stopped
            damaged = state.damaged
            for found in self._found(item, pace):
                damaged = (*damaged, self._heal(found))[-MOST_DAMAGES:]
            state = replace(
                state,
                cursor=item.sha256,
                files=state.files + 1,
                bytes=state.bytes + item.size,
                damaged=damaged,
            )
            if damaged or self._clock() >= noted + NOTE_SECONDS or stop.is_set():
                noted = self._clock()
                write(self._path, state)
        write(self._path, replace(state, finished=self._clock()))
        self._log.info("read every file once: %d files, %d bytes", state.files, state.bytes)

    def _found(self, item: Item, pace: Pace) -> Iterator[Difference]:
        for found in self._verifier.check(item, pace):
            if found.repair in (Repair.BYTES, Repair.MIRROR) and self._verifier.still(found):
                yield found

    def _heal(self, found: Difference) -> str:
        """Mend, and say so."""
        try:
            said = self._healer.heal(found, by=SCRUB)
        except (PidexError, OSError) as error:
            said = f"{found.sentence} It could not be put aside: {error}"
        self._log.error("%s", said)
        return said
