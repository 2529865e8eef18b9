"""Looks into archives by a pool of long-lived, limited child processes."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

import pidex
from pidex.backends.inspection import (
    LENGTH,
    MAX_ANSWER,
    READY,
    Answer,
    Fault,
    Found,
    Job,
    Task,
    decode_answer,
    encode,
)
from pidex.core.errors import PidexError
from pidex.core.interfaces import Clock
from pidex.core.limits import Limits
from pidex.core.model import Entry, Look, PlaceState, Stat

#: Seconds in which a new child must be ready, and in which one that was told to go must be gone.
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 2.0
#: Said by the child before it reads its first job; arguments: descriptor, bytes of memory, import path.
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[3:]; from pidex.backends.inspection import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)
#: Errors of `open` that say something about this process or machine, not about the file.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
#: What a disk or a file server says that may be otherwise in a moment: such a file is looked at again.
_PASSING: Final = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN})


class Sandbox:
    """An `Inspector`: hashes and checks files in children that can be killed without harm.

    At most `children` processes run at a time, started when there is work and ended after `idle_seconds`
    without any. `inspect` may be called from any number of threads and blocks. `clock` gives Unix seconds;
    `environment` is all that the children see of one.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        limits: Limits | None = None,
        idle_seconds: float = 30,
        clock: Clock = time.time,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._most = max(1, children)
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._environment = dict(environment or {})
        # Two conditions of one lock: a child that is free again is told to who waits for one, never to the
        # thread that ends idle ones.
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._closing = threading.Condition(lock)
        self._idle: list[_Child] = []  # the last one used at the end
        self._busy: set[_Child] = set()
        self._starting = 0
        self._reaping = False
        self._closed = False

    def probe(self) -> None:
        """Start a child and let it go idle. Raises `PidexError` where none can be started."""
        self._give(self._take())

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        """Hash and read one file (`path` absolute). Never raises for what the file contains.

        WHOLE with facts, PENDING or REFUSED with code and reason; UNREAD where the file is not, or no longer,
        what `entry` says, or where no child could look: the caller comes back.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not hang us
        try:
            descriptor = os.open(path, flags)
        except (OSError, ValueError) as error:
            return _unopened(entry, error)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return Look(entry, PlaceState.REFUSED, code="not-a-file", reason="it is not a regular file")
            if _stat(found) != entry.stat:
                return _changed(entry)
            # Any write sets ctime, and nobody can set it back: mtime may be that of the original.
            age = abs(self._clock() - found.st_ctime)
            return self._look(descriptor, entry, check, age)
        finally:
            os.close(descriptor)

    def examine(self, descriptor: int, entry: Entry, check: str) -> Look:
        """As `inspect`, of an open file that is complete: nothing of it is still to come.

        `check` may also be 'strict'. The descriptor stays open, its position stays where it is.
        """
        try:
            # The child gets a description of its own: reading moves no position that somebody else has.
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            own = os.dup(descriptor)
        try:
            return self._look(own, entry, check, self._limits.settled_seconds)
        finally:
            os.close(own)

    def close(self) -> None:
        """End all children. Looks under way come back UNREAD, later ones too."""
        with self._changed:
            self._closed = True
            idle, busy = self._idle, list(self._busy)
            self._idle = []
            self._changed.notify_all()
            self._closing.notify_all()
        for child in busy:
            child.kill()
        for child in idle:
            child.stop()

    def _look(self, descriptor: int, entry: Entry, check: str, age: float) -> Look:
        look = self._asked(descriptor, entry, check, age)
        return look if _stat(os.fstat(descriptor)) == entry.stat else _changed(entry)

    def _asked(self, descriptor: int, entry: Entry, check: str, age: float) -> Look:
        seconds = self._limits.time(entry.stat.size)
        job = Job(entry.path.rpartition("/")[2], check, age, seconds, self._limits)
        try:
            child = self._take()
        except PidexError as error:
            return Look(entry, PlaceState.UNREAD, code="sandbox", reason=str(error))
        answer: Answer | None = None
        try:
            answer = child.ask(job, descriptor, seconds)
        except TimeoutError:
            child.kill()
            return self._lost(entry, "timeout", f"reading it took more than {seconds:.0f} s")
        except (OSError, EOFError, msgspec.DecodeError):
            child.kill()
            return self._lost(entry, "crashed", f"reading it ended the process that read it: {child.fate()}")
        finally:
            # A look that was interrupted in any way leaves an answer behind: that child is of no use.
            self._give(child, spent=answer is None or self._is_spent(child, answer))
        if isinstance(answer, Found):
            return Look(entry, PlaceState.WHOLE, facts=answer.facts)
        if not isinstance(answer, Fault):
            return self._lost(entry, "crashed", "the process that read it answered something else")
        state = PlaceState.PENDING if answer.pending else PlaceState.REFUSED
        return Look(entry, state, code=answer.code, reason=answer.reason)

    def _lost(self, entry: Entry, code: str, reason: str) -> Look:
        """A child was killed: by the file it read, unless it was by `close`."""
        if self._closed:
            return Look(entry, PlaceState.UNREAD, code="stopping", reason="pidex is stopping")
        return Look(entry, PlaceState.REFUSED, code=code, reason=reason)

    def _is_spent(self, child: _Child, answer: Answer) -> bool:
        return child.jobs >= self._limits.jobs or answer.grown > self._limits.memory_bytes // 4

    def _take(self) -> _Child:
        """An idle child or a new one; waits for one where all are busy."""
        with self._changed:
            while True:
                if self._closed:
                    raise PidexError("pidex is stopping")
                while self._idle:
                    child = self._idle.pop()
                    if child.is_alive():
                        self._busy.add(child)
                        return child
                    child.stop()
                if len(self._busy) + self._starting < self._most:
                    self._starting += 1
                    break
                self._changed.wait()
        started: _Child | None = None
        try:
            started = _Child(self._limits.memory_bytes, self._environment)
        finally:
            with self._changed:
                self._starting -= 1
                if started is not None:
                    self._busy.add(started)
                self._changed.notify()
        return started

    def _give(self, child: _Child, *, spent: bool = False) -> None:
        with self._changed:
            self._busy.discard(child)
            keep = not spent and not self._closed
            if keep:
                child.since = time.monotonic()
                self._idle.append(child)
                if not self._reaping:
                    self._reaping = True
                    threading.Thread(target=self._reap, name="sandbox-idle", daemon=True).start()
            self._changed.notify()
        if not keep:
            child.stop()

    def _reap(self) -> None:
        """End children that have been idle for long; ends itself with the last one."""
        while True:
            with self._changed:
                if self._closed or not (self._idle or self._busy or self._starting):
                    self._reaping = False
                    return
                now = time.monotonic()
                old = [child for child in self._idle if now - child.since >= self._idle_seconds]
                self._idle = [child for child in self._idle if child not in old]
                if not old:
                    oldest = min((child.since for child in self._idle), default=now)
                    self._closing.wait(max(0.01, oldest + self._idle_seconds - now))
            for child in old:
                child.stop()


class _Child:
    """One child process and the socket to it. Used by one thread at a time, killed by any."""

    def __init__(self, memory_bytes: int, environment: Mapping[str, str]) -> None:
        self.jobs = 0
        self.since = 0.0
        ours, theirs = socket.socketpair()
        self._socket = ours
        command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(theirs.fileno()), str(memory_bytes)]
        try:
            self._process = subprocess.Popen(  # noqa: S603  the program is ours, no argument is the user's
                [*command, *_import_path()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                start_new_session=True,  # an interrupt from the terminal is the parent's business
            )
        except OSError as error:
            ours.close()
            raise PidexError(f"no process to read archives could be started: {error}") from None
        finally:
            theirs.close()
        try:
            ours.settimeout(_START_SECONDS)
            ready = ours.recv(len(READY)) == READY
        except OSError:
            ready = False
        if not ready:
            self.kill()
            fate = self.fate()
            self.stop()
            raise PidexError(f"no process to read archives could be started: {fate}")

    def ask(self, job: Task, descriptor: int, seconds: float) -> Answer:
        """One job's answer. TimeoutError: none in time. OSError, EOFError, DecodeError: the child failed."""
        self.jobs += 1
        end = time.monotonic() + seconds
        data = encode(job)
        self._socket.settimeout(seconds)
        frame = LENGTH.pack(len(data)) + data
        sent = socket.send_fds(self._socket, [frame], [descriptor])
        if sent < len(frame):
            self._socket.sendall(frame[sent:])
        (length,) = LENGTH.unpack(self._read(LENGTH.size, end))
        if length > MAX_ANSWER:
            raise EOFError("answer too long")
        return decode_answer(self._read(length, end))

    def _read(self, length: int, end: float) -> bytes:
        parts: list[bytes] = []
        while length:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            part = self._socket.recv(min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fate(self) -> str:
        """How a killed or failed child ended, for people."""
        try:
            status = self._process.wait(_STOP_SECONDS)
            said = self._said().decode("utf-8", "replace").strip().splitlines()
        except (subprocess.TimeoutExpired, OSError, ValueError):
            return "it does not answer"
        how = f"status {status}" if status >= 0 else _signal_name(-status)
        return f"{how}: {said[-1][:200]}" if said else how

    def _said(self) -> bytes:
        pipe = self._process.stderr
        return b"" if pipe is None else os.read(pipe.fileno(), 4096)

    def kill(self) -> None:
        """End the process now, if it is not gone already; the socket stays for the thread that reads it."""
        self._process.kill()

    def stop(self) -> None:
        """Let the process go: it ends when its socket closes; one that does not is killed."""
        self._socket.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _import_path() -> Iterable[str]:
    """Where this process imports from, without what depends on the working directory."""
    here = str(Path(pidex.__file__).parent.parent)
    return [*(path for path in sys.path if os.path.isabs(path)), here]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _changed(entry: Entry) -> Look:
    return Look(entry, PlaceState.UNREAD, code="changed", reason="it changed while it was looked at")


def _unopened(entry: Entry, error: OSError | ValueError) -> Look:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Look(entry, PlaceState.UNREAD, code="gone", reason="it is not there any more")
    if isinstance(error, OSError) and error.errno in _OURS:
        return Look(
            entry, PlaceState.UNREAD, code="busy", reason=f"it cannot be opened now: {error.strerror}"
        )
    state = PlaceState.REFUSED
    if isinstance(error, PermissionError):
        reason = "it cannot be read by the user that runs pidex: change its owner or mode"
    elif isinstance(error, OSError) and error.errno == errno.ELOOP:
        reason = "its links run in a circle"
    else:
        if isinstance(error, OSError) and error.errno in _PASSING:
            state = PlaceState.PENDING
        reason = f"it cannot be opened: {error.strerror if isinstance(error, OSError) else error}"
    return Look(entry, state, code="unreadable", reason=reason)
