"""Pushes to an index's repository: inspected whole, then placed and listed, or refused line by line."""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pidex.core import hooks, pushes
from pidex.core.errors import BadRequest, Busy, CatalogueError, Conflict, PidexError
from pidex.core.folder import filename_key
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import OPERATOR, File, Principal
from pidex.core.permissions import Action
from pidex.core.pushes import REF, Kind, Put, Refusal
from pidex.ingress import verdicts
from pidex.ingress.decided import Decided
from pidex.ingress.recorded import Recorded
from pidex.ingress.repositories import Push, Repositories, Repository, Rights, Truth
from pidex.intake.branches import Branches
from pidex.intake.parcels import Stage
from pidex.intake.pushes import Arrival, Arrivals
from pidex.resolver import Resolver

#: Packages that one push may change: each is held open until all were looked into.
PUSH_FILES = 10_000
#: Seconds that a push waits for another one, and that a deletion does.
PUSH_WAIT, FOLLOW_WAIT = 60.0, 20.0
#: Seconds between two looks whether names were deleted.
FOLLOW_SECONDS = 0.5
#: Seconds before each look at how a push ended: again where a look fails, as where no descriptor is left.
FINISH_PAUSES = (0.0, 0.5, 2.0, 5.0)

log = logging.getLogger("pidex.git")


@dataclass(frozen=True, slots=True)
class State:
    """How an index and its repository stand to each other. Paths are below the folder that pushes go to."""

    index: str
    repository: str | None  # where it lies; None: in the bucket, and this machine has a copy
    tip: str | None
    packages: int
    missing: tuple[str, ...]  # in the branch, and not listed
    differing: tuple[str, ...]  # listed with another size than in the branch
    others: int  # listed, and not in the branch: uploaded, or copied into the folder
    unfinished: bool  # a push is under way, or was cut and is not put back yet


class Pushes:
    """Takes pushes for the indexes that have a repository.

    What says where a branch stands, and so what becomes of a push when somebody pulls the plug, is different
    for indexes in folders (`Recorded`) and in a bucket (`Decided`, for which `branches` are).

    `command(index)` is what the hooks run; `url` is the server's; `node` names this one of a cluster, and
    `leads` says whether it does what one node does for all.
    """

    def __init__(
        self,
        repositories: Repositories,
        arrivals: Arrivals,
        storage: Storage,
        resolver: Resolver,
        rights: Rights,
        *,
        command: Callable[[str], Sequence[str]],
        branches: Branches | None = None,
        url: str = "",
        nudge: Callable[[Iterable[tuple[int, str]]], None] = lambda paths: None,
        leads: Callable[[], bool] = lambda: True,
        clock: Clock,
        lookers: int = 2,
        node: str = "",
    ) -> None:
        self._repositories, self._arrivals, self._storage = repositories, arrivals, storage
        self._resolver, self._rights, self._url = resolver, rights, url
        self._clock, self._lookers, self._leads = clock, lookers, leads
        self._recorded = Recorded(
            repositories, arrivals, storage, command=command, nudge=nudge, clock=clock, node=node
        )
        self._decided = None if branches is None else Decided(branches, arrivals)

    def _truth(self, index: str) -> Truth:
        if self._decided is not None and self._decided.holds(index):
            return self._decided
        return self._recorded

    def _every(self) -> Iterator[tuple[str, Truth]]:
        for truth in (self._recorded, self._decided):
            if truth is not None:
                yield from ((index, truth) for index in truth.list() if self._truth(index) is truth)

    # --- a push ---------------------------------------------------------------------------------------------

    def receive(
        self,
        index: str,
        *,
        updates: str,
        objects: str | None,
        process: tuple[int, str],
        pusher: str | None = None,
        by: Principal,
    ) -> Mapping[str, Any]:
        """Take or refuse a push, for git's pre-receive hook: `{"accepted": bool, "lines": [...]}`.

        `updates`: the hook's input; `objects`: GIT_QUARANTINE_PATH; `process`: git's, by number and start.
        `pusher`: who pushes by HTTP, as this server told its child; else it is `by`, who owns the directory.
        """
        try:
            who = by if pusher is None else hooks.principal(pusher)
            told = pushes.updates(updates)
        except ValueError as error:
            raise BadRequest(f"This is no push: {error}.") from None
        truth = self._truth(index)
        with ExitStack() as held:
            repository = held.enter_context(truth.lock(index, PUSH_WAIT, objects))
            tip = truth.tip(index, repository)
            refused = list(verdicts.of_refs(self._rights, index, repository, told, tip=tip, who=who))
            if refused or not told:
                return verdicts.answer(refused)
            update = told[0]
            plan = pushes.plan(repository.tree(update.old), repository.tree(update.new))
            refused = [
                *plan.refused,
                *verdicts.of_links(repository, plan),
                *verdicts.of_rights(self._rights, self._arrivals, index, plan, who),
            ]
            if refused:
                return verdicts.answer(refused)
            with ExitStack() as stages:
                arrivals, refused = self._inspect(
                    index, repository, plan.put, stages, who=who, most=truth.most
                )
                if refused:
                    return verdicts.answer(refused)
                running, root = self._repositories.running(*process), self._arrivals.folder(index)
                push = Push(index, root, repository, update, plan, arrivals, running, who)
                truth.take(push, held)
                lines = self._told(push)
            ending = (truth, push, held.pop_all())
            threading.Thread(target=self._finish, args=ending, name="pidex-push", daemon=True).start()
        return {"accepted": True, "lines": lines}

    def _inspect(
        self,
        index: str,
        repository: Repository,
        put: Sequence[Put],
        stages: ExitStack,
        *,
        who: Principal,
        most: int,
    ) -> tuple[list[Arrival], list[Refusal]]:
        """Stage every blob and look into it, without changing anything."""
        most = min(most, PUSH_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        if len(put) > most:
            reason = (
                f"{len(put):,} packages are changed, one push may change {most:,}: push older commits first"
            )
            return [], [Refusal(REF, reason)]
        looks: list[tuple[Put, Future[Arrival]]] = []
        with ThreadPoolExecutor(self._lookers, "pidex-push") as pool, repository.blobs() as copy:
            for one in put:
                stage = stages.enter_context(self._arrivals.stage(index))
                try:
                    copy(one.oid, stage.write)
                except PidexError as error:
                    failed: Future[Arrival] = Future()
                    failed.set_exception(error)
                    looks.append((one, failed))
                    continue
                looks.append((one, pool.submit(self._look, index, one, stage, who)))
        arrivals, refused = [], []
        for one, future in looks:
            try:
                arrivals.append(future.result())
            except Busy:
                raise
            except PidexError as error:
                refused.append(Refusal(one.path, verdicts.said(str(error))))
        return arrivals, refused

    def _look(self, index: str, put: Put, stage: Stage, who: Principal) -> Arrival:
        return self._arrivals.examine(index, put, stage, by=who)

    def _told(self, push: Push) -> list[str]:
        """What to tell the pusher of what was done."""
        index, removed = push.index, push.plan.removed
        counted = {kind: sum(each.put.kind is kind for each in push.arrivals) for kind in Kind}
        counts = [f"{count} {kind.value}" for kind, count in counted.items() if count]
        counts += [f"{len(removed)} removed"] if removed else []
        if push.arrivals or push.plan.gone:
            who = push.who.name or "anonymous"
            log.info("push to %s by %s: %s", index, who, ", ".join(counts) or "nothing")
        lines = [f"{index}: {', '.join(counts)}"] if counts else []
        elsewhere = self._arrivals.listed(index, map(filename_key, removed))
        for path in removed:
            if filename_key(path) in elsewhere:
                other = elsewhere[filename_key(path)]
                lines.append(pushes.spoken(f"{path}: still listed, since it also lies at {other}"))
        return lines[: verdicts.REFUSED_LINES]

    @staticmethod
    def _finish(truth: Truth, push: Push, held: ExitStack) -> None:
        """After a push was taken: see whether the branch moved, and let the next one in.

        Where no look succeeds, the next push or start does it.
        """
        with held:
            for pause in FINISH_PAUSES:
                time.sleep(pause)
                try:
                    truth.finish(push)
                except Exception:
                    log.exception("the push to %s is looked at again later", push.index)
                else:
                    return

    # --- beside pushes --------------------------------------------------------------------------------------

    def follow(self, index: str) -> None:
        """Commit that names which were deleted from the index are gone, so that no clone has them.

        The repository stays the truth for its own files; whoever holds an older clone has to fetch first.
        """
        burnt = self._arrivals.burnt(index)
        if not burnt:
            return
        truth = self._truth(index)
        with truth.lock(index, FOLLOW_WAIT) as repository:
            there = pushes.packages(repository.tree(repository.tip()))
            by_person: dict[tuple[str, str], list[str]] = {}
            for path in there:
                stone = burnt.get(filename_key(path))
                if stone is not None:
                    by_person.setdefault((stone.by, stone.reason or ""), []).append(path)
            for (who, reason), paths in sorted(by_person.items()):
                what = paths[0].rpartition("/")[2] if len(paths) == 1 else f"{len(paths)} files"
                message = f"Delete {what}\n" + (f"\n{reason}\n" if reason else "")
                tip = repository.tip()
                made = repository.remove(paths, by=who, message=message, now=self._clock())
                if made is not None:
                    truth.made(index, repository, tip, made, by=OPERATOR)
                    log.info("committed to %s that %s deleted %s", index, who, what)

    def run(self, stop: threading.Event) -> None:
        """Prepare the repositories for this start, end what was cut, and follow deletions until `stop`."""
        done, begun = set[tuple[str, str]](), set[str]()
        self._catch_up(begun)
        serial, led = -1, False
        while not stop.wait(FOLLOW_SECONDS):
            leads = self._leads()
            try:
                newest = self._arrivals.serial()
                # An index may have got a repository by another node, or by a command, without a new serial.
                fresh = any(index not in begun for index, _ in self._every())
                if fresh or newest != serial or (leads and not led):
                    caught_up = self._catch_up(begun)
                    followed = not leads or self._follow_all(done)
                    serial, led = newest if caught_up and followed else -1, leads
            except CatalogueError as error:
                log.debug("What was pushed and deleted is asked again: %s", error)

    def _catch_up(self, begun: set[str]) -> bool:
        """Begin with repositories that are new to this process, bring copies up to date; whether all is."""
        good = True
        try:
            for index, truth in [*self._every()]:
                if index not in begun:
                    if self._guarded(index, truth.begin):
                        begun.add(index)
                    else:
                        good = False
                elif not self._guarded(index, truth.refresh):
                    good = False
        except CatalogueError as error:
            log.debug("Which repositories there are is asked again: %s", error)
            return False
        return good

    def _follow_all(self, done: set[tuple[str, str]]) -> bool:
        """Follow deletions that were not followed yet; whether all are."""
        followed = True
        for index, _ in [*self._every()]:
            burnt = {(index, key) for key in self._arrivals.burnt(index)}
            if burnt <= done:
                continue
            if self._guarded(index, self.follow):
                done |= burnt
            else:
                followed = False
        return followed

    @staticmethod
    def _guarded(index: str, act: Callable[[str], None]) -> bool:
        try:
            act(index)
        except (PidexError, OSError) as error:
            log.warning("the repository of %s: %s", index, error)
            return False
        return True

    # --- commands -------------------------------------------------------------------------------------------

    def enable(self, index: str, *, empty: bool = False, by: Principal) -> Mapping[str, Any]:
        """Make an index's repository, with the files that are listed as its first commit unless `empty`."""
        self._administers(index, by)
        root, truth = self._arrivals.folder(index), self._truth(index)
        truth.enable(index)
        with truth.lock(index, PUSH_WAIT) as repository:
            imported, tip = 0, repository.tip()
            if tip is None and not empty:
                listed = [
                    file for file in self._listed(index) if file.root == root and pushes.is_listed(file.path)
                ]
                if listed:
                    message = f"The files of the index {index}\n"
                    imported = repository.commit_files(
                        map(self._pieces, listed), by=by.name or "pidex", message=message, now=self._clock()
                    )
                    made = repository.tip()
                    assert made is not None, "a commit was made"
                    truth.made(index, repository, tip, made, by=by)
        where = truth.where(index)
        return {"repository": where, "imported": imported, "url": f"{self._url}/{index}.git"}

    def disable(self, index: str, *, by: Principal) -> Mapping[str, Any]:
        """Take the repository out of reach. Files stay listed; the repository is put aside, not deleted."""
        self._administers(index, by)
        truth = self._truth(index)
        with truth.lock(index, PUSH_WAIT):
            return {"index": index, "aside": truth.disable(index)}

    def repair(self, index: str, *, by: Principal) -> Mapping[str, Any]:
        """Place again what the branch has and the index lacks or has otherwise; the state after it."""
        self._administers(index, by)
        truth = self._truth(index)
        with truth.lock(index, PUSH_WAIT) as repository:
            state = self._state(index, repository, truth)
            there = pushes.packages(repository.tree(state.tip))
            wanted = [(path, there[path].oid) for path in (*state.missing, *state.differing)]
            if wanted:
                truth.restore(index, repository, wanted)
        return {"placed": len(wanted), "index": index}

    def status(self, index: str, *, by: Principal) -> State:
        """How index and repository stand to each other now."""
        self._administers(index, by)
        truth = self._truth(index)
        return self._state(index, truth.look(index), truth)

    def _state(self, index: str, repository: Repository, truth: Truth) -> State:
        tip, root, kept = repository.tip(), self._arrivals.folder(index), repository.kept()
        there = pushes.packages(repository.tree(tip, sizes=True))
        listed = {file.filename.casefold(): file for file in self._listed(index)}
        own = {filename_key(path) for path in there}
        # In a folder another file of a name may lie elsewhere; in the bucket a name is there once.
        lying = {
            path: file.size
            for path in there
            if (file := listed.get(filename_key(path))) is not None
            and file.root == root
            and (truth is self._decided or file.path == path)
        }
        missing = [path for path in there if filename_key(path) not in listed]
        differing = [path for path, node in there.items() if lying.get(path, node.size) != node.size]
        return State(
            index,
            truth.where(index),
            tip,
            len(there),
            tuple(sorted(missing)),
            tuple(sorted(differing)),
            sum(key not in own for key in listed),
            kept is not None and kept.new != tip,
        )

    def _administers(self, index: str, by: Principal) -> None:
        if not self._rights.allows(by, Action.ADMIN, index):
            raise Conflict(f"{by.name} does not administer the index {index}.")

    def _listed(self, index: str) -> list[File]:
        return list(self._resolver.files(index, by=OPERATOR))

    def _pieces(self, file: File) -> tuple[str, int, Iterator[bytes]]:
        path = file.path if file.root in self._storage.folders else file.filename
        return path, file.size, self._read(file)

    def _read(self, file: File) -> Iterator[bytes]:
        handle = self._storage.open(file)
        try:
            for offset in range(0, handle.size, 262_144):
                data = handle.read(offset, 262_144)
                handle.check()
                yield data
        finally:
            handle.close()
