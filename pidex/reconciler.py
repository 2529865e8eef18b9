"""Keeps the catalogue equal to the folders: lists, compares, has files looked into and intake adopt them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from pidex.catalogue import indexes, places, problems, scans
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.expendable import Expendable
from pidex.core import folder
from pidex.core.agenda import Agenda, Order
from pidex.core.errors import PidexError
from pidex.core.folder import PAUSE_PER_LOOK, Difference, Key, filename_key, pause, settle_pause, within
from pidex.core.interfaces import Clock, Inspector, Storage
from pidex.core.marks import Marks, Troubles
from pidex.core.model import OPERATOR, Entry, Facts, FolderReport, Look, PlaceState, Problem
from pidex.intake import BATCH_FILES, LOGGED_FILES, Adoption, Inspection, Intake, Receiving
from pidex.resolver import Resolver

#: A batch waits no longer than this for more files, in seconds.
BATCH_SECONDS = 0.5
#: Seconds between lines of progress.
PROGRESS_SECONDS = 5.0
#: More nudges at once than this, and everything is listed instead.
MANY_NUDGES = 1_000
#: So many nudges are a burst, in which notices get lost: everything is listed once it was quiet, in seconds.
BURST_NUDGES, BURST_SECONDS = 200, 1.0
#: Scans that are asked for come no closer than this many times what the last one took.
PAUSES_PER_SCAN = 2.0
#: How often it is asked which pages wait, in seconds: while there are unread files, and else.
WANTED_SECONDS, IDLE_WANTED_SECONDS = 0.1, 1.0
#: A file is gone once it was missing for so long, in seconds: git unlinks and creates, and a busy machine
#: stretches the moment between. `scan` does not wait.
ABSENT_SECONDS = 0.5
#: Seconds until a file is tried again that nobody could look into, and after which an upload is given up.
NOBODY_SECONDS, ABANDONED_SECONDS = 1.0, 60.0
#: After an error, seconds until everything is read again: doubling, up to the second.
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
#: How long the loop sleeps at most, in seconds: it notices within this that it is to stop.
TURN_SECONDS = 0.5
#: Problems that the catalogue holds.
MOST_PROBLEMS = 10_000
#: Seconds between prunings of kept bytes that nobody lists.
PRUNE_SECONDS = 6 * 3_600.0

#: Looks that say nothing of the file: nothing is written, and the file is tried again.
_NOBODY = frozenset({"sandbox", "busy", "stopping"})
#: The root of entries that are kept bytes and lie in no folder.
_KEPT_ROOT = -1

#: What `scan` tells while it works: files read, and files to read in all.
Progress = Callable[[int, int], None]


class Reconciler:
    """The loop of one index: `run` in a thread of its own, `nudge` from any thread.

    A notice never says what happened, only where to look. What is true is told by listing and by the stats of
    what was last looked into, which are in the catalogue: lost, repeated and late notices and a kill at any
    moment cost time, and change nothing of the outcome.

    The stats are held in memory too, as marks, so that a scan of unchanged folders reads nothing but the
    folders. Only this loop and `Intake.receive` write places; after an error it starts again from them.
    """

    def __init__(  # noqa: PLR0917  the seams, in the order of the layers
        self,
        catalogue: Catalogue,
        expendable: Expendable | None,
        storage: Storage,
        inspector: Inspector,
        intake: Intake,
        clock: Clock,
        *,
        index: str,
        scan_interval: float = 60.0,
        check: str = "whole",
        lookers: int = 2,
        log: logging.Logger | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._expendable = expendable
        self._storage = storage
        self._inspector = inspector
        self._intake = intake
        self._clock = clock
        self._index = index
        self._scan_interval = scan_interval
        self._check = check
        self._threads = lookers
        self._log = log or logging.getLogger("pidex.folder")
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._nudges: set[Key] = set()
        self._scan_asked = False
        self._number, self._prepared = 0, False
        self._next_prune = self._patience = 0.0
        self._troubles = Troubles()
        self._reset()

    # --- from outside --------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Note in the catalogue that nothing is listed yet: before the first face answers after a start."""
        with self._catalogue.write() as conn:
            self._number = indexes.ensure(conn, self._index, self._clock())
            scans.restart(conn, self._number)
        self._prepared = True

    def nudge(self, paths: Iterable[Key] | None = None) -> None:
        """Look again at these paths, files or folders, as (root, path below it); None: at everything.

        Thread-safe, and cheap when repeated.
        """
        with self._lock:
            if paths is None:
                self._scan_asked = True
            else:
                self._nudges.update(paths)
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Keep the catalogue equal to the folders until `stop` is set. Outlives every error, and logs it."""
        rest = FIRST_REST_SECONDS
        self._patience = ABSENT_SECONDS
        with self._looking():
            while not stop.is_set():
                try:
                    if not self._begun:
                        self._begin()
                    self._turn()
                    rest = FIRST_REST_SECONDS
                    self._sleep(stop)
                except Exception as error:
                    ours = not isinstance(error, (PidexError, OSError))  # a fault in the program
                    text = "the folders cannot be followed: %s; again in %.0f s"
                    self._log.error(text, error, rest, exc_info=ours)
                    self._reset()
                    stop.wait(rest)
                    rest = min(rest * 2, LONGEST_REST_SECONDS)

    def scan(self, progress: Progress | None = None, *, rebuild: bool = False) -> FolderReport:
        """List everything once and read what has to be read, until nothing is left but to wait.

        For a process that holds the data directory, beside which no loop runs. `rebuild`: read every file
        again. Raises what a loop would log.
        """
        with self._looking():
            if not self._begun or rebuild:
                self._reset()
                self._begin(rebuild=rebuild, patient=False)
            else:
                self._list_all()
            self._agenda.ends = True
            self._work(progress)
            self._intake.prune()
        return Resolver(self._catalogue, self._storage, self._clock).report(self._index, by=OPERATOR)

    def catch_up(self) -> None:
        """Act on the nudges so far and read what they lead to; as `scan`, without listing everything."""
        with self._looking():
            if not self._begun:
                self._begin()
            self._work(None)

    # --- the loop ------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Forget everything: the catalogue knows it."""
        self._begun = False
        self._marks = Marks()
        self._agenda = Agenda()
        self._looked: list[Look] = []
        self._kept: dict[str, str] = {}
        self._kept_facts: list[tuple[str, Facts]] = []
        self._looked_at = 0.0
        self._took: dict[Key, tuple[float, float]] = {}  # when the last look ended, and what it took
        self._absent: dict[Key, float] = {}  # paths that are missing, and when they count as gone
        self._moving: set[Key] = set()  # changed under their last look
        self._receiving = Receiving(self._intake, self._index)
        self._leaving: dict[str, set[Key]] = {}
        self._troubles.doubt()
        self._first = False
        self._resting = True
        self._seen = self._read = self._to_read = 0
        self._started = self._told = self._next_wanted = 0.0
        self._scanned = self._scan_took = self._finished = 0.0  # the last full listing
        self._complained = -PROGRESS_SECONDS
        self._quiet: float | None = None

    @contextmanager
    def _looking(self) -> Iterator[None]:
        self._inspection = Inspection(
            self._inspector, self._storage, check=self._check, threads=self._threads, wake=self._wake.set
        )
        try:
            yield
        finally:
            self._inspection.close()

    def _begin(self, *, rebuild: bool = False, patient: bool = True) -> None:
        """Load what the catalogue knows, and list everything for the first time."""
        if not self._prepared:
            self.prepare()
        self._started = time.monotonic()
        self._receiving.begin()
        with self._catalogue.read() as conn:
            scan = scans.find(conn, self._number)
            self._marks = Marks(places.list_seen(conn, self._number), rebuild=rebuild)
            unfinished = places.list_unfinished(conn, self._number)
        self._first = scan.finished is None
        now, today = time.monotonic(), self._clock()
        for place in unfinished:
            if place.state is PlaceState.PENDING:
                wait = max(0.0, (place.next_look or 0.0) - today) if patient else 0.0
                order = Order.AGAIN if patient else Order.FRESH
                self._agenda.put(Entry(place.root, place.path, place.stat), due=now + wait, order=order)
        del unfinished
        self._begun, self._resting = True, False
        self._list_all(first=True)
        with self._catalogue.write() as conn:
            scans.put(conn, self._number, scans.Scan(True, scan.finished, self._seen))
        took = time.monotonic() - self._started
        self._log.info("listed %s files in %.1f s, %s to read", f"{self._seen:,}", took, f"{self._to_read:,}")

    def _turn(self) -> None:
        """Do what there is to do now, without waiting for anything."""
        now = time.monotonic()
        self._follow(now)
        self._collect(now)
        self._adopt(now)
        self._forget(now)
        self._leave()
        self._take_wanted(now)
        self._submit(now)
        self._rest(now)

    def _work(self, progress: Progress | None) -> None:
        """Turn until everything is at rest."""
        while True:
            self._turn()
            if progress is not None:
                progress(self._read, self._to_read)
            asked = self._scan_asked or self._nudges or self._quiet is not None or any(self._receiving.dues())
            if self._resting and not asked and not self._looked:
                return
            self._sleep(None)

    def _sleep(self, stop: threading.Event | None) -> None:
        """Wait until something happens or is due."""
        if stop is not None and stop.is_set():
            return
        now = time.monotonic()
        until = now + TURN_SECONDS
        due = self._agenda.next_due()
        if due is not None and self._inspection.has_room:
            until = min(until, due)
        if self._looked:
            until = min(until, self._looked_at + BATCH_SECONDS)
        if self._marks.unread and self._expendable is not None:
            until = min(until, self._next_wanted)
        until = min(until, *self._absent.values(), *self._receiving.dues(), until)
        self._wake.wait(max(0.0, until - now))
        self._wake.clear()

    def _follow(self, now: float) -> None:
        """List what the nudges name, or everything where that is due."""
        with self._lock:
            nudges, self._nudges = self._nudges, set()
            asked, self._scan_asked = self._scan_asked, False
        nudges |= self._receiving.due(now)
        if len(nudges) >= BURST_NUDGES:
            self._quiet = now + BURST_SECONDS
        elif self._quiet is not None and now >= self._quiet:
            asked, self._quiet = True, None
        early = now < self._scanned + PAUSES_PER_SCAN * self._scan_took
        due = now >= self._scanned + self._scan_interval
        if due or ((asked or len(nudges) > MANY_NUDGES) and not early):
            self._list_all()
            self._resting = False  # so that the end of this scan is noted, for who asked for it
            return
        if asked or len(nudges) > MANY_NUDGES:
            self.nudge()  # when it is no longer early
            self._wake.clear()
        if nudges and len(nudges) <= MANY_NUDGES:
            self._list_some(nudges)

    # --- listing -------------------------------------------------------------------------------------------

    def _list_all(self, *, first: bool = False) -> None:
        """List every root. `first`: nothing was listed since the start."""
        self._scanned = time.monotonic()
        self._receiving.recover(older=ABANDONED_SECONDS if self._patience else 0.0)
        self._hear()
        roots = folder.roots_of(self._storage.roots, self._index, self._number)
        found = self._marks.compare(chain.from_iterable(map(self._storage.list, roots)))
        self._seen = found.seen
        self._apply(found, Order.FIRST if first else Order.FRESH)
        self._note_problems(found.problems)
        self._scan_took = time.monotonic() - self._scanned

    def _list_some(self, nudges: set[Key]) -> None:
        """List some files and folders, and compare them with what was known at and below them."""
        paths = {key for key in nudges if not within(key, nudges)}
        self._hear()
        listing = list(chain.from_iterable(self._storage.list(*key) for key in sorted(paths)))
        found = self._marks.compare_at(paths, listing)
        self._apply(found, Order.FRESH)
        self._note_problems([*self._troubles.elsewhere(paths), *found.problems])

    def _hear(self) -> None:
        """Take note of what others received meanwhile."""
        for place in self._receiving.hear():
            self._marks.looked(place)
            self._agenda.drop((place.root, place.path))

    def _apply(self, found: Difference, order: Order) -> None:
        """Put what is new or changed on the agenda, and forget what is gone."""
        look = self._receiving.leave(found.look, time.monotonic())
        for entry in look:
            self._plan(entry, order)
        if order is Order.FIRST:
            self._to_read = len(look)
            self._intake.announce(self._index, self._marks.announce(look))
        now = time.monotonic()
        for key in found.forget:
            self._absent.setdefault(key, now + self._patience)
        self._forget(now)

    def _plan(self, entry: Entry, order: Order) -> None:
        self._absent.pop((entry.root, entry.path), None)
        ended, took = self._took.get((entry.root, entry.path), (0.0, 0.0))
        due = time.monotonic() + settle_pause(entry.stat, self._clock())
        self._agenda.put(entry, due=max(due, ended + PAUSE_PER_LOOK * took), order=order)

    def _gone(self, keys: Iterable[Key]) -> list[Key]:
        """Which paths are gone, each asked for once more: git unlinks and creates, a folder may be back."""
        gone = []
        for key in keys:
            again = [item for item in self._storage.list(*key) if isinstance(item, Entry)]
            for entry in again:
                self._plan(entry, Order.FRESH)
            if not again:
                gone.append(key)
        return gone

    def _forget(self, now: float) -> None:
        """Forget what was missing for long; what was moved, with its look elsewhere: it stays listed so."""
        due = [key for key, at in self._absent.items() if at <= now]
        for key in due:
            del self._absent[key]
        at_once = []
        for key in self._gone(due):
            self._agenda.drop(key)
            name = filename_key(key[1])
            if self._agenda.holds(name):
                self._leaving.setdefault(name, set()).add(key)
            else:
                at_once.append(key)
        self._unlist(at_once)

    def _unlist(self, gone: Sequence[Key]) -> None:
        for start in range(0, len(gone), BATCH_FILES):
            batch = gone[start : start + BATCH_FILES]
            self._acted(self._intake.forget(self._index, batch), batch)

    def _leave(self) -> None:
        """Forget paths that waited for a look elsewhere which did not come to anything."""
        if self._leaving:
            waiting = {filename_key(look.entry.path) for look in self._looked}
            left = [name for name in self._leaving if not self._agenda.holds(name) and name not in waiting]
            self._unlist(self._gone(key for name in left for key in self._leaving.pop(name)))

    def _note_problems(self, found: Iterable[Problem]) -> None:
        """Write problems where they changed, and log those that are new, once."""
        if self._troubles.replace(found):
            with self._catalogue.write() as conn:
                problems.replace(conn, self._number, self._troubles.first(MOST_PROBLEMS))
            for line in self._troubles.news(LOGGED_FILES):
                self._log.warning(line)

    # --- looking -------------------------------------------------------------------------------------------

    def _submit(self, now: float) -> None:
        """Hand files that are due to the threads that have them looked into."""
        while self._inspection.has_room:
            entry = self._agenda.take(now)
            if entry is None:
                return
            self._inspection.start(entry, self._kept.get(entry.path) if entry.root == _KEPT_ROOT else None)

    def _collect(self, now: float) -> None:
        """Take in the looks that ended."""
        for look, took in self._inspection.ended():
            entry = look.entry
            self._agenda.done(entry)
            if look.code in _NOBODY and look.state is PlaceState.UNREAD:
                if now >= self._complained + PROGRESS_SECONDS:
                    self._complained = now
                    self._log.error("%s is not read, and tried again: %s", entry.path, look.reason)
                self._agenda.put_back(entry, due=now + NOBODY_SECONDS)
            elif entry.root == _KEPT_ROOT:
                if look.facts is not None and look.facts.sha256 == self._kept.pop(entry.path, None):
                    self._kept_facts.append((entry.path, look.facts))
                    self._looked_at = self._looked_at or now
            elif look.state is PlaceState.UNREAD and (entry.root, entry.path) not in self._moving:
                # It changed under the look. As it is now it may be whole: only the second time it is pending.
                self._moving.add((entry.root, entry.path))
                self.nudge([(entry.root, entry.path)])
            else:
                self._moving.discard((entry.root, entry.path))
                self._took[entry.root, entry.path] = (now, took)
                if not self._looked:
                    self._looked_at = now
                self._looked.append(look)

    # --- adopting ------------------------------------------------------------------------------------------

    def _adopt(self, now: float) -> None:
        """Have a batch adopted that is full, or old enough, or all there is."""
        while self._looked or self._kept_facts:
            due = self._agenda.next_due()
            busy = self._agenda.running > 0 or (due is not None and due <= now)
            if len(self._looked) < BATCH_FILES and busy and now < self._looked_at + BATCH_SECONDS:
                return
            batch, self._looked = self._looked[:BATCH_FILES], self._looked[BATCH_FILES:]
            kept, self._kept_facts = self._kept_facts, []
            self._looked_at = now
            names = {filename_key(look.entry.path) for look in batch}
            moved = {key for name in names for key in self._leaving.pop(name, ())}
            moved |= {key for key in self._absent if filename_key(key[1]) in names}
            gone = self._gone(moved)
            adoption = self._intake.adopt(self._index, batch, gone=gone, kept=kept, first=self._first)
            self._acted(adoption, gone)

    def _acted(self, adoption: Adoption, gone: Iterable[Key]) -> None:
        """Remember what a batch came to."""
        now = time.monotonic()
        for key in gone:
            self._marks.forget(key)
            self._took.pop(key, None)
            self._absent.pop(key, None)
        for place in adoption.places:
            self._read += self._marks.looked(place)
            took = self._took.pop((place.root, place.path), (0.0, 0.0))
            if place.state is PlaceState.PENDING:
                self._took[place.root, place.path] = took
                entry = Entry(place.root, place.path, place.stat)
                self._agenda.put(entry, due=now + pause(place.looks, took[1]), order=Order.AGAIN)
        for key in adoption.changed:
            self._marks.again(key)
        if adoption.changed:
            self.nudge(adoption.changed)
        for filename, sha256 in adoption.unread:
            stat = self._storage.kept(sha256)
            if stat is not None and self._kept.get(filename) != sha256:
                self._kept[filename] = sha256
                self._agenda.put(Entry(_KEPT_ROOT, filename, stat), due=now, order=Order.FRESH)
        adoption.log(self._log, quiet=self._first)

    # --- at rest -------------------------------------------------------------------------------------------

    def _take_wanted(self, now: float) -> None:
        """Let files go first whose page somebody waits for."""
        if self._expendable is None or now < self._next_wanted:
            return
        self._next_wanted = now + (WANTED_SECONDS if self._marks.unread else IDLE_WANTED_SECONDS)
        for _, project in self._expendable.take_wanted(self._index):
            if not project:
                self.nudge()
            elif self._marks.unread:
                with self._catalogue.read() as conn:
                    found = places.list_project(conn, self._number, project, unfinished=True)
                self._agenda.want((place.root, place.path) for place in found)

    def _rest(self, now: float) -> None:
        """Tell how far the reading is; note when everything that was found is read."""
        if not self._agenda.at_rest or self._looked or self._kept_facts or self._leaving or self._absent:
            self._resting = False
            if self._to_read > self._read and now >= max(self._told, self._started) + PROGRESS_SECONDS:
                self._told = now
                self._log.info("read %s of %s files", f"{self._read:,}", f"{self._to_read:,}")
            return
        if self._resting:
            return
        self._resting = True
        if self._to_read:
            self._log.info("read %s files in %.1f s", f"{self._read:,}", now - self._started)
            self._to_read = self._read = 0
        if self._finished != self._scanned:
            self._finished, self._first = self._scanned, False
            with self._catalogue.write() as conn:
                scans.put(conn, self._number, scans.Scan(True, int(self._clock() * 1_000_000), self._seen))
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            self._intake.prune()
