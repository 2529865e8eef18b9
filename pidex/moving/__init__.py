"""A whole installation moved to another catalogue, other storage or both, while its server answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from pidex.catalogue import copying, indexes, intents, moves, relocation
from pidex.catalogue.engine import Connection
from pidex.core.errors import Conflict, PidexError
from pidex.core.interfaces import Clock
from pidex.moving.carrying import Carrier, Progress
from pidex.moving.sides import Route, Side, Way, routes

__all__ = ["Mover", "Outcome", "Progress", "Side", "Way"]

#: Seconds that uploads and pushes which are under way get to come to their end, and between two looks.
DRAIN_SECONDS, LOOK_SECONDS = 90.0, 0.05

#: Told of each step that begins, by its name: for who shows it, and for tests that cut there.
Step = Callable[[str], None]
#: What else is done while nothing can be changed: carries what is not bytes or rows.
Also = Callable[[], None]
#: What is wrong with the target, in sentences: asked at the end, before anybody is sent there.
Verify = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a move. `done`: the target takes changes from now on; else the source goes on.

    `rows`: of each table; `ways`: of each index; `stopped`: seconds without changes. `gone`: names that no
    folder has any more, which a bucket keeps as earlier files. `different`, `missing`: why it is not done.
    """

    done: bool
    target: str
    rows: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    ways: Mapping[str, str] = field(default_factory=dict)
    stopped: float = 0.0
    gone: int = 0
    missing: tuple[str, ...] = ()
    different: tuple[str, ...] = ()


class Mover:
    """One move, from one `Side` to another. For who holds the target's data directory.

    1. Bytes are carried while the source goes on: uploads, too.
    2. No new upload begins, those under way end; then the source refuses every change, and is read as ever.
       That lasts for as long as this process says every few seconds that it is still there: where it dies,
       the source takes changes again by itself.
    3. What came meanwhile is carried, all rows are copied in one transaction and compared, and files that
       lie elsewhere get their new place in them. The target is compared with the source, and verified.
    4. The source notes that it was left, then the target that all of it is there. Until then no server starts
       on the target, from then on none takes changes at the source: at no moment do both.

    A cut before 4 leaves the source as it was; the next run finds in the target whose it is, and goes on.
    `paths`: where git branches have files, by index and casefolded name.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        clock: Clock,
        holder: str,
        *,
        paths: Callable[[], Mapping[str, Mapping[str, str]]] = dict,
        step: Step = lambda _name: None,
        progress: Progress = lambda _done, _all: None,
    ) -> None:
        self._source, self._target, self._clock, self._holder = source, target, clock, holder
        self._paths, self._step, self._progress = paths, step, progress
        self._carrier = Carrier(source, target)

    def run(self, also: Also, verify: Verify) -> Outcome:
        """Move. Raises `Conflict`, `StorageFull` and others where that cannot be."""
        ended = self._prepare()
        if ended is not None:
            return ended
        every = self._routes()
        self._step("copy")
        # What is deleted meanwhile is not listed the second time.
        missing = self._carrier.carry(every, self._progress) and self._carrier.carry(every, self._progress)
        if missing:
            return self._undone(every, missing=missing)
        self._step("stop")
        with self._stopped() as since:
            self._step("rest")
            every = self._routes()
            self._ready(every)
            missing = self._carrier.carry(every, self._progress)
            if missing:
                return self._undone(every, missing=missing)
            for route in every:
                self._carrier.clear(route)
            self._step("rows")
            gone: list[int] = []
            rows = copying.copy(
                self._source.catalogue,
                self._target.catalogue,
                self._progress,
                lambda conn: gone.append(self._settle(conn, every)),
            )
            self._step("also")
            also()
            self._step("verify")
            different = [*self._compare(every, sum(gone)), *verify()]
            if different:
                return self._undone(every, different=different, rows=rows)
            self._step("switch")
            with self._source.catalogue.steer() as conn:
                moves.leave(conn, self._move(moves.STOPPED))
            stopped = monotonic() - since
        self._step("open")
        self._open()
        return Outcome(
            True, self._target.name, rows, rows["files"], _ways(every), round(stopped, 1), sum(gone)
        )

    # --- before ---------------------------------------------------------------------------------------------

    def _prepare(self) -> Outcome | None:
        """See that this can be, and note at the target whose it is from now on.

        What is left to do of a run that was cut after the source had been left is done, and told.
        """
        source, target = self._source.catalogue, self._target.catalogue
        with source.read() as conn:
            born, left = indexes.born(conn), moves.find(conn)
        with target.read() as conn:
            arrival = moves.arriving(conn)
        if arrival is not None and arrival.born != born:
            raise Conflict(f"{target.name} is being filled out of another catalogue: name an empty one.")
        if left is not None and left.state == moves.MOVED:
            if arrival is None or not arrival.full or arrival.holder != left.holder:
                raise Conflict(
                    f"This catalogue was moved to {left.to}. `pidex migrate --cancel` takes that back."
                )
            self._open()
            return Outcome(True, target.name)
        with source.read() as old, target.read() as new:
            copying.check(old, new, source, target)
        every = self._routes()
        self._apart(every)
        places = self._places(every)
        if arrival is None or [*arrival.places] != places:
            self._empty(every)
        with target.steer() as conn:
            moves.arrive(conn, moves.Arrival(born, self._holder, places=places))
        return None

    def _filled(self, every: Sequence[Route]) -> Sequence[int]:
        """The folders that files are carried to: what is not theirs is taken away there."""
        return [
            root for route in every if route.way is Way.FOLDER for root in self._target.roots(route.index)
        ]

    def _places(self, every: Sequence[Route]) -> list[str]:
        folders = [self._target.storage.folders[root] for root in self._filled(every)]
        bucket = self._target.storage.bucket
        return sorted(folders if bucket is None else [*folders, bucket])

    def _apart(self, every: Sequence[Route]) -> None:
        """Raise `Conflict` where a folder that is to be filled and one of the source lie in each other."""
        for root in self._filled(every):
            path = Path(self._target.storage.folders[root]).resolve()
            for folder in self._source.storage.folders.values():
                other = Path(folder).resolve()
                if path.is_relative_to(other) or other.is_relative_to(path):
                    raise Conflict(
                        f"The folder {path} and {other}, which is served now, lie in each other. Name another"
                        " one, or exactly the folders that there are, which then stay as they are."
                    )

    def _empty(self, every: Sequence[Route]) -> None:
        """Raise `Conflict` where the target's bucket or folders have anything in them."""
        objects, own = self._target.objects, self._source.objects
        if objects is not None and (own is None or own.bucket != objects.bucket):
            found = next(iter(objects.store.list("")), None)
            if found is not None:
                raise Conflict(f"{objects.bucket} is in use: it has {found.key}. Name an empty prefix.")
        for root in self._filled(every):
            if next(iter(self._target.storage.list(root)), None) is not None:
                path = self._target.storage.folders[root]
                raise Conflict(f"The folder {path} is in use: there are files in it. Name an empty one.")

    def _routes(self) -> Sequence[Route]:
        with self._source.catalogue.read() as conn:
            every = indexes.list(conn)
        found = routes(self._source, self._target, every, self._paths())
        for route in found:
            for folder in route.folders if route.way is Way.FOLDER else ():
                os.makedirs(folder, exist_ok=True)
        return found

    def _ready(self, every: Sequence[Route]) -> None:
        """Raise `Conflict` while files of the source's folders are not read: nobody knows what they are."""
        with self._source.catalogue.read() as conn:
            unread = sum(relocation.unread(conn, route.index.id) for route in every)
        if unread:
            raise Conflict(f"{unread:,} files are still being read by the server: try again when they are.")

    # --- without changes ------------------------------------------------------------------------------------

    def _move(self, state: str) -> moves.Move:
        return moves.Move(state, self._target.name, self._holder)

    @contextmanager
    def _stopped(self) -> Iterator[float]:
        """Have the source refuse changes until the block ends, or for good where it was left; since when."""
        self._begin()
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(moves.RENEW_SECONDS):
                # What fails for long is noticed at the end: nobody is sent to the target then.
                with suppress(PidexError), self._source.catalogue.steer() as conn:
                    moves.renew(conn, self._holder)

        thread = threading.Thread(target=beat, name="pidex-move", daemon=True)
        thread.start()
        try:
            self._drain()
            yield monotonic()
        finally:
            stop.set()
            thread.join()
            with self._source.catalogue.steer() as conn:
                found = moves.find(conn)
                if found is not None and found.holder == self._holder and found.state != moves.MOVED:
                    moves.cancel(conn)

    def _begin(self) -> None:
        """Let nothing new begin. A run that was killed holds the source for some seconds more."""
        end = monotonic() + moves.SECONDS + moves.RENEW_SECONDS
        while True:
            try:
                with self._source.catalogue.steer() as conn:
                    moves.hold(conn, self._move(moves.CLOSING))
                return
            except Conflict:
                if monotonic() >= end:
                    raise
            sleep(LOOK_SECONDS)

    def _drain(self) -> None:
        """Wait until nothing is being published any more, and let nothing be from that moment on."""
        end = monotonic() + DRAIN_SECONDS
        while True:
            with self._source.catalogue.steer() as conn:
                left = [each for index in indexes.list(conn) for each in intents.list(conn, index.id)]
                if not left:
                    moves.renew(conn, self._holder)
                    moves.hold(conn, self._move(moves.STOPPED))
                    return
            if monotonic() >= end:
                raise Conflict(
                    f"{left[0].filename} is still on its way into the index. Try again; without a server,"
                    " start `pidex serve` once, which finishes or undoes what was cut off."
                )
            sleep(LOOK_SECONDS)

    def _settle(self, conn: Connection, every: Sequence[Route]) -> int:
        """Have the rows of a fresh copy say where files are now, and that the copy is whole."""
        gone, at = 0, int(self._clock() * 1_000_000)
        for route in every:
            number = route.index.id
            if route.way is Way.LINKS:
                relocation.stay(conn, number, self._carrier.settle(route))
            elif route.way is not Way.STAYS:
                gone += relocation.settle(
                    conn, number, self._carrier.settle(route),
                    folders=route.folders, root=route.root, bucket=route.way is Way.BUCKET, at=at,
                )  # fmt: skip
        arrival = moves.Arrival(indexes.born(conn), self._holder, full=True, places=self._places(every))
        moves.arrive(conn, arrival)
        return gone

    def _compare(self, every: Sequence[Route], gone: int) -> Iterator[str]:
        """What is not at the target as it is at the source, in sentences."""
        with self._source.catalogue.read() as old, self._target.catalogue.read() as new:
            ways = {route.way for route in every}
            for table in copying.differing(
                old, new, moved=ways != {Way.STAYS}, members=gone if Way.BUCKET in ways else None
            ):
                yield f"The rows of {table} are not the same in {self._target.name}."
        yield from self._carrier.lacking(every)

    def _undone(
        self,
        every: Sequence[Route],
        *,
        missing: Sequence[str] = (),
        different: Sequence[str] = (),
        rows: Mapping[str, int] | None = None,
    ) -> Outcome:
        return Outcome(
            False, self._target.name, rows or {}, (rows or {}).get("files", 0), _ways(every),
            missing=tuple(missing), different=tuple(different),
        )  # fmt: skip

    def _open(self) -> None:
        """Have the target be all there."""
        with self._target.catalogue.steer() as conn:
            moves.arrive(conn, None)


def _ways(every: Sequence[Route]) -> Mapping[str, str]:
    return {route.index.name: route.way.value for route in every}
