"""Nodes with a network of their own each: what is between one and the engines can be cut, and healed.

Everything happens in a namespace that `inside` enters, so no address meets one of the machine. Linux, root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster.nodes import Cluster
from tests.cluster.seaweed import Seaweed
from tests.conftest import POSTGRES_USER
from tests.walks.server import Server, until

#: Bytes passed on at once.
CHUNK = 64 * 1024


def possible() -> bool:
    """Whether this process may make namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return False
    return subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0


def inside(words: Sequence[str]) -> int:
    """Run this program once more in a namespace of its own; its exit code."""
    line = 'ip link set lo up && exec "$@"'
    return subprocess.run(["unshare", "-n", "sh", "-c", line, "sh", *words], check=False).returncode


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Wire:
    """Listens at an address and passes everything to where `reach` leads."""

    def __init__(self, address: str, reach: Callable[[], socket.socket]) -> None:
        self._reach = reach
        self._listener = socket.create_server((address, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = self._reach()
                except OSError:
                    near.close()
                    continue
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pass, args=pair, daemon=True).start()

    def close(self) -> None:
        self._listener.close()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    source.close()


def to_unix(path: Path) -> Callable[[], socket.socket]:
    """The way to a Unix socket."""

    def reach() -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(path))
        return found

    return reach


def to_port(port: int) -> Callable[[], socket.socket]:
    """The way to a port of this machine."""
    return lambda: socket.create_connection(("127.0.0.1", port))


class Ground:
    """A namespace for one node, with a link to clients and one to the engines. `number` from 1 on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "86400"])
        self.clients, self.engines = f"10.77.{number}.1", f"10.78.{number}.1"
        self.address = f"10.77.{number}.2"
        self._enter = ["nsenter", "-t", str(self._holder.pid), "-n"]
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self._holder.pid}/ns/net") != own)
        for kind, net in (("c", 77), ("e", 78)):
            here, there = f"{kind}{number}h", f"{kind}{number}n"
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", str(self._holder.pid))
            _ip("addr", "add", f"10.{net}.{number}.1/30", "dev", here)
            _ip("link", "set", here, "up")
            self._inside("addr", "add", f"10.{net}.{number}.2/30", "dev", there)
            self._inside("link", "set", there, "up")
        self._inside("link", "set", "lo", "up")

    def _inside(self, *words: str) -> None:
        subprocess.run([*self._enter, "ip", *words], check=True)

    def command(self) -> list[str]:
        """The program, started in here."""
        return [*self._enter, sys.executable, "-m", "pidex", "serve"]

    def cut(self) -> None:
        """Nothing passes between the node and the engines any more, and nobody is told."""
        _ip("link", "set", f"e{self.number}h", "down")

    def heal(self) -> None:
        _ip("link", "set", f"e{self.number}h", "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Apart(Server):
    """A node in a namespace."""

    def __init__(self, ground: Ground, *, log: Path, options: Sequence[str]) -> None:
        super().__init__(log=log, options=["-i", ground.address, *options], command=ground.command())
        self.ground = ground

    @property
    def url(self) -> str:
        return f"http://{self.ground.address}:{self.port}"


class Divided(Cluster):
    """A cluster over a bucket whose nodes have a network of their own each."""

    def __init__(self, home: Path, *, seaweed: Seaweed, nodes: int = 3) -> None:
        self.grounds = [Ground(number) for number in range(1, nodes + 1)]
        self.wires: list[Wire] = []
        self.seaweed = seaweed
        super().__init__(home, nodes=nodes, bucket=seaweed.place("divided"))

    def node(self, number: int, options: Sequence[str]) -> Server:
        ground = self.grounds[number - 1]
        [socket_path] = self.database.folder.glob(".s.PGSQL.*[0-9]")
        database = Wire(ground.engines, to_unix(socket_path))
        objects = Wire(ground.engines, to_port(self.seaweed.ports["s3.port"]))
        self.wires += [database, objects]
        url = f"postgresql://{POSTGRES_USER}@{ground.engines}:{database.port}/pidex"
        reach = ["--catalogue", url, "--storage-endpoint", f"http://{ground.engines}:{objects.port}"]
        more = [*self.own(number, options), *reach]
        return Apart(ground, log=self.home / f"node{number}.log", options=more)

    def close(self) -> None:
        super().close()
        for wire in self.wires:
            wire.close()
        for ground in self.grounds:
            ground.close()
