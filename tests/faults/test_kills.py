"""Kills of the whole session: at random moments and named steps, under everything that writes."""

from __future__ import annotations

import shutil
import socket
import time
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from faults import kills
from faults.kills import ask_control
from faults.server import family, pidex
from faults.steps import REPAIRS, STEPS

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="NOT TESTED: git is not installed"),
    pytest.mark.timeout(300),
]


def test_nothing_acknowledged_is_lost_by_kills() -> None:
    """The short form of `scripts/faults kills`."""
    figures = kills.run(rounds=2, seed=1)
    assert figures["rounds"] == 2
    assert int(str(figures["names checked"])) > 0


@pytest.mark.parametrize("step", [*STEPS, *REPAIRS])
def test_every_step_is_one_of_the_program(step: str) -> None:
    """Also without a kill: who renames one hears of it at once."""
    module, _, name = step.partition(":")
    assert callable(attrgetter(name)(import_module(module)))


def test_git_ends_when_the_server_is_killed_within_a_push(tmp_path: Path) -> None:
    """`git http-backend` that was told a length turns for ever where its input ends before."""
    folder = tmp_path / "packages"
    folder.mkdir()
    server = pidex(folder, tmp_path / "data", tmp_path / "log", workers=1)
    try:
        server.start()
        ask_control(tmp_path / "data", "git.enable", index="main", empty=True)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            lines = ["POST /main.git/git-receive-pack HTTP/1.1", "Host: x", "Content-Length: 100000"]
            lines.append("Content-Type: application/x-git-receive-pack-request")
            client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n0fa0" + b"x" * 1000)
            assert server.process is not None
            end = time.monotonic() + 20
            while not any("http-backend" in command(pid) for pid, _ in family(server.process.pid)):
                assert time.monotonic() < end, "git was not started"
                time.sleep(0.02)
            server.kill()  # raises where something outlives it
    finally:
        server.kill()


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""
