"""Keeps the catalogue equal to the folders: lists, compares, has files looked into and intake adopt them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Protocol

from pidex.catalogue import indexes, places, problems, scans
from pidex.catalogue.engine import Catalogue
from pidex.core.agenda import Agenda, Order
from pidex.core.errors import PidexError
from pidex.core.folder import (
    PAUSE_PER_LOOK,
    UNREAD,
    Difference,
    Key,
    Mark,
    difference,
    filename_key,
    mark,
    pause,
    scope,
    settle_pause,
    within,
)
from pidex.core.interfaces import Clock, Inspector, Storage
from pidex.core.model import OPERATOR, Entry, Facts, FolderReport, Look, PlaceState, Problem
from pidex.intake import BATCH_FILES, LOGGED_FILES, Adoption, Inspection, Intake
from pidex.resolver import Resolver

#: A batch waits no longer than this for more files, in seconds.
BATCH_SECONDS = 0.5
#: Unread files written to the catalogue in one transaction.
ANNOUNCED_FILES = 5_000
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
#: Seconds until a file is tried again that nobody could look into.
NOBODY_SECONDS = 1.0
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


class Wanted(Protocol):
    """Where the faces leave word of pages that wait (catalogue.expendable)."""

    def take_wanted(self) -> Iterable[tuple[str, str | None]]:
        """Take (index, project) pairs; no project: list everything now."""


class Reconciler:
    """The loop of one index: `run` in a thread of its own, `nudge` from any thread.

    A notice never says what happened, only where to look. What is true is told by listing and by the stats of
    what was last looked into, which are in the catalogue: lost, repeated and late notices and a kill at any
    moment cost time, and change nothing of the outcome.

    The stats are held in memory too, as marks, so that a scan of unchanged folders reads nothing but the
    folders. Only this loop writes places; after an error it starts again from the catalogue.
    """

    def __init__(  # noqa: PLR0917  the seams, in the order of the layers
        self,
        catalogue: Catalogue,
        expendable: Wanted | None,
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
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._nudges: set[Key] = set()
        self._scan_asked = False
        self._number = 0
        self._prepared = False
        self._next_prune = 0.0
        self._said: frozenset[Problem] = frozenset()
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
        with self._looking():
            while not stop.is_set():
                try:
                    if not self._begun:
                        self._begin()
                    self._turn()
                    rest = FIRST_REST_SECONDS
                    self._sleep(stop)
                except Exception as error:
                    if isinstance(error, (PidexError, OSError)):
                        self._log.error("the folders cannot be followed: %s; again in %.0f s", error, rest)
                    else:
                        self._log.exception("the folders cannot be followed; again in %.0f s", rest)
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
        self._known: dict[Key, Mark] = {}
        self._unread: set[Key] = set()
        self._agenda = Agenda()
        self._looked: list[Look] = []
        self._kept: dict[str, str] = {}
        self._kept_facts: list[tuple[str, Facts]] = []
        self._looked_at = 0.0
        self._took: dict[Key, tuple[float, float]] = {}  # when the last look ended, and what it took
        self._leaving: dict[str, set[Key]] = {}
        self._problems: dict[Key, Problem] = {}
        self._noted = False  # whether the catalogue's problems are these: not before the first listing
        self._first = False
        self._resting = True
        self._seen = self._read = self._to_read = 0
        self._started = self._told = self._scanned = self._scan_took = self._next_wanted = 0.0
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
        with self._catalogue.read() as conn:
            scan = scans.find(conn, self._number)
            known = places.list(conn, self._number)
        self._first = scan.finished is None
        restless = set()
        now, today = time.monotonic(), self._clock()
        for place in known:
            key = (place.root, place.path)
            if rebuild or place.state is PlaceState.UNREAD:
                self._known[key] = UNREAD
            else:
                self._known[key] = mark(place.stat)
            if place.state is PlaceState.PENDING:
                wait = max(0.0, (place.next_look or 0.0) - today) if patient else 0.0
                order = Order.AGAIN if patient else Order.FRESH
                self._agenda.put(Entry(place.root, place.path, place.stat), due=now + wait, order=order)
            if place.state is PlaceState.UNREAD:
                self._unread.add(key)
            if place.state is not PlaceState.WHOLE:
                restless.add(key)
        del known
        self._begun, self._resting = True, False
        self._list_all(restless)
        with self._catalogue.write() as conn:
            scans.put(conn, self._number, scans.Scan(True, scan.finished, self._seen))
        self._log.info(
            "listed %s files in %.1f s, %s to read",
            f"{self._seen:,}", time.monotonic() - self._started, f"{self._to_read:,}",
        )  # fmt: skip

    def _turn(self) -> None:
        """Do what there is to do now, without waiting for anything."""
        now = time.monotonic()
        self._follow(now)
        self._collect(now)
        self._adopt(now)
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
            with self._lock:
                asked = self._scan_asked or bool(self._nudges)
            if self._resting and not asked and not self._looked and self._quiet is None:
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
        if self._unread:
            until = min(until, self._next_wanted)
        self._wake.wait(max(0.0, until - now))
        self._wake.clear()

    def _follow(self, now: float) -> None:
        """List what the nudges name, or everything where that is due."""
        with self._lock:
            nudges, self._nudges = self._nudges, set()
            asked, self._scan_asked = self._scan_asked, False
        if len(nudges) >= BURST_NUDGES:
            self._quiet = now + BURST_SECONDS
        elif self._quiet is not None and now >= self._quiet:
            asked, self._quiet = True, None
        early = now < self._scanned + PAUSES_PER_SCAN * self._scan_took
        due = now >= self._scanned + self._scan_interval
        if due or ((asked or len(nudges) > MANY_NUDGES) and not early):
            self._list_all()
            return
        if asked or len(nudges) > MANY_NUDGES:
            self.nudge()  # when it is no longer early
            self._wake.clear()
        if nudges and len(nudges) <= MANY_NUDGES:
            self._list_some(nudges)

    # --- listing -------------------------------------------------------------------------------------------

    def _list_all(self, restless: set[Key] | None = None) -> None:
        """List every root. `restless` with the first listing: known paths that are not known to be whole."""
        self._scanned = time.monotonic()
        listing = chain.from_iterable(self._storage.list(root) for root in range(len(self._storage.roots)))
        found = difference(listing, self._known)
        self._seen = found.seen
        self._apply(found, restless)
        self._note_problems({(problem.root, problem.path): problem for problem in found.problems})
        self._scan_took = time.monotonic() - self._scanned

    def _list_some(self, nudges: set[Key]) -> None:
        """List some files and folders, and compare them with what was known at and below them."""
        paths = {key for key in nudges if not within(key, nudges)}
        listing = list(chain.from_iterable(self._storage.list(*key) for key in sorted(paths)))
        there = {(item.root, item.path) for item in listing}
        found = difference(listing, self._known, scope(self._known, paths, there))
        self._apply(found, None)
        kept = {
            key: problem
            for key, problem in self._problems.items()
            if key not in paths and not within(key, paths)
        }
        self._note_problems(kept | {(problem.root, problem.path): problem for problem in found.problems})

    def _apply(self, found: Difference, restless: set[Key] | None) -> None:
        """Put what is new or changed on the agenda, and forget what is gone."""
        now, today = time.monotonic(), self._clock()
        first = restless is not None
        for entry in found.look:
            self._plan(entry, now, today, Order.FIRST if first else Order.FRESH)
        if restless is not None:
            fresh = [
                entry
                for entry in found.look
                if (entry.root, entry.path) not in self._known or (entry.root, entry.path) in restless
            ]
            for start in range(0, len(fresh), ANNOUNCED_FILES):
                self._intake.announce(self._index, fresh[start : start + ANNOUNCED_FILES])
            for entry in fresh:
                self._known[entry.root, entry.path] = UNREAD
                self._unread.add((entry.root, entry.path))
        self._forget(found.forget, now, today)

    def _plan(self, entry: Entry, now: float, today: float, order: Order) -> None:
        due = now + settle_pause(entry.stat, today)
        ended, took = self._took.get((entry.root, entry.path), (0.0, 0.0))
        self._agenda.put(entry, due=max(due, ended + PAUSE_PER_LOOK * took), order=order)
        if order is Order.FIRST:
            self._to_read += 1

    def _forget(self, keys: Sequence[Key], now: float, today: float) -> None:
        """Forget what is gone, each path asked for once more: git unlinks and creates in one breath.

        A path whose file name is about to be looked into elsewhere is forgotten together with that look: the
        file was moved, and is listed all the while.
        """
        gone = []
        for key in keys:
            again = [item for item in self._storage.list(*key) if isinstance(item, Entry)]
            if again:
                self._plan(again[0], now, today, Order.FRESH)
                continue
            self._agenda.drop(key)
            name = filename_key(key[1])
            if self._agenda.holds(name):
                self._leaving.setdefault(name, set()).add(key)
            else:
                gone.append(key)
        self._unlist(gone)

    def _unlist(self, gone: Sequence[Key]) -> None:
        for start in range(0, len(gone), BATCH_FILES):
            batch = gone[start : start + BATCH_FILES]
            self._acted(self._intake.forget(self._index, batch), batch, {})

    def _leave(self) -> None:
        """Forget paths that waited for a look elsewhere which did not come to anything."""
        if self._leaving:
            names_left = [name for name in self._leaving if not self._agenda.holds(name)]
            waiting = {filename_key(look.entry.path) for look in self._looked}
            gone = [key for name in names_left if name not in waiting for key in self._leaving.pop(name)]
            self._unlist([key for key in gone if key in self._known])

    def _note_problems(self, found: dict[Key, Problem]) -> None:
        """Write problems where they changed, and log those that are new, once."""
        if found == self._problems and self._noted:
            return
        bounded = dict(sorted(found.items())[:MOST_PROBLEMS])
        with self._catalogue.write() as conn:
            problems.replace(conn, self._number, bounded.values())
        said = frozenset(found.values())
        fresh = sorted(said - self._said, key=lambda problem: (problem.root, problem.path))
        serious = [problem for problem in fresh if problem.code != "not-a-package"]
        for problem in serious[:LOGGED_FILES]:
            self._log.warning("%s is not served: %s", problem.path or "a folder", problem.reason)
        if len(serious) > LOGGED_FILES:
            self._log.warning("and %d more: `pidex scan` names them", len(serious) - LOGGED_FILES)
        self._problems, self._said, self._noted = found, said, True

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
                self._agenda.put(entry, due=now + NOBODY_SECONDS, order=Order.FRESH)
            elif entry.root == _KEPT_ROOT:
                if look.facts is not None and look.facts.sha256 == self._kept.pop(entry.path, None):
                    self._kept_facts.append((entry.path, look.facts))
                    self._looked_at = self._looked_at or now
            else:
                self._took[entry.root, entry.path] = (now, took)
                if not self._looked:
                    self._looked_at = now
                self._looked.append(look)

    # --- adopting ------------------------------------------------------------------------------------------

    def _adopt(self, now: float) -> None:
        """Have a batch adopted that is full, or old enough, or all there is."""
        while self._looked or self._kept_facts:
            busy = self._agenda.running > 0 or (self._agenda.next_due() or now + 1) <= now
            if len(self._looked) < BATCH_FILES and busy and now < self._looked_at + BATCH_SECONDS:
                return
            batch, self._looked = self._looked[:BATCH_FILES], self._looked[BATCH_FILES:]
            kept, self._kept_facts = self._kept_facts, []
            self._looked_at = now
            gone = [
                key
                for name in {filename_key(look.entry.path) for look in batch}
                for key in self._leaving.pop(name, ())
            ]
            adoption = self._intake.adopt(self._index, batch, gone=gone, kept=kept, first=self._first)
            took = {(look.entry.root, look.entry.path): look for look in batch}
            self._acted(adoption, gone, took)

    def _acted(self, adoption: Adoption, gone: Iterable[Key], looks: Mapping[Key, Look]) -> None:
        """Remember what a batch came to."""
        now = time.monotonic()
        for key in gone:
            self._known.pop(key, None)
            self._unread.discard(key)
            self._took.pop(key, None)
        for place in adoption.places:
            key = (place.root, place.path)
            self._known[key] = mark(place.stat)
            if place.state is PlaceState.PENDING:
                took = self._took.get(key, (0.0, 0.0))[1]
                entry = Entry(place.root, place.path, place.stat)
                self._agenda.put(entry, due=now + pause(place.looks, took), order=Order.AGAIN)
            else:
                self._took.pop(key, None)
        for key in looks:
            if key in self._unread and key not in adoption.changed:
                self._unread.discard(key)
                self._read += 1
        if adoption.changed:
            for key in adoption.changed:
                if key in self._known:
                    self._known[key] = UNREAD
            self.nudge(adoption.changed)
        for filename, sha256 in adoption.unread:
            stat = self._storage.kept(sha256)
            if stat is not None and self._kept.get(filename) != sha256:
                self._kept[filename] = sha256
                self._agenda.put(Entry(_KEPT_ROOT, filename, stat), due=now, order=Order.FRESH)
        for level, line in adoption.lines():
            if level > logging.INFO or not self._first:
                self._log.log(level, line)

    # --- at rest -------------------------------------------------------------------------------------------

    def _take_wanted(self, now: float) -> None:
        """Let files go first whose page somebody waits for."""
        if self._expendable is None or now < self._next_wanted:
            return
        self._next_wanted = now + (WANTED_SECONDS if self._unread else IDLE_WANTED_SECONDS)
        for index, project in self._expendable.take_wanted():
            if index != self._index:
                continue
            if not project:
                self.nudge()
            elif self._unread:
                with self._catalogue.read() as conn:
                    found = places.list_project(conn, self._number, project, unfinished=True)
                self._agenda.want((place.root, place.path) for place in found)

    def _rest(self, now: float) -> None:
        """Tell how far the reading is; note when everything that was found is read."""
        done = self._agenda.at_rest and not self._looked and not self._kept_facts and not self._leaving
        if not done:
            self._resting = False
            if self._to_read > self._read and now >= max(self._told, self._started) + PROGRESS_SECONDS:
                self._told = now
                self._log.info("read %s of %s files", f"{self._read:,}", f"{self._to_read:,}")
            return
        if self._resting:
            return
        self._resting = True
        if self._to_read:
            seconds = now - self._started
            self._log.info("read %s files in %.1f s", f"{self._read:,}", seconds)
            self._to_read = self._read = 0
        finished = int(self._clock() * 1_000_000)
        with self._catalogue.write() as conn:
            scans.put(conn, self._number, scans.Scan(True, finished, self._seen))
        self._first = False
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            self._intake.prune()
