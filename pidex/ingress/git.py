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

from pidex.core import hooks, names, pushes
from pidex.core.errors import BadRequest, Busy, Conflict, PidexError
from pidex.core.folder import filename_key
from pidex.core.interfaces import Clock, Storage
from pidex.core.model import OPERATOR, File, Principal
from pidex.core.permissions import Action
from pidex.core.pushes import LINK_BYTES, REF, Kind, Moved, Plan, Put, Record, Refusal, Update
from pidex.ingress.repositories import Repositories, Repository, Rights
from pidex.intake.parcels import Stage
from pidex.intake.pushes import Arrival, Arrivals
from pidex.resolver import Resolver

#: Packages that one push may change: each is held open until all were looked into.
PUSH_FILES = 10_000
#: Lines that a refused push is answered with.
REFUSED_LINES = 200
#: Seconds that a push waits for another one, that a deletion does, and that a start waits for git to end.
PUSH_WAIT, FOLLOW_WAIT, END_WAIT = 60.0, 20.0, 30.0
#: Seconds between two looks whether names were deleted.
FOLLOW_SECONDS = 0.5
#: Seconds between two looks at a branch, where git's process is not to be seen.
LOOK_SECONDS = 0.1
#: Reasons that say something else to who pushes than to who looks after the folder, by their beginning.
_SAID = {
    "it is a git-LFS pointer": "it is a git-LFS pointer, not the file it points to: push the file itself"
    " (git lfs untrack, then git add --renormalize)",
}

log = logging.getLogger("pidex.git")


@dataclass(frozen=True, slots=True)
class State:
    """How an index and its repository stand to each other. Paths are below the folder that pushes go to."""

    index: str
    repository: str
    tip: str | None
    packages: int
    missing: tuple[str, ...]  # in the branch, and not listed
    differing: tuple[str, ...]  # listed with another size than in the branch
    others: int  # listed, and not in the branch: uploaded, or copied into the folder
    unfinished: bool  # a push is under way, or was cut and is not put back yet


class Pushes:
    """Takes pushes for the indexes that have a repository.

    The argument that index and branch agree, whenever somebody pulls the plug. One push at a time holds the
    index's lock, from before its inspection until git has ended:

    1. Everything is inspected while git has the objects in quarantine. A refusal changes nothing at all.
    2. A record is written for good: what the branch had at each path, what is going to be there.
    3. Files are placed and listed. Then the hook says yes and git moves the branch, as its last step: the
       lock keeps everybody else off, so it moves unless git is killed.
    4. When git has ended, the branch is looked at. It moved: the record is dropped, the push is done. It did
       not: every path of the record goes back to what the branch has, then the record is dropped.

    A server that dies between 2 and 4 leaves the record, and its next start (or push) does step 4 first. So
    the index equals the branch, for the files that came by git, whenever no record is there.

    `command(index)` is what the hooks run; `url` is the server's.
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
        url: str = "",
        nudge: Callable[[Iterable[tuple[int, str]]], None] = lambda paths: None,
        clock: Clock,
        lookers: int = 2,
    ) -> None:
        self._repositories, self._arrivals, self._storage = repositories, arrivals, storage
        self._resolver, self._rights, self._command = resolver, rights, command
        self._nudge, self._clock, self._lookers, self._url = nudge, clock, lookers, url

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
        with ExitStack() as held:
            held.enter_context(self._repositories.lock(index, seconds=PUSH_WAIT))
            repository = self._repositories.get(index, objects)
            self._settle(index)
            refused = list(self._refs(index, repository, told, who))
            if refused or not told:
                return _verdict(refused)
            update = told[0]
            plan = pushes.plan(repository.tree(update.old), repository.tree(update.new))
            refused = [*plan.refused, *_leaving(repository, plan), *self._forbidden(index, plan, who)]
            if refused:
                return _verdict(refused)
            with ExitStack() as stages:
                arrivals, refused = self._inspect(index, repository, plan.put, stages, who)
                if refused:
                    return _verdict(refused)
                running = self._repositories.running(*process)
                lines = self._act(index, repository, update, plan, arrivals, running=running, who=who)
            ending = (index, held.pop_all())
            threading.Thread(target=self._finish, args=ending, name="pidex-push", daemon=True).start()
        return {"accepted": True, "lines": lines}

    def _refs(
        self, index: str, repository: Repository, told: Sequence[Update], who: Principal
    ) -> Iterator[Refusal]:
        """What is wrong with the refs of a push, whatever they contain."""
        for update in told:
            if update.ref != REF:
                reason = f"an index follows the branch {pushes.BRANCH} only: nothing else is kept here"
                yield Refusal(update.ref, reason)
            elif update.new is None:
                yield Refusal(update.ref, "the branch that the index follows cannot be deleted")
            elif update.old != repository.tip():
                yield Refusal(update.ref, "somebody else has pushed meanwhile: fetch first")
            elif (
                update.old is not None
                and not repository.is_ancestor(update.old, update.new)
                and not self._rights.allows(who, Action.ADMIN, index)
            ):
                reason = "a push that rewrites history takes the role admin: fetch and merge first"
                yield Refusal(update.ref, reason)

    def _forbidden(self, index: str, plan: Plan, who: Principal) -> Iterator[Refusal]:
        """Which changes the pusher may not make."""
        burnt = self._arrivals.burnt(index)
        name = who.name or "anonymous"
        token = " with this token" if who.token is not None else ""
        for put in plan.put:
            project = names.parse(put.filename).project
            if put.key in burnt:
                stone = burnt[put.key]
                yield Refusal(put.path, f"it was deleted by {stone.by}, and its name stays burnt")
            elif not self._rights.allows(who, Action.UPLOAD, index, project):
                yield Refusal(put.path, f"{name} may not upload to project {project}{token}")
            elif put.kind is Kind.REPLACED and not self._rights.allows(who, Action.OVERWRITE, index, project):
                reason = f"{name} may not change files of project {project}{token}: use a new version"
                yield Refusal(put.path, reason)
        for path in plan.removed:
            if filename_key(path) in burnt:
                continue  # it is gone already: nothing is left to be allowed
            try:
                project = names.parse(path.rpartition("/")[2]).project
            except PidexError:
                continue
            if not self._rights.allows(who, Action.DELETE, index, project):
                yield Refusal(path, f"{name} may not delete files of project {project}{token}")

    def _inspect(
        self, index: str, repository: Repository, put: Sequence[Put], stages: ExitStack, who: Principal
    ) -> tuple[list[Arrival], list[Refusal]]:
        """Stage every blob and look into it, without changing anything."""
        most = min(PUSH_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
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
                refused.append(Refusal(one.path, _said(str(error))))
        return arrivals, refused

    def _look(self, index: str, put: Put, stage: Stage, who: Principal) -> Arrival:
        return self._arrivals.examine(index, put, stage, by=who)

    def _act(
        self,
        index: str,
        repository: Repository,
        update: Update,
        plan: Plan,
        arrivals: Sequence[Arrival],
        *,
        running: tuple[int, str] | None,
        who: Principal,
    ) -> list[str]:
        """Write the record, place everything; what to tell the pusher. Undone where it fails."""
        if not arrivals and not plan.gone:
            return []
        root = self._arrivals.folder(index)
        before = pushes.packages(repository.tree(update.old))
        coming = {arrival.put.path for arrival in arrivals}
        moved = [
            Moved(
                arrival.put.path,
                before[arrival.put.path].oid if arrival.put.path in before else None,
                arrival.put.oid,
                arrival.sha256,
                self._storage.stat(root, arrival.put.path) is None,
            )
            for arrival in arrivals
        ]
        moved += [Moved(path, before[path].oid, None) for path in plan.gone if path not in coming]
        record = Record(update.old, update.new, root, who.name or "anonymous", running, tuple(moved))
        repository.keep(record)
        try:
            self._arrivals.place(index, root, arrivals, plan.gone, by=who)
        except BaseException as error:
            log.warning("a push to %s is put back: %s", index, error)
            self._put_back(index, record)
            raise
        self._nudge((root, path) for path in plan.gone)
        counted = {kind: sum(each.put.kind is kind for each in arrivals) for kind in Kind}
        counts = [f"{count} {kind.value}" for kind, count in counted.items() if count]
        counts += [f"{len(plan.removed)} removed"] if plan.removed else []
        log.info("push to %s by %s: %s", index, who.name or "anonymous", ", ".join(counts) or "nothing")
        lines = [f"{index}: {', '.join(counts)}"] if counts else []
        elsewhere = self._arrivals.listed(index, map(filename_key, plan.removed))
        for path in plan.removed:
            if filename_key(path) in elsewhere:
                other = elsewhere[filename_key(path)]
                lines.append(pushes.spoken(f"{path}: still listed, since it also lies at {other}"))
        return lines[:REFUSED_LINES]

    def _finish(self, index: str, held: ExitStack) -> None:
        """After a push was taken: see whether the branch moved, and let the next one in."""
        with held:
            try:
                self._settle(index, patient=True)
            except Exception:
                log.exception("the push to %s is looked at again later", index)

    # --- what a record asks for -----------------------------------------------------------------------------

    def _settle(self, index: str, *, patient: bool = False) -> None:
        """End a push that has a record. For who holds the lock. Raises `Busy` where git still runs."""
        repository = self._repositories.get(index)
        record = repository.kept()
        if record is None:
            return
        end = time.monotonic() + END_WAIT
        while repository.tip() != record.new:
            if record.process is None:  # nobody can see whether git still runs
                if time.monotonic() >= end:
                    break
                time.sleep(LOOK_SECONDS)
            elif self._repositories.await_end(record.process, 1.0):
                break
            elif not patient and time.monotonic() >= end:
                raise Busy(f"A push to {index} is still under way. Try again in a moment.", retry_after=10)
        if pushes.undo(record, repository.tip()):
            log.warning("a push to %s by %s did not come to its end: it is put back", index, record.by)
            self._put_back(index, record)
        else:
            repository.keep(None)

    def _put_back(self, index: str, record: Record) -> None:
        """Have the index as the branch says at every path of a record, then drop it."""
        repository = self._repositories.get(index)
        wanted = [(file.path, file.old) for file in record.files]
        ours = {file.path: file.sha256 for file in record.files if file.fresh}
        self._restore(index, repository, record.root, wanted, ours)
        repository.keep(None)

    def _restore(
        self,
        index: str,
        repository: Repository,
        root: int,
        wanted: Sequence[tuple[str, str | None]],
        ours: Mapping[str, str | None],
    ) -> None:
        """Place blobs of the branch again; take away what is `ours` (path: sha256) and not wanted."""
        with ExitStack() as stages, repository.blobs() as copy:
            arrivals, gone = [], []
            for path, oid in wanted:
                if oid is None:
                    if path in ours and self._arrivals.digest(root, path) in (ours[path], None):
                        gone.append(path)
                    continue
                stage = stages.enter_context(self._arrivals.stage(index))
                copy(oid, stage.write)
                put = Put(path, oid, Kind.REPLACED)
                arrivals.append(self._arrivals.examine(index, put, stage, by=OPERATOR, force=True))
            self._arrivals.place(index, root, arrivals, gone, by=OPERATOR, force=True)
        self._nudge((root, path) for path, _ in wanted)

    # --- beside pushes --------------------------------------------------------------------------------------

    def follow(self, index: str) -> None:
        """Commit that names which were deleted from the index are gone, so that no clone has them.

        The repository stays the truth for its own files; whoever holds an older clone has to fetch first.
        """
        burnt = self._arrivals.burnt(index)
        if not burnt:
            return
        with self._repositories.lock(index, seconds=FOLLOW_WAIT):
            self._settle(index)
            repository = self._repositories.get(index)
            there = pushes.packages(repository.tree(repository.tip()))
            by_person: dict[tuple[str, str], list[str]] = {}
            for path in there:
                stone = burnt.get(filename_key(path))
                if stone is not None:
                    by_person.setdefault((stone.by, stone.reason or ""), []).append(path)
            for (who, reason), paths in sorted(by_person.items()):
                what = paths[0].rpartition("/")[2] if len(paths) == 1 else f"{len(paths)} files"
                message = f"Delete {what}\n" + (f"\n{reason}\n" if reason else "")
                if repository.remove(paths, by=who, message=message, now=self._clock()):
                    log.info("committed to %s that %s deleted %s", index, who, what)

    def run(self, stop: threading.Event) -> None:
        """Prepare the repositories for this start, end what was cut, and follow deletions until `stop`."""
        for index in self._repositories.list():
            self._guarded(index, self._begin)
        serial, done = -1, set[tuple[str, str]]()
        while not stop.wait(FOLLOW_SECONDS):
            newest = self._arrivals.serial()
            if newest == serial:
                continue
            followed = True
            for index in self._repositories.list():
                burnt = {(index, key) for key in self._arrivals.burnt(index)}
                if burnt <= done:
                    continue
                if self._guarded(index, self.follow):
                    done |= burnt
                else:
                    followed = False
            serial = newest if followed else -1

    def _begin(self, index: str) -> None:
        self._repositories.prepare(index, self._command(index))
        with self._repositories.lock(index, seconds=PUSH_WAIT):
            self._repositories.get(index).sweep()
            self._settle(index)

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
        root = self._arrivals.folder(index)
        repository = self._repositories.create(index, self._command(index))
        with self._repositories.lock(index, seconds=PUSH_WAIT):
            imported = 0
            if repository.tip() is None and not empty:
                listed = [
                    file for file in self._listed(index) if file.root == root and pushes.is_listed(file.path)
                ]
                if listed:
                    message = f"The files of the index {index}\n"
                    imported = repository.commit_files(
                        map(self._pieces, listed), by=by.name or "pidex", message=message, now=self._clock()
                    )
        where = self._repositories.where(index)
        return {"repository": where, "imported": imported, "url": f"{self._url}/{index}.git"}

    def disable(self, index: str, *, by: Principal) -> Mapping[str, Any]:
        """Take the repository out of reach. Files stay listed; the repository is put aside, not deleted."""
        self._administers(index, by)
        with self._repositories.lock(index, seconds=PUSH_WAIT):
            self._repositories.get(index)
            self._settle(index)
            return {"index": index, "aside": self._repositories.put_aside(index)}

    def repair(self, index: str, *, by: Principal) -> Mapping[str, Any]:
        """Place again what the branch has and the index lacks or has otherwise; the state after it."""
        self._administers(index, by)
        with self._repositories.lock(index, seconds=PUSH_WAIT):
            self._settle(index)
            repository, state = self._repositories.get(index), self._state(index)
            there = pushes.packages(repository.tree(state.tip))
            wanted = [(path, there[path].oid) for path in (*state.missing, *state.differing)]
            if wanted:
                self._restore(index, repository, self._arrivals.folder(index), wanted, {})
        return {"placed": len(wanted), "index": index}

    def status(self, index: str, *, by: Principal) -> State:
        """How index and repository stand to each other now."""
        self._administers(index, by)
        return self._state(index)

    def _state(self, index: str) -> State:
        repository = self._repositories.get(index)
        tip, root, kept = repository.tip(), self._arrivals.folder(index), repository.kept()
        there = pushes.packages(repository.tree(tip, sizes=True))
        listed = {file.filename.casefold(): file for file in self._listed(index)}
        own = {filename_key(path) for path in there}
        lying = {file.path: file.size for file in listed.values() if file.root == root}
        missing = [path for path in there if filename_key(path) not in listed]
        differing = [path for path, node in there.items() if lying.get(path, node.size) != node.size]
        return State(
            index,
            self._repositories.where(index),
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
        return file.path, file.size, self._read(file)

    def _read(self, file: File) -> Iterator[bytes]:
        handle = self._storage.open(file)
        try:
            for offset in range(0, handle.size, 262_144):
                data = handle.read(offset, 262_144)
                handle.check()
                yield data
        finally:
            handle.close()


def _leaving(repository: Repository, plan: Plan) -> Iterator[Refusal]:
    """New links that lead out of the tree."""
    for path, oid in plan.links:
        if pushes.leaves(path, repository.blob(oid, LINK_BYTES)):
            yield Refusal(path, "it is a symbolic link that leads out of the repository")


def _verdict(refused: Sequence[Refusal]) -> Mapping[str, Any]:
    return {"accepted": not refused, "lines": pushes.lines(refused, REFUSED_LINES)}


def _said(reason: str) -> str:
    """Why a package is refused, to who pushed it."""
    plain = reason.removeprefix("Invalid distribution file. ")
    for beginning, said in _SAID.items():
        if plain.lower().startswith(beginning.lower()):
            return said
    return plain
