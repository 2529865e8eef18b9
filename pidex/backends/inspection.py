"""The child process that reads other people's bytes: limited, one job at a time, ends with its parent."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from typing import BinaryIO, Final

import msgspec

from pidex.core import interiors
from pidex.core.archives import inspect
from pidex.core.errors import BadName, Incomplete, NotFound, Unsound
from pidex.core.interiors import Excerpt, Members
from pidex.core.limits import MIB, Limits
from pidex.core.model import Facts

LENGTH: Final = struct.Struct(">I")
#: Bytes of a job's frame, and of an answer's (metadata is at most 1 MiB by default).
MAX_JOB: Final = 64 << 10
MAX_ANSWER: Final = 16 * MIB
#: What the child says once it is ready.
READY: Final = b"ready\n"
#: Descriptors a child may have: its own few, and one file.
_DESCRIPTORS: Final = 32
#: Seconds of processor time for a README (quality B9). The parent waits longer: a machine may be busy.
_README_SECONDS: Final = 2.0


class Job(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Look into the file whose descriptor comes along. `seconds` bounds the processor time."""

    filename: str
    check: str
    age: float
    seconds: float
    limits: Limits


class Render(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Make HTML of the text in the file. None of it reaches anybody before it has been cleaned twice."""

    content_type: str | None
    seconds: float


class Open(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """List what is in the archive, or (`member` given) read the beginning of one file in it."""

    filename: str
    member: str | None
    seconds: float
    limits: Limits


Task = Job | Render | Open


class Found(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The file is what its name says. `grown`: bytes the child's peak memory rose since it started."""

    facts: Facts
    grown: int


class Fault(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The file is not: `pending` where its end may still come."""

    pending: bool
    code: str
    reason: str
    grown: int


class Rendered(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A text as HTML; None: it cannot be rendered."""

    html: str | None
    grown: int


class Inside(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What is in an archive: its members, or the beginning of one."""

    members: Members | None
    excerpt: Excerpt | None
    grown: int


Answer = Found | Fault | Rendered | Inside

encode = msgspec.msgpack.Encoder().encode
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_tasks: msgspec.msgpack.Decoder[Task] = msgspec.msgpack.Decoder(Task)


def decode_answer(data: bytes) -> Answer:
    """What a child answered. Raises `msgspec.DecodeError`: the child is not trusted."""
    return _answers.decode(data)


def main(descriptor: int, memory_bytes: int) -> None:
    """Serve jobs from a socket until the parent closes it. Runs in a process of its own."""
    connection = socket.socket(fileno=descriptor)
    threading.stack_size(256 << 10)
    threading.Thread(target=_end_with_parent, args=(connection.fileno(),), daemon=True).start()
    _confine(memory_bytes)
    start = _peak()
    connection.sendall(READY)
    while (received := _receive(connection)) is not None:
        task, file = received
        answer = _done(task, file, start)
        data = encode(answer)
        connection.sendall(LENGTH.pack(len(data)) + data)


def _done(task: Task, descriptor: int, start: int) -> Answer:
    _allow_seconds(task.seconds)
    if isinstance(task, Job):
        return _look(task, descriptor, start)
    with open(descriptor, "rb", buffering=64 << 10) as file:
        try:
            if isinstance(task, Open):
                return _opened(task, file, start)
            from pidex.backends import rendering  # noqa: PLC0415  # only a child that renders pays for it

            text = file.read().decode("utf-8", "replace")
            signal.setitimer(signal.ITIMER_PROF, _README_SECONDS)  # what takes longer ends the process
            try:
                html = rendering.render(text, task.content_type)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            return Rendered(html, _peak() - start)
        except MemoryError:
            return Fault(False, "too-large", "reading it takes more memory than allowed", _peak() - start)


def _opened(task: Open, file: BinaryIO, start: int) -> Answer:
    try:
        if task.member is None:
            return Inside(interiors.members(file, task.filename, task.limits), None, _peak() - start)
        found = interiors.excerpt(file, task.filename, task.member, task.limits)
        return Inside(None, found, _peak() - start)
    except NotFound as error:
        return Fault(False, error.code, str(error), _peak() - start)
    except (Unsound, BadName, OSError) as error:
        return Fault(False, "unreadable", f"{task.filename} cannot be read: {error}.", _peak() - start)


def _look(job: Job, descriptor: int, start: int) -> Answer:
    pending, code, reason = False, "unreadable", ""
    try:
        with open(descriptor, "rb", buffering=64 << 10) as file:
            facts = inspect(file, job.filename, limits=job.limits, check=job.check, age=job.age)
        return Found(facts, _peak() - start)
    except Unsound as error:
        pending, code, reason = isinstance(error, Incomplete), error.reason_code, str(error)
    except BadName as error:
        code, reason = error.code, str(error)
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
    except MemoryError:
        code = "too-large"
        reason = f"reading it takes more than the {job.limits.memory_bytes:,} bytes of memory allowed"
    return Fault(pending, code, reason, _peak() - start)


def _receive(connection: socket.socket) -> tuple[Task, int] | None:
    """The next job and its file, None when the parent is gone."""
    data, descriptors, _, _ = socket.recv_fds(connection, MAX_JOB, 1)
    if not data or not descriptors:
        return None
    while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
        more = connection.recv(MAX_JOB)
        if not more:
            return None
        data += more
    return _tasks.decode(data[LENGTH.size :]), descriptors[0]


def _end_with_parent(descriptor: int) -> None:
    """Leave at once when the other end of the socket is closed, in the middle of a job too.

    Not PR_SET_PDEATHSIG: that fires when the *thread* ends that started the child, which need not be the
    end of the parent.
    """
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is always told
    poll.poll()
    os._exit(0)


def _confine(memory_bytes: int) -> None:
    """No more memory than this, few descriptors, nothing written, no core dump."""
    for kind, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)  # noqa: PLW2901
        try:
            resource.setrlimit(kind, (bound, bound))
        except (ValueError, OSError):
            continue  # macOS knows no limit of address space


def _allow_seconds(seconds: float) -> None:
    """Processor time for one job, beside the time that the parent measures."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    bound = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(
        resource.RLIMIT_CPU, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard)
    )


def _peak() -> int:
    """Bytes of memory at the highest so far (macOS counts in bytes, others in KiB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
