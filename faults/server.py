"""A server under test: a session of its own, killed whole, and seen gone before anything goes on."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.ports import free_port

#: Seconds to the first answer, and to the end of a process that was killed.
START_SECONDS, END_SECONDS = 60.0, 20.0
#: Pauses between two looks, in seconds.
LOOK_SECONDS = 0.005
#: What makes a command go before what others do on the machine, in the kernel's groups of sessions too.
_FIRST = ("sh", "-c", '{ echo -20 > /proc/self/autogroup; } 2>/dev/null; exec nice -n -19 "$@"', "first")
#: Processor time is counted in these, by the kernel.
TICKS = os.sysconf("SC_CLK_TCK")


class Broken(AssertionError):
    """A promise was broken: the sentence says which."""


def environment(**extra: str) -> dict[str, str]:
    """The environment without settings of pidex, git and Python."""
    outside = re.compile(r"PIDEX_|GIT_|PYTHON|PIP_|.*_PROXY$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not outside.match(name)}
    return kept | {"PIDEX_NO_UPSTREAM": "yes"} | extra


@dataclass
class Server:
    """One command that serves HTTP on `port`; `health` answers 200 as soon as it serves."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    health: str = "/-/health"
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    patience: float = START_SECONDS  # until its first answer
    process: subprocess.Popen[bytes] | None = None
    #: Seconds of processor time that all its processes had taken at the first answer.
    started_with: float = 0.0

    def start(self) -> float:
        """Start it; the seconds until its first answer."""
        before = time.monotonic()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(**self.environ),
                cwd=self.folder,
                start_new_session=True,
            )
        while not self._answers():
            if self.process.poll() is not None:
                raise Broken(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > before + self.patience:
                raise Broken(f"{self.name} gives no answer within {self.patience:g} s: {self.tail()}")
            time.sleep(LOOK_SECONDS)
        took = time.monotonic() - before
        self.started_with = sum(_processor_seconds(pid) for pid, _ in family(self.process.pid))
        return took

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL to every process of its session; the port is closed and nobody left when this returns."""
        if self.process is None:
            return
        end = time.monotonic() + END_SECONDS
        others = family(self.process.pid)
        while found := members(self.process.pid):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            if time.monotonic() > end:
                raise Broken(f"{self.name}: processes {found} survive SIGKILL")
            time.sleep(LOOK_SECONDS)
        self.process.wait()
        self.process = None
        # What runs in sessions of its own (git, who looks into archives) ends because we are gone.
        while left := [each for each in others if _since(each[0]) == each[1]]:
            if time.monotonic() > end:
                raise Broken(f"{self.name}: {left} outlive the server by {END_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        # A process whose threads still end holds its sockets, though it is a zombie already.
        while self._listens():
            if time.monotonic() > end:
                raise Broken(f"{self.name}: the port {self.port} is still open after SIGKILL to all")
            time.sleep(LOOK_SECONDS)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """SIGTERM, and what that leaves is killed."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
            self.kill()

    @property
    def alive(self) -> bool:
        """Whether its main process runs."""
        return self.process is not None and self.process.poll() is None

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def tracebacks(self) -> int:
        """How many tracebacks its log has."""
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")


def members(session: int) -> list[int]:
    """The processes of a session that run (Linux)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.append(int(entry))
    return found


def family(pid: int) -> list[tuple[int, str]]:
    """A process and all that descend from it: numbers and starts."""
    parents: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for each in found:
        found += parents.get(each, ())
    return [(each, start) for each in found if (start := _since(each))]


def _processor_seconds(pid: int) -> float:
    """What a process, and its children that have ended, took of the processor, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def _since(pid: int) -> str:
    """When a process that runs was started, in the kernel's words; empty where it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def pidex(
    folder: Path,
    data: Path,
    log: Path,
    *options: str,
    workers: int = 2,
    environ: Mapping[str, str] | None = None,
) -> Server:
    """pidex over a folder, open to everybody, from the checkout that this module lies in."""
    port = free_port()
    command = [sys.executable, "-m", "pidex", "serve", str(folder), "--data", str(data), "-p", str(port)]
    command += ["--workers", str(workers), "--no-access-log", "--guard", "", *options]
    return Server("pidex", command, port, log, environ=environ or {}, folder=Path(__file__).parents[1])


def go_first(server: Server) -> None:
    """Have a server and this process, which are measured, go before all others where that is allowed."""
    if os.geteuid() == 0:
        server.command = [*_FIRST, *server.command]
        put_first(os.getpid())


def put_first(pid: int) -> None:
    """Have a process, and the session that it is in, go before all others, where that is allowed."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-20")
        os.setpriority(os.PRIO_PROCESS, pid, -19)


@contextlib.contextmanager
def under_test(
    server: Server, base: Path, seed: int, *, afterwards: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """For a block with `server`: killed behind it, `afterwards` called, and `base` removed if all was well.

    A `Broken` of the block says with which seed it came about, and where the remains are kept.
    """
    try:
        yield
    except Broken as error:
        raise Broken(f"seed {seed}: {error} (kept: {base})") from None
    finally:
        server.kill()
        afterwards()
    shutil.rmtree(base)
