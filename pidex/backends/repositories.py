"""The repositories of indexes: made, put aside, locked, prepared for pushes, and served by HTTP."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

from pidex.backends import cgi
from pidex.backends.git import Git, Repository
from pidex.backends.running import await_end, process_of
from pidex.core.errors import Busy, NotFound
from pidex.core.interfaces import Clock
from pidex.core.pushes import BRANCH

#: Bytes that one push may bring.
PUSH_BYTES = 20 * 1024**3
#: Seconds between two looks at a lock or a process, and what somebody is told to wait who meets a lock.
LOOK_SECONDS, RETRY_SECONDS = 0.05, 10
#: What git calls the service that takes pushes.
TAKING = "git-receive-pack"
#: Seconds to wait for another process that sets a repository up, and after which a git that does has died.
PREPARE_SECONDS, DEAD_SECONDS = 30.0, 2.0

log = logging.getLogger("pidex.git")

#: What is set in each repository. Packages do not compress and have no deltas: blobs beyond a MiB are
#: streamed, never held in memory, and a push stays the pack that it came as. Only `main` can be there, and
#: only our hooks run.
CONFIG: Mapping[str, str] = {
    "core.bigFileThreshold": "1m",
    "core.compression": "1",
    "core.fsync": "all",  # references and loose objects, too
    "core.logAllRefUpdates": "true",
    "gc.bigPackThreshold": "512m",
    "http.receivepack": "true",
    "http.uploadpack": "true",
    "http.getanyfile": "false",
    "pack.threads": "1",
    "receive.advertisePushOptions": "false",
    "receive.denyDeletes": "true",
    "receive.denyNonFastForwards": "false",  # our hook asks for the right to administer
    "receive.fsckObjects": "true",
    "receive.maxInputSize": str(PUSH_BYTES),
    "transfer.fsckObjects": "true",
    "transfer.unpackLimit": "1",
    "uploadpack.allowFilter": "true",
}

#: Runs when a reference moved, before git tells anybody. git syncs what is in files, and never the folders
#: that name them: a power cut took back a push that had been answered.
SYNC = """#!/bin/sh
# Written by pidex at each start.
[ "$1" = committed ] || exit 0
exec sync objects objects/pack refs refs/heads refs/heads/*
"""


class Repositories:
    """The repositories of all indexes, in one folder: `<index>.git`. `hooks`: where this node has theirs."""

    def __init__(
        self, folder: Path, git: Git, hooks: Path | None = None, *, clock: Clock = time.time
    ) -> None:
        self.folder, self.git, self._clock = folder, git, clock
        self._hooks = hooks or folder / "hooks"

    def path(self, index: str) -> Path:
        """Where an index's repository is or would be."""
        return self.folder / f"{index}.git"

    def exists(self, index: str) -> bool:
        """Whether an index has a repository. One look at the disk."""
        return (self.path(index) / "HEAD").exists()

    def list(self) -> list[str]:
        """The indexes that have one."""
        return sorted(found.parent.name.removesuffix(".git") for found in self.folder.glob("*.git/HEAD"))

    def where(self, index: str) -> str:
        """The same as text."""
        return str(self.path(index))

    def get(self, index: str, quarantine: str | None = None) -> Repository:
        """The repository of an index. Raises `NotFound`."""
        if not self.exists(index):
            raise NotFound(f"The index {index} has no git repository: `pidex git enable` makes one.")
        return Repository(self.git, self.path(index), quarantine)

    def create(self, index: str, command: Sequence[str]) -> Repository:
        """Make the repository, or take the one back that was put aside. `command` is what its hook runs."""
        folder, aside = self.path(index), self._aside(index)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if not self.exists(index):
            if aside.exists():
                aside.rename(folder)
            else:
                fresh = self.folder / f"{index}.new"
                shutil.rmtree(fresh, ignore_errors=True)
                self.git.run(
                    "init", "--quiet", "--bare", "--template=", f"--initial-branch={BRANCH}", str(fresh)
                )
                fresh.rename(folder)
        self.prepare(index, command)
        return self.get(index)

    def prepare(self, index: str, command: Sequence[str]) -> None:
        """Write hook and configuration as this version of the program wants them."""
        # A server that starts and a command that enables may both be here, and no git waits for another one.
        with self.lock(index, seconds=PREPARE_SECONDS, what="config"):
            hooks = self._hooks / index
            hooks.mkdir(mode=0o700, parents=True, exist_ok=True)
            asking = f"#!/bin/sh\n# Written by pidex at each start.\nexec {shlex.join(command)}\n"
            for name, text in (("pre-receive", asking), ("reference-transaction", SYNC)):
                hook, fresh = hooks / name, hooks / f"{name}.new"
                if (
                    not hook.exists()
                    or hook.read_text(encoding="utf-8") != text
                    or not os.access(hook, os.X_OK)
                ):
                    fresh.write_text(text, encoding="utf-8")
                    fresh.chmod(0o700)
                    fresh.rename(hook)
            self._configure(self.path(index) / "config", {**CONFIG, "core.hooksPath": str(hooks)})

    def _is_prepared(self, index: str) -> bool:
        return os.access(self._hooks / index / "pre-receive", os.X_OK)

    def _configure(self, config: Path, wanted: Mapping[str, str]) -> None:
        """Set what is not set so. For who holds the lock: what git locked before is a dead git's."""
        left = config.with_name("config.lock")
        with contextlib.suppress(FileNotFoundError):
            if self._clock() - left.stat().st_mtime > DEAD_SECONDS:
                left.unlink()
        lines = self.git.run("config", "--file", str(config), "--list", "-z").decode().split("\0")
        known = dict(line.split("\n", 1) for line in lines if "\n" in line)
        for name, value in wanted.items():
            if known.get(name.lower()) != value:
                self.git.run("config", "--file", str(config), "--replace-all", name, value)

    def put_aside(self, index: str) -> str:
        """Take the repository out of everybody's reach; where it is now. Raises `NotFound`."""
        repository, aside = self.get(index), self._aside(index)
        repository.folder.rename(aside)
        return str(aside)

    def _aside(self, index: str) -> Path:
        return self.folder / f"{index}.disabled"

    @contextlib.contextmanager
    def lock(self, index: str, *, seconds: float, what: str = "lock") -> Iterator[None]:
        """Be the only one who changes an index's branch, or holds its lock `what`. `Busy` after `seconds`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.folder / f"{index}.{what}", flags, 0o600)
        try:
            end = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end:
                        raise Busy(
                            f"Another push to {index} is under way. Try again in a moment.",
                            retry_after=RETRY_SECONDS,
                        ) from None
                    time.sleep(LOOK_SECONDS)
            yield
        finally:
            os.close(fd)

    def running(self, pid: int, started: str) -> tuple[int, str] | None:
        """A process that somebody names by number and start; None where it is not to be seen from here."""
        return (pid, started) if process_of(pid) == (pid, started) else None

    def await_end(self, of: tuple[int, str], seconds: float) -> bool:
        """Wait until a process has ended; whether it has."""
        return await_end(of, seconds)

    # --- smart HTTP -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `Missing` where git cannot serve HTTP."""
        _ = self.git.http_backend

    async def answer(
        self,
        index: str,
        service: str,
        *,
        request: Mapping[str, str],
        body: AsyncIterator[bytes],
        start: cgi.Start,
        piece: cgi.Piece,
    ) -> None:
        """Let `git http-backend` answer one request, streaming both ways (see `cgi.run`).

        `request` holds CGI variables of the caller: method, query, lengths, types, who asks. What they may
        name is ours: the one repository, found by its index. `Busy` for a push where the hook that looks into
        it is not written yet: git would take everything, and nothing of it would be listed.
        """
        if TAKING in f"{service} {request.get('QUERY_STRING', '')}" and not self._is_prepared(index):
            raise Busy(
                f"Index {index} is not ready for pushes on this server yet. Push again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        told = self.git.environ()
        told |= {
            # The hooks of this node: others that share the repository have their own.
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_1": "core.hooksPath",
            "GIT_CONFIG_VALUE_1": str(self._hooks / index),
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{index}.git/{service}",
            **request,
        }
        try:
            await cgi.run([self.git.http_backend], told, body, start, piece, folder=str(self.folder))
        except cgi.Silent as error:
            log.warning("git http-backend gave no answer for %s: %s", index, error)
            raise Busy("git gave no answer; the server's log says more.", retry_after=RETRY_SECONDS) from None


# --- work trees ---------------------------------------------------------------------------------------------


def follow_work_tree(git: Git, folder: Path) -> list[str]:
    """Set a work tree up to be pushed to. Returns its files that git does not know or that differ.

    A folder that is none becomes one. Raises `Failed`.
    """
    environ = git.environ()
    if not (folder / ".git").exists():
        git.run("init", "--quiet", f"--initial-branch={BRANCH}", environ=environ, folder=folder)
    for name, value in (("receive.denyCurrentBranch", "updateInstead"), ("core.bigFileThreshold", "1m")):
        git.run("config", name, value, environ=environ, folder=folder)
    told = git.run("status", "--porcelain", "-z", "--no-renames", environ=environ, folder=folder)
    return [entry.decode("utf-8", "replace") for entry in told.split(b"\0") if entry]
