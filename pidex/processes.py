"""Processes: the listening socket, the workers that share it, the main process's loops, and their end."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import logging
import multiprocessing
import os
import signal
import socket
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from pidex.core.errors import CannotStart, PidexError

#: Connections that wait to be accepted.
BACKLOG = 1024
#: Seconds that a client may take for a request's head (T17).
HEAD_SECONDS = 15
#: Bytes of a request's head at most.
HEAD_BYTES = 64 * 1024
#: Seconds in which a re-read worker takes over before the old one stops.
TAKE_OVER_SECONDS = 1.0
#: More workers than this that ended unexpectedly within a minute, and the server ends.
CRASHES_A_MINUTE = 10
#: Seconds that a loop which died rests: doubling from the first to the second.
REST_SECONDS = (1.0, 60.0)
#: Seconds that a loop may take to stop.
STOP_SECONDS = 5.0

_PR_SET_PDEATHSIG = 1
#: mallopt's names for the most arenas, and for the size from which on memory is the system's own.
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
#: Bytes of a block that goes back to the system as soon as it is free: whole pages of upstreams.
_OWN_BLOCK = 1 << 20
#: Seconds after which freed memory is given back, whether much was freed or little.
TRIM_SECONDS = 60.0

log = logging.getLogger("pidex.processes")

Loop = Callable[[threading.Event], None]


class DataLock:
    """The right to serve a data directory, held until the process ends or `release` is called."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd = -1

    def acquire(self) -> None:
        """Take it. Raises `CannotStart`, naming who holds it."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"The data directory {self._path.parent} cannot be written: {error.strerror}."
                " Run as its owner, or name another one with --data."
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise CannotStart(
                    f"The data directory {self._path.parent} cannot be locked: {error.strerror}."
                ) from error
            by = f" by process {holder}" if holder.isdigit() else ""
            raise CannotStart(
                f"The data directory {self._path.parent} is already in use{by}: another pidex serves it."
                " Stop that one first, or name another data directory with --data."
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def holder(self) -> int | None:
        """The process that holds it, or None."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(fd, 32, 0).strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(fd)
        return None

    def release(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


class Loops:
    """Functions that run until an event, each in a thread; one that raises is logged and started again."""

    def __init__(self, loops: Mapping[str, Loop]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, loop), name=f"pidex-{name}", daemon=True)
            for name, loop in loops.items()
        ]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask all to end, and wait; one that does not end in STOP_SECONDS dies with the process."""
        self._stop.set()
        end = monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))
            if thread.is_alive():
                log.warning("The loop %s did not stop in %g s.", thread.name, STOP_SECONDS)

    def _run(self, name: str, loop: Loop) -> None:
        rest, longest = REST_SECONDS
        while not self._stop.is_set():
            began = monotonic()
            try:
                loop(self._stop)
            except Exception as error:
                if monotonic() - began > longest:
                    rest = REST_SECONDS[0]
                if isinstance(error, PidexError):  # a sentence says it all: the disk is full, say
                    log.error("The loop %s starts again in %g s: %s", name, rest, error)
                else:
                    log.exception("The loop %s failed; it starts again in %g s.", name, rest)
                self._stop.wait(rest)
                rest = min(rest * 2, longest)
            else:
                return


def listen(host: str, port: int, *, by: tuple[str, str] = ("-p", "-i")) -> socket.socket:
    """Listen on TCP; port 0 takes a free one, `::` takes IPv4 too. Raises `CannotStart` with one sentence.

    `by`: the settings that name port and host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise CannotStart(
            f"The address {host} cannot be listened on: {_said(error)}. Choose one with {by[1]}."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"Port {port} of {host} is taken by another program. Choose another with {by[0]}, or stop it."
            ) from error
        if error.errno == errno.EACCES:
            raise CannotStart(
                f"Port {port} needs more rights than this user has. Choose one above 1023."
            ) from error
        raise CannotStart(
            f"{host} port {port} cannot be listened on: {_said(error)}. Choose an address with {by[1]}."
        ) from error
    listener.setblocking(False)
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that everybody on this machine may use; one left behind is replaced.

    Raises `CannotStart` with one sentence.
    """
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()  # its server has gone without cleaning up
                else:
                    raise CannotStart(
                        f"The socket {path} is served by another program. Choose another with --socket."
                    )
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CannotStart(f"The socket {path} cannot be used: {_said(error)}.") from error
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        os.chmod(path, 0o666)  # noqa: S103  # as open as a port of 127.0.0.1
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"The socket {path} cannot be made: {_said(error)}. Choose another with --socket."
        ) from error
    listener.setblocking(False)
    return listener


def die_with(parent: int) -> None:
    """End this process when its parent does, however that dies. Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before that
            os._exit(1)


def few_arenas() -> None:
    """Have the C library serve all threads from two arenas: by default each of a dozen threads keeps one.

    What reading big pages of upstreams takes is given back. Linux with glibc only; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_ARENA_MAX, 2)
            # By default the C library raises this to the largest block that was ever freed.
            libc.mallopt(_M_MMAP_THRESHOLD, _OWN_BLOCK)


def trim() -> None:
    """Have the C library give back what it keeps of freed memory. Linux with glibc only."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl
            ctypes.CDLL(None).malloc_trim(0)


def give_back(stop: threading.Event) -> None:
    """`trim` once a minute, until `stop`."""
    while not stop.wait(TRIM_SECONDS):
        trim()


def raise_file_limit() -> None:
    """Use as many descriptors as this user may."""
    import resource  # noqa: PLC0415  # not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Workers(MPServer):
    """The workers over one listening socket, which the main process holds too.

    One accept queue for all of them: no connection is lost when a worker is replaced or killed, and the port
    is taken in one step. `load(number, parent)` makes the application inside a worker. `reread()` is called
    on SIGHUP: workers are replaced where it returns True. `started` and `stopped` are called in the main
    process, while the first workers start and after the last one ended; what `started` raises ends them.
    """

    def __init__(
        self,
        listener: socket.socket,
        load: Callable[[int, int], Any],
        *,
        workers: int,
        grace: float,
        certificate: tuple[Path, Path] | None,
        reread: Callable[[], bool],
        started: Callable[[], None],
        stopped: Callable[[], None],
    ) -> None:
        cert, key = certificate or (None, None)
        super().__init__(
            "pidex",
            interface=Interfaces.ASGI,
            workers=workers,
            http=HTTPModes.auto,
            websockets=False,
            backlog=BACKLOG,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=max(HEAD_BYTES, 8192)
            ),
            log_level=LogLevels.warning,
            ssl_cert=cert,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
            respawn_failed_workers=True,
            respawn_interval=TAKE_OVER_SECONDS,
            workers_kill_timeout=max(grace, 0.1),  # type: ignore[arg-type]  # whole seconds are its own idea
        )
        self._listener, self._load = listener, load
        self._reread, self._started = reread, started
        self._crashes: deque[float] = deque(maxlen=CRASHES_A_MINUTE)
        self.on_shutdown(stopped)

    def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        multiprocessing.set_start_method("spawn", force=True)
        try:
            self.serve(target_loader=self._load, wrap_loader=False)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def _init_shared_socket(self) -> None:
        unix = self._listener.family == socket.AF_UNIX
        own: Any = self  # the server's own attributes are not typed
        own._shd = SocketHolder(self._listener.fileno(), unix, BACKLOG)  # type: ignore[call-arg]
        own._sfd, own._ssp = self._listener.fileno(), None
        self._listener.set_inheritable(True)
        own._sso = self._listener

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        # The first loads while this process does; the others after them, so that the first answer waits
        # for two processes only.
        every, self.workers = self.workers, 1
        try:
            super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]
            with _loading():
                self._started()
        except BaseException:
            self._stop_workers()  # type: ignore[no-untyped-call]
            raise
        finally:
            self.workers = every
        for index in range(1, every):
            worker = self._spawn_worker(idx=index, target=spawn_target, callback_loader=target_loader)
            worker.start()
            self.wrks.append(worker)

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
        spawned = super()._spawn_worker(idx, target, partial(_made, callback_loader, idx + 1, os.getpid()))
        spawned.join = partial(_join, spawned.inner)  # type: ignore[method-assign]
        return spawned

    def _respawn_workers(self, workers: Any, spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        if not delay:  # they ended by themselves
            now = monotonic()
            self._crashes.extend(now for _ in workers)
            recent = sum(1 for at in self._crashes if now - at < 60)
            log.error(
                "Worker %s ended unexpectedly; another takes its place.",
                ", ".join(str(i + 1) for i in workers),
            )
            if recent >= CRASHES_A_MINUTE:
                log.error("%d workers ended within a minute: giving up.", recent)
                self.interrupt_children.extend(workers)
                self.interrupt_signal = True
                self.main_loop_interrupt.set()
                return
            sleep(min(0.05 * 2**recent, 2.0) if recent > 1 else 0)
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        # Its own guard gives up at the second crash within 5 s: ours counts.
        self.respawned_wrks.clear()

    def _reload(self, spawn_target: Any, target_loader: Any) -> Any:
        if self._reread():
            return super()._reload(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        return None


@contextmanager
def _loading() -> Iterator[None]:
    """Nobody looks for garbage while a process loads what stays, nor in that later: a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _made(load: Callable[[int, int], Any], number: int, parent: int) -> Any:
    """A worker's application, in its own process."""
    with _loading():
        return load(number, parent)


def _join(process: BaseProcess, timeout: float | None = None) -> None:
    """Wait for a process; one that has begun to end is waited for to its end, and not taken for stubborn."""
    process.join(timeout)
    if timeout is not None and connection.wait([process.sentinel], 0):
        process.join()


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
