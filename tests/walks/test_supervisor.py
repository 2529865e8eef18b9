"""Scenarios S6 to S9: the server under supervisord, as the seed's procedure sets it up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from bench.ports import free_port
from tests.clients.environments import CLIENTS, TOP, Unavailable, make
from tests.samples import wheel, write
from tests.walks.server import environment, family, fetch, run, until

CONFIGURATION = """\
[supervisord]
nodaemon=true
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
user={user}

[unix_http_server]
file={home}/sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{home}/sock

[program:index]
command=sh run-index.sh
directory={home}
autostart=true
autorestart=true
redirect_stderr=true
stopasgroup=true
killasgroup=true
stdout_logfile={home}/index.log
"""


class Supervisor:
    """A supervisord of our own with one program, the server. `pid` and `state` are what it says of that."""

    def __init__(self, home: Path, folder: Path, *, replace: str = "exec ") -> None:
        self.home, self.folder, self.port = home, folder, free_port()
        self.programs = make(CLIENTS["supervisor"]) / "bin"
        (home / "supervisord.conf").write_text(CONFIGURATION.format(home=home, user=os.getuid()))
        (home / "run-index.sh").write_text(
            f"cd {TOP}\n{replace}{sys.executable} -m pidex serve -p {self.port} {folder}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "said").open("ab") as out:
            self.process = subprocess.Popen(
                [self.programs / "supervisord", "-c", self.home / "supervisord.conf"],
                stdout=out, stderr=out, env=environment(), start_new_session=True, cwd=self.home,
            )  # fmt: skip

    def end(self) -> None:
        """Stop supervisord, which stops the server."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def ctl(self, *arguments: str) -> str:
        return run(self.programs / "supervisorctl", "-c", self.home / "supervisord.conf", *arguments)

    @property
    def pid(self) -> int:
        return int(self.ctl("pid", "index"))

    @property
    def log(self) -> str:
        return (self.home / "index.log").read_text()

    def logged(self, text: str) -> bool:
        """Is this in the server's log?"""
        return text in self.log

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return fetch(f"http://127.0.0.1:{self.port}/simple/demo/").status == 200
        return False

    def wait(self) -> None:
        until(self.answers, why="no answer from the supervised server")


S = TypeVar("S", bound=Supervisor)


@contextlib.contextmanager
def supervised(make: Callable[[], S]) -> Iterator[S]:
    """What it makes, started and answering; skips where there is no supervisord. No traceback at the end."""
    try:
        made = make()
    except Unavailable as reason:
        pytest.skip(str(reason))
    made.start()
    try:
        made.wait()
        yield made
    finally:
        made.end()
        with contextlib.suppress(FileNotFoundError):
            print(made.log[-4000:])
    assert "Traceback" not in made.log


@pytest.fixture(params=["exec "])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Iterator[Supervisor]:
    write(folder, wheel("demo", "1.0"))
    with supervised(lambda: Supervisor(tmp_path, folder, replace=request.param)) as made:
        yield made


def test_s6_it_runs_after_a_restart_of_supervisor(supervisor: Supervisor) -> None:
    until(lambda: "RUNNING" in supervisor.ctl("status"), why="not RUNNING")
    supervisor.end()
    assert not supervisor.answers()
    supervisor.start()
    supervisor.wait()
    assert "address already in use" not in supervisor.log.lower()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_s7_it_comes_up_again_when_it_was_killed(supervisor: Supervisor, how: signal.Signals) -> None:
    until(lambda: "RUNNING" in supervisor.ctl("status"))  # it starts again only what has run for a second
    old = supervisor.pid
    before = family(old)
    os.kill(old, how)
    begin = time.monotonic()
    until(
        lambda: not any(each.alive for each in before) and supervisor.answers(),
        why="it did not come up again",
    )
    print(f"S7: up again {time.monotonic() - begin:.1f} s after {how.name}")
    assert supervisor.pid != old


@pytest.mark.parametrize("supervisor", ["exec ", ""], ids=["exec", "shell"], indirect=True)
def test_s8_stop_leaves_nothing(supervisor: Supervisor) -> None:
    """Also where the script forgets `exec`: stopasgroup reaches the server behind the shell."""
    before = family(supervisor.pid)
    assert len(before) > 1
    supervisor.ctl("stop", "index")
    until(lambda: not any(each.alive for each in before), why=f"left behind: {before}")
    with pytest.raises(ConnectionRefusedError):
        fetch(f"http://127.0.0.1:{supervisor.port}/")
    supervisor.ctl("start", "index")
    supervisor.wait()


def test_s9_lines_arrive_as_they_are_made(supervisor: Supervisor) -> None:
    for number in range(3):
        path = f"/simple/not-there-{number}/"
        fetch(f"http://127.0.0.1:{supervisor.port}{path}")
        until(partial(supervisor.logged, path), why="the request's line is not in the log")
    lines = [line for line in supervisor.log.splitlines() if "/simple/not-there-" in line]
    assert len(lines) == 3
    assert "deprecat" not in supervisor.log.lower()


def test_s25_a_restart_of_supervisor_leaves_one_server(supervisor: Supervisor) -> None:
    """As `/etc/init.d/supervisor stop; start` does it, three times in a row: one server, at the same URL."""
    for _ in range(3):
        before = family(supervisor.pid)
        supervisor.end()
        until(lambda before=before: not any(each.alive for each in before), why=f"left: {before}")  # type: ignore[misc]
        supervisor.start()
        supervisor.wait()
    until(lambda: "RUNNING" in supervisor.ctl("status"))
    assert serving(supervisor.folder) == {supervisor.pid}


def serving(folder: Path) -> set[int]:
    """The processes with this folder in their command line that run `pidex serve`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"serve" in words and os.fsencode(folder) in words:
                found.add(int(path.parent.name))
    return found
