"""A pytest plugin (`-p tests.cluster.clustered`): every server that a test starts is a cluster.

Three nodes over a database of their own in one PostgreSQL, behind nginx, with the test's folders, people and
options. So the suites of one machine say of the cluster what they say of it: `scripts/cluster clients`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pidex.catalogue import copying
from pidex.catalogue.engine import Catalogue
from tests.cluster.nodes import Database, Front, Missing
from tests.conftest import server_programs
from tests.walks import server as server_module
from tests.walks.server import Server

NODES = 3


class Nodes:
    """The nodes behind one server of a test."""

    def __init__(self, server: Server, url: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pidex-nodes-"))
        self.url = url
        options = [*server.command[server.command.index(str(server.port)) + 1 :]]
        data = server.folders[0].parent / f".pidex-{server.folders[0].name}"
        if "--data" in options:
            at = options.index("--data")
            data = Path(options[at + 1])
            del options[at : at + 2]
        self.old = data / "catalogue.db"
        before = server.command[: server.command.index("-p")]
        more = ["--catalogue", self.url, "--trusted-proxies", "127.0.0.1"]
        self.nodes = [
            Server(
                log=self.home / f"node{number}.log",
                options=["--data", str(self.home / f"data{number}"), *more, *_own(options, number)],
                command=before,
                environ=server.environ,
            )
            for number in range(NODES)
        ]
        self.server = server
        self.front: Front | None = None

    def fill(self) -> None:
        """Have the database, which is empty, hold what a catalogue of one machine has, if there is one."""
        if self.old.exists():
            with (
                contextlib.closing(Catalogue.open(self.old)) as old,
                contextlib.closing(Catalogue.open(self.url)) as new,
            ):
                copying.copy(old, new)

    def start(self) -> None:
        for node in self.nodes:
            START(node)
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.front = Front(self.home, self.server.folders[0], addresses, port=self.server.port)

    def close(self) -> None:
        if self.front is not None:
            self.front.close()
        for node in self.nodes:
            KILL(node)

    def log(self) -> str:
        return "".join(LOG(node) for node in self.nodes)


def _own(options: Sequence[str], number: int) -> list[str]:
    """The options for one node: a port of FTP is the first one's alone, for all are on this machine."""
    if number and "--ftp-port" in options:
        at = options.index("--ftp-port")
        return [*options[:at], *options[at + 2 :]]
    return [*options]


START, KILL, LOG = Server.start, Server.kill, Server.log


#: By which commands beside a server find the catalogue of its nodes.
CATALOGUE = "PIDEX_CATALOGUE"


def pytest_configure(config: pytest.Config) -> None:
    plain = server_module.environment

    def environment(**extra: str) -> dict[str, str]:
        """As ever, and with the catalogue of the nodes that run, if any do."""
        told = {CATALOGUE: os.environ[CATALOGUE]} if CATALOGUE in os.environ else {}
        return plain(**(told | extra))

    # Before any test module takes it from there.
    vars(server_module)["environment"] = environment
    config.pluginmanager.register(Plugin(), "clustered")


class Plugin:
    """Has `Server` start nodes, for as long as the session runs."""

    def __init__(self) -> None:
        self.clusters: dict[int, Nodes] = {}
        self.made = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        programs = server_programs()
        if programs is None:
            raise Missing("no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
        names: dict[Path, str] = {}  # of databases, by the folder: one that starts again goes on with its own
        with contextlib.closing(Database(programs)) as database, pytest.MonkeyPatch.context() as patched:

            def start(server: Server) -> Server:
                known = server.folders[0] in names
                name = names.setdefault(server.folders[0], f"nodes{len(names)}")
                found = self.clusters[id(server)] = Nodes(server, database.server.url(name))
                if not known:
                    database.server.command(f"create database {name}")
                    found.fill()
                found.start()
                os.environ[CATALOGUE] = found.url
                self.made += 1
                server.process = found.nodes[0].process
                return server

            def end(server: Server) -> None:
                found = self.clusters.pop(id(server), None)
                if found is None:
                    KILL(server)
                    return
                os.environ.pop(CATALOGUE, None)
                said = found.log()
                found.close()
                server.log_path.write_text(said)
                server.process = None

            def log(server: Server) -> str:
                found = self.clusters.get(id(server))
                return LOG(server) if found is None else found.log()

            for name, act in (("start", start), ("kill", end), ("stop", end), ("log", log)):
                patched.setattr(Server, name, act)
            result = yield
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"{self.made} servers of these tests were clusters of {NODES} nodes")
