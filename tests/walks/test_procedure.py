"""The whole procedure in its order: install, supervisor, packages by git, FTP and twine, a kill, a stop.

Order and steps are those of the scenarios S1 to S26; here they happen to one server, one after the other.
"""

from __future__ import annotations

import ftplib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.clients.conftest import have  # noqa: F401  # a fixture
from tests.clients.environments import TOP
from tests.clients.installers import Installer
from tests.samples import Sample, wheel, write
from tests.walks.server import Offline, environment, family, fetch, run, run_online, until
from tests.walks.test_git_push import Clone
from tests.walks.test_supervisor import CONFIGURATION, Supervisor, supervised

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.timeout(420),
]

PASSWORD = "correct horse"
#: The port of the seed's procedure, and pidex's own.
PORT = 3141
Have = Callable[[str], Installer]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are after `pip install` of this checkout into a fresh virtual environment."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", venv)
    # Only pidex itself is built: nothing else may need a compiler.
    options = ("--prefer-binary", "--only-binary", ":all:", "--no-binary", "pidex")
    python = venv / "bin" / "python"
    try:
        run_online(
            python, "-m", "pip", "install", "-q", "--no-compile", *options, TOP, environ={"CC": "/bin/false"}
        )
    except Offline as reason:
        pytest.skip(str(reason))
    return python.parent


def test_s1_a_fresh_environment_gets_the_commands(programs: Path) -> None:
    """No compiler is needed, and the dependencies are few."""
    for program in ("pidex", "pypi-server"):
        assert run(programs / program, "--version").strip()
        assert "serve" in run(programs / program, "-h")
    installed = run(programs / "python", "-m", "pip", "list", "--format=freeze").splitlines()
    print(f"S1: {len(installed)} packages")
    assert len(installed) < 65, installed  # 58 with the HTTP client, the README renderer and pip itself


def preferred_port() -> int:
    """3141 where nobody has it, else another one, which is said."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            other = free_port()
            print(f"port {PORT} is taken on this machine: the procedure runs on {other}")
            return other
    return PORT


class Service(Supervisor):
    """The installed server under supervisord, as `pidex service supervisor` prints it; FTP beside HTTP."""

    def __init__(self, programs: Path, home: Path, folder: Path) -> None:
        super().__init__(home, folder)
        self.installed = programs
        self.port, self.ftp_port = preferred_port(), free_port()
        section = self.pidex(
            "service", "supervisor", "-p", str(self.port), "--ftp-port", str(self.ftp_port),
            "--name", "index", "--user", run("id", "-un").strip(), "--service-log", str(home / "index.log"),
        )  # fmt: skip
        head = CONFIGURATION.partition("[program:index]")[0].format(home=home, user=os.getuid())
        (home / "supervisord.conf").write_text(head + section)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            return fetch(f"{self.url}/-/health").status == 200
        except OSError:
            return False

    def pidex(self, *words: str, stdin: str = "") -> str:
        """Run a command beside the server, as its operator does."""
        done = subprocess.run(
            [self.installed / "pidex", *words, self.folder],
            cwd="/", env=environment(), input=stdin, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def listed(self, project: str) -> dict[str, str]:
        """What the very next request sees: SHA-256 by file name."""
        answer = fetch(f"{self.url}/simple/{project}/", {"Accept": "application/vnd.pypi.simple.v1+json"})
        if answer.status == 404:
            return {}
        assert answer.status == 200, answer
        return {file["filename"]: file["hashes"]["sha256"] for file in json.loads(answer.body)["files"]}

    def has(self, project: str, *samples: Sample) -> bool:
        """Does the project's page list just these, with these bytes?"""
        return self.listed(project) == {name: hashlib.sha256(data).hexdigest() for name, data in samples}


@pytest.fixture
def service(programs: Path, tmp_path: Path, folder: Path) -> Iterator[Service]:
    # FTP is an extra: the two libraries that docs/ftp.md names.
    run_online(programs / "python", "-m", "pip", "install", "-q", "pyftpdlib", "pyopenssl")
    with supervised(lambda: Service(programs, tmp_path, folder)) as made:
        yield made


def by_hand(service: Service) -> Sample:
    """A file that is copied into the folder (S2) appears."""
    sample = wheel("by-hand", "1.0")
    write(service.folder, sample)
    until(lambda: service.has("by-hand", sample), why="the copied file is not listed")
    return sample


def by_git(service: Service, token: str, place: Path) -> Sample:
    """Clone, add, push: listed when the push returns."""
    service.pidex("git", "enable")
    clone = Clone(f"http://ann:{token}@127.0.0.1:{service.port}/main.git", place)
    assert clone.names() == ["by_hand-1.0-py3-none-any.whl"]
    sample = clone.write(wheel("by-git", "1.0"))
    assert "remote: main: 1 added" in clone.push()
    assert service.has("by-git", sample)
    return sample


def by_ftp(service: Service) -> Sample:
    """STOR with the user's password: listed when the server says 226."""
    sample = wheel("by-ftp", "1.0")
    with ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", service.ftp_port, timeout=30)
        ftp.login("ann", PASSWORD)
        ftp.cwd("/main")
        assert ftp.storbinary(f"STOR {sample[0]}", io.BytesIO(sample[1])).startswith("226")
        assert service.has("by-ftp", sample)
        assert sample[0] in ftp.nlst()
    return sample


def by_twine(service: Service, twine: Installer, token: str, place: Path) -> Sample:
    """`twine upload` with the token: listed when twine ends."""
    path = write(place, wheel("by-twine", "1.0", requires=["by-git", "by-ftp", "by-hand"]))
    twine.run(
        "twine", "upload", "--non-interactive", "--disable-progress-bar",
        "--repository-url", f"{service.url}/legacy/", "-u", "__token__", "-p", token, path,
    )  # fmt: skip
    sample = (path.name, path.read_bytes())
    assert service.has("by-twine", sample)
    return sample


def test_the_whole_procedure(service: Service, have: Have, tmp_path: Path) -> None:  # noqa: F811
    pip, twine = have("pip"), have("twine")
    # Under supervisor, with the welcome page and the address that was asked for in it.
    until(lambda: "RUNNING" in service.ctl("status"), why="not RUNNING")
    welcome = fetch(f"{service.url}/")
    assert welcome.status == 200
    assert f"{service.url}/simple/" in welcome.text
    copied = by_hand(service)
    # Nobody uploads before somebody is let in; then ann is, with a password and a token.
    closed = fetch(f"{service.url}/legacy/", method="POST", body=b"")
    assert closed.status == 401
    assert "pidex user add" in closed.text
    service.pidex("user", "add", "ann", stdin=f"{PASSWORD}\n")
    service.pidex("grant", "add", "user:ann", "maintainer")
    said = service.pidex("token", "create", "ann", "--upload", "-p", str(service.port))
    found = re.search(r"pidex_[0-9A-Za-z]{49}", said)
    assert found
    assert f"repository = {service.url}/legacy/" in said
    samples = {
        "by-hand": copied,
        "by-git": by_git(service, found[0], tmp_path / "clone"),
        "by-ftp": by_ftp(service),
        "by-twine": by_twine(service, twine, found[0], tmp_path / "dist"),
    }
    # One of them needs all others: pip gets each by its own way in.
    everything = dict.fromkeys(samples, "1.0")
    assert pip.install(f"{service.url}/simple/", "by-twine") == everything
    # kill -9, and it is there again, with everything.
    old = service.pid
    before = family(old)
    os.kill(old, signal.SIGKILL)
    begin = time.monotonic()
    until(lambda: not any(each.alive for each in before), why="workers outlive the server")
    until(service.answers, why="it did not come up again")
    print(f"up again {time.monotonic() - begin:.1f} s after SIGKILL")
    assert service.pid != old
    until(lambda: all(service.has(project, sample) for project, sample in samples.items()))
    shutil.rmtree(pip.target)
    assert pip.install(f"{service.url}/simple/", "by-twine") == everything
    # The ways in are open as before.
    clone = Clone(f"http://ann:{found[0]}@127.0.0.1:{service.port}/main.git", tmp_path / "again")
    second = clone.write(wheel("by-git", "2.0"))
    clone.push()
    assert service.has("by-git", samples["by-git"], second)
    # A stop leaves no orphan and no listener; then the whole service is started again (S25).
    running = family(service.pid)
    assert len(running) > 1
    service.ctl("stop", "index")
    until(lambda: not any(each.alive for each in running), why=f"left behind: {running}")
    assert not service.answers()
    service.end()
    service.start()
    service.wait()
    assert service.listed("by-git").keys() == {name for name, _ in (samples["by-git"], second)}
    assert run("git", "-C", str(clone.folder), "ls-remote", "origin", "main")
