"""A real sshd on 127.0.0.1 with keys of its own, for one test: it lets in the user who runs the tests."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from bench.ports import free_port
from tests.walks.server import environment, until

CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host
PidFile {home}/pid
AuthorizedKeysFile {home}/user.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
"""


class Sshd:
    """Use as a context manager; the test is skipped, with the reason, where there is no sshd."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
        if program is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
            pytest.skip("NOT TESTED over ssh: sshd or ssh is missing (Debian: openssh-server)")
        self.home, self.program, self.port = home, program, free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, path: Path) -> str:
        """Where git reaches a repository of this machine."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"

    @property
    def command(self) -> str:
        """What git runs for ssh: this server's key is known, and nobody is asked anything."""
        options = (
            "-F", "none", "-i", f"{self.home}/user", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.home}/known", "-o", "StrictHostKeyChecking=yes",
        )  # fmt: skip
        return shlex.join(("ssh", *options))

    def __enter__(self) -> Sshd:
        self.home.mkdir()
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / name], check=True
            )
        key = (self.home / "host.pub").read_text()
        (self.home / "known").write_text(f"[127.0.0.1]:{self.port} {key}")
        (self.home / "conf").write_text(CONFIGURATION.format(port=self.port, home=self.home))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it to separate privileges
        with (self.home / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.program, "-D", "-e", "-f", self.home / "conf"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            )  # fmt: skip
        try:
            until(self.listens, why="sshd does not listen")
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise
        return self

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"sshd has ended:\n{(self.home / 'log').read_text()}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print((self.home / "log").read_text())
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
