"""Bytes on a connection as no client library sends them, and an nginx and a Caddy of our own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from bench.ports import free_port
from tests.cli.test_service import listening
from tests.walks.server import Server, run, until

#: Seconds of silence after which an answer is taken for the last one.
SILENCE = 0.7
START = re.compile(rb"(?m)^HTTP/1\.[01] (\d{3})")


def connect(port: int, source: str = "127.0.0.1", timeout: float = SILENCE) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout, source_address=(source, 0))


def say(port: int, data: bytes, silence: float = SILENCE) -> bytes:
    """Everything that is answered to some bytes, until the end or a silence in seconds."""
    with connect(port, timeout=silence) as connection:
        try:
            connection.sendall(data)
        except OSError:
            return b""
        return heard(connection)


def heard(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except OSError:
        pass
    return found


def statuses(answer: bytes) -> list[int]:
    """The status of each answer on a connection."""
    return [int(each) for each in START.findall(answer)]


def together(what: Callable[[bytes], bytes], every: Sequence[bytes]) -> list[bytes]:
    """The same done with many texts, fifty at a time."""
    with ThreadPoolExecutor(50) as pool:
        return list(pool.map(what, every))


class Proxy:
    """A program between clients and a server: `command` in a session of its own, listening at `port`."""

    command: Sequence[str]
    port: int
    environ: Mapping[str, str] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self.command, start_new_session=True, env=self.environ)
        until(self._answers, why=f"no answer from {self.command[0]}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _answers(self) -> bool:
        try:
            return statuses(say(self.port, b"GET /-/health HTTP/1.0\r\n\r\n")) == [200]
        except OSError:
            return False


class Nginx(Proxy):
    """An nginx with the site that `pidex service nginx --http` prints, before a server. `change` edits it."""

    def __init__(self, home: Path, server: Server, change: Callable[[str], str] = str) -> None:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            pytest.skip("NOT TESTED: nginx is not installed (Debian's package of this name)")
        self.port = free_port()
        self.command = [program, "-c", str(home / "nginx.conf")]
        words: list[str | Path] = [
            "nginx",
            *server.folders,
            "-p",
            str(server.port),
            "--trusted-proxies",
            "127.0.0.1",
            "--http",
        ]
        text = run(sys.executable, "-m", "pidex", "service", *words)
        (home / "site.conf").write_text(change(listening(text, self.port, free_port())))
        places = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        user = "user root;" if os.geteuid() == 0 else ""
        (home / "nginx.conf").write_text(
            f"{user} daemon off; pid {home}/nginx.pid; error_log {home}/nginx.log; worker_processes 1;\n"
            f"events {{ worker_connections 2000; }}\n"
            f"http {{ access_log off; {places} include {home}/site.conf; }}\n"
        )


class Caddy(Proxy):
    """A Caddy that passes everything on to a server, as its `reverse_proxy` does without any option."""

    def __init__(self, home: Path, server: Server) -> None:
        program = shutil.which("caddy")
        if program is None:
            pytest.skip("NOT TESTED: Caddy is not installed (Debian's package caddy)")
        self.port = free_port()
        (home / "Caddyfile").write_text(
            "{\n admin off\n auto_https off\n log {\n  output discard\n }\n}\n"
            f"http://:{self.port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{server.port}\n}}\n"
        )
        self.command = [program, "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
        self.environ = {
            **os.environ,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
        }


def rested(read: Callable[[], str]) -> str:
    """A text that is being written, once it no longer grows."""
    before = read()
    while True:
        time.sleep(0.3)
        now = read()
        if now == before:
            return now
        before = now
