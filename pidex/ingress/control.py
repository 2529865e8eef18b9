"""The server's Unix socket: calls of commands that change something, by who owns the data directory."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import os
import pwd
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pidex.core.errors import (
    BadRequest,
    CannotStart,
    Changing,
    Forbidden,
    NotFound,
    PidexError,
    StorageFull,
    TooLarge,
)
from pidex.core.model import OPERATOR, Principal

#: The socket's name in the data directory.
NAME = "control.sock"
#: Bytes of a Unix socket's path at most, without the zero at its end (Linux: 108 with it, macOS: 104).
PATH_BYTES = 107 if sys.platform == "linux" else 103
#: Bytes of a line, files handed over with one, and callers served at the same time.
LINE_BYTES, MOST_FILES, CALLERS = 1024 * 1024, 64, 8
#: Seconds that a caller may take for a line, and between two looks whether to stop.
LINE_SECONDS, TURN_SECONDS = 30.0, 0.25
_BLOCK_BYTES = 64 * 1024

#: A service's method: takes what a caller names, `by`, and where it has them `progress` and `files`.
Call = Callable[..., object]
#: What long calls tell while they work: done, and to do in all.
Progress = Callable[[int, int], None]

log = logging.getLogger("pidex.control")


class Control:
    """Answers calls on `<folder>/control.sock`, each in a thread, until it is told to stop.

    A call is a line of JSON, `{"call": "curator.yank", "args": {...}}`. Its answer is any number of lines
    `{"progress": [done, total]}` and one `{"result": ...}` or `{"error": {"code", "message"}}`. Open files
    may come with a line (SCM_RIGHTS): they are what the call takes as `files`.

    Only root and who owns `folder` are listened to. They act as the operator, under their system name, which
    the kernel tells and no caller can choose.
    """

    def __init__(self, folder: Path, calls: Mapping[str, Call]) -> None:
        self._folder = folder
        self._calls = calls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop`; the calls under way are ended first. Raises `CannotStart`."""
        with ExitStack() as stack:
            listener = stack.enter_context(listen(self._folder))
            pool = ThreadPoolExecutor(CALLERS, "pidex-control")
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(self._hang_up)
            stack.callback((self._folder / NAME).unlink, missing_ok=True)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with self._lock:
                    self._open.add(connection)
                pool.submit(self._serve, connection)

    def _hang_up(self) -> None:
        """Let who waits for a caller's next line go; answers still reach their callers."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(LINE_SECONDS)
                by = self._caller(connection)
                for line, files in _lines(connection):
                    with ExitStack() as stack:
                        opened = [stack.enter_context(os.fdopen(fd, "rb")) for fd in files]
                        self._answer(connection, line, opened, by)
        except PidexError as error:
            _tell(connection, _refused(error))
        except OSError as error:
            log.debug("a caller has gone: %s", error)
        except Exception:
            log.exception("a call could not be read")
        finally:
            with self._lock:
                self._open.discard(connection)

    def _caller(self, connection: socket.socket) -> Principal:
        uid = peer(connection)
        if uid not in (0, os.geteuid(), self._folder.stat().st_uid):
            error = Forbidden("The data directory belongs to somebody else: run the command as its owner.")
            _tell(connection, _refused(error))
            raise ConnectionAbortedError("not the owner")
        return operator(uid)

    def _answer(
        self, connection: socket.socket, line: bytes, files: Sequence[BinaryIO], by: Principal
    ) -> None:
        def progress(done: int, total: int) -> None:
            with suppress(OSError):  # who does not listen any more does not stop the work
                _tell(connection, {"progress": [done, total]})

        name = "?"
        try:
            name, args = _read(line)
            if name not in self._calls:
                raise NotFound(
                    f"This server has no call {name!r}: is it older than this command? Restart it."
                )
            told = {"result": plain(invoke(self._calls[name], args, files, progress, by=by))}
        except PidexError as error:
            told = _refused(error)
        except Exception as error:
            log.exception("the call %s failed", name)
            told = {"error": {"code": "error", "message": f"{name} failed; the server's log says more."}}
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                told = _refused(
                    StorageFull("There is no space left on a disk of this server. Free some there.")
                )
        _tell(connection, told)


def invoke(
    call: Call, args: Mapping[str, object], files: Sequence[BinaryIO], progress: Progress, *, by: Principal
) -> object:
    """Call a service with what a caller named. Raises `BadRequest` where that is not what it takes."""
    given: dict[str, object] = {**args, "by": by}
    signature = inspect.signature(call)
    if "progress" in signature.parameters:
        given["progress"] = progress
    if files or "files" in signature.parameters:
        given["files"] = list(files)
    try:
        signature.bind(**given)
    except TypeError as error:
        raise BadRequest(f"The call does not take these arguments: {error}.") from None
    return call(**given)


def operator(uid: int) -> Principal:
    """Who acts by command as the owner of the data directory: the operator, by the system's name."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return OPERATOR._replace(name=name, via="command")


def peer(connection: socket.socket) -> int:
    """The user at the other end, as the kernel says."""
    if sys.platform == "linux":
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", told)[1])
    told = connection.getsockopt(0, 1, 76)  # macOS: SOL_LOCAL, LOCAL_PEERCRED, struct xucred
    return int(struct.unpack_from("2I", told)[1])


def listen(folder: Path) -> socket.socket:
    """Listen in a data directory whose lock is held, so that a socket found there is a dead one's."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        (folder / NAME).unlink(missing_ok=True)
        if sys.platform == "linux":
            os.fchmod(listener.fileno(), 0o600)  # before it can be connected to
        with _address(folder) as address:
            listener.bind(address)
        os.chmod(folder / NAME, 0o600)
        listener.listen(CALLERS)
        listener.settimeout(TURN_SECONDS)
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"The socket for commands, {folder / NAME}, cannot be made: {error.strerror or error}."
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough to bind or connect to."""
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= PATH_BYTES:
        yield path
        return
    if sys.platform != "linux":
        raise CannotStart(
            f"The path {path} is longer than {PATH_BYTES} bytes, which is all a Unix socket may have:"
            " commands cannot reach this server. Name a data directory with a shorter path by --data."
        )
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)


# --- the caller's side --------------------------------------------------------------------------------------


def ask(
    folder: Path,
    name: str,
    args: Mapping[str, object],
    *,
    files: Sequence[BinaryIO] = (),
    progress: Progress | None = None,
) -> Any:
    """Call the server that holds a data directory; the result as JSON has it.

    Raises what the service raised, and `ConnectionError` or `FileNotFoundError` where no server answers: it
    did nothing then. `Changing` where it ended in the middle: nobody can say whether it did.
    """
    request = json.dumps({"call": name, "args": args}).encode() + b"\n"
    if len(request) > LINE_BYTES or len(files) > MOST_FILES:
        raise TooLarge(f"One call takes {MOST_FILES} files and {LINE_BYTES} bytes of arguments at most.")
    with socket.socket(socket.AF_UNIX) as connection:
        with _address(folder) as address:
            connection.connect(address)
        sent = socket.send_fds(connection, [request], [file.fileno() for file in files])
        if sent < len(request):
            connection.sendall(request[sent:])
        with suppress(ConnectionError):
            for line, _ in _lines(connection):
                told = json.loads(line)
                if "error" in told:
                    raise _raised(told["error"])
                if "result" in told:
                    return told["result"]
                if progress is not None:
                    progress(*told["progress"])
    raise Changing(f"The server ended before it had answered {name}. See what it did before trying again.")


def plain(value: object) -> Any:
    """A service's result as JSON has it."""

    def shown(each: object) -> object:
        if is_dataclass(each) and not isinstance(each, type):
            return asdict(each)
        if isinstance(each, set | frozenset):
            return sorted(each)
        return str(each)

    return json.loads(json.dumps(value, default=shown))


def _raised(told: Mapping[str, Any]) -> PidexError:
    code, message = str(told.get("code")), str(told.get("message"))
    classes: list[type[PidexError]] = [PidexError]
    for each in classes:
        classes += each.__subclasses__()
        if each.code == code and "code" not in inspect.signature(each).parameters:
            return each(message, retry_after=told.get("retry_after"))
    return PidexError(message)


def _refused(error: PidexError) -> dict[str, object]:
    told: dict[str, object] = {"code": error.code, "message": str(error)}
    if error.retry_after is not None:
        told["retry_after"] = error.retry_after
    return {"error": told}


# --- lines --------------------------------------------------------------------------------------------------


def _read(line: bytes) -> tuple[str, Mapping[str, object]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("A call is one line of JSON.") from None
    if not isinstance(request, dict) or not isinstance(request.get("call"), str):
        raise BadRequest('A call is {"call": NAME, "args": {...}}.')
    args = request.get("args", {})
    if not isinstance(args, dict) or {"by", "progress", "files"} & set(args):
        raise BadRequest("The arguments of a call are an object, and who calls is not among them.")
    return request["call"], args


def _lines(connection: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    """Each line, with the descriptors that came with it: who takes them closes them."""
    buffer = bytearray()
    held: list[int] = []
    try:
        while True:
            data, fds, flags, _ = socket.recv_fds(connection, _BLOCK_BYTES, MOST_FILES)
            held += fds
            for fd in fds:
                os.set_inheritable(fd, False)
            if flags & socket.MSG_CTRUNC or len(held) > MOST_FILES:
                raise TooLarge(f"More than {MOST_FILES} files came with a call.")
            if not data:
                return
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                taken, held = held, []
                yield line, taken
            if len(buffer) > LINE_BYTES:
                raise TooLarge(f"A call is longer than {LINE_BYTES} bytes.")
    finally:
        for fd in held:
            os.close(fd)


def _tell(connection: socket.socket, told: Mapping[str, object]) -> None:
    connection.sendall(json.dumps(told).encode() + b"\n")
