"""A cluster on loopback: PostgreSQL, nodes of the real program over it, and nginx before them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from bench.ports import free_port
from faults.lanes import Lanes
from pidex.accounts import hashing
from pidex.app.ground import node_of
from pidex.catalogue import grants, indexes, intents, leases, users
from pidex.catalogue.engine import Catalogue
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.cli.test_service import listening
from tests.conftest import Postgres, server_programs
from tests.walks.server import Answer, Server, fetch, run, until
from tests.web.test_upload import MULTIPART, fields_of, packed

if TYPE_CHECKING:
    from pidex.backends.objects.bucket import Place  # an extra

#: Who may do everything in the index, and who only reads by a grant.
OWNER, READER, PASSWORD = "olga", "rita", "correct horse"
JSON = "application/vnd.pypi.simple.v1+json"
#: What a node may answer while something is away: refusals that say so, and nginx's own.
HONEST = {502, 503, 504}


def basic(name: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()


class Database:
    """A PostgreSQL of its own, which can be stopped, killed and started again."""

    def __init__(self, programs: Path) -> None:
        # A socket's path may not be longer than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pidex-cl-", dir="/tmp"))
        self.server = Postgres(programs, self.folder)
        self.server.start()
        self.server.command("create database pidex")
        self.url = self.server.url("pidex")

    @property
    def pid(self) -> int:
        """The process of which all others of it are children."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def stop(self, how: str = "fast") -> None:
        """Stop it; 'immediate' is as if it had been killed."""
        self.server._run("pg_ctl", "-D", self.folder / "data", "-m", how, "-w", "stop")

    def start(self) -> None:
        """Start it again, as it was."""
        log = ("-l", str(self.folder / "log"))
        options = (self.folder / "data" / "postmaster.opts").read_text().partition(" ")[2].strip()
        words = options.replace('"', "")
        self.server._run("pg_ctl", "-D", self.folder / "data", *log, "-w", "-t", "60", "-o", words, "start")

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def of(bucket: Place) -> str:
    """The lines of a configuration file that name a bucket."""
    found = {"storage": bucket.url, "storage_endpoint": bucket.endpoint}
    found |= {"storage_credentials": str(bucket.credentials)}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in found.items() if value is not None)


class Front:
    """nginx with the site that `pidex service nginx` prints for these nodes."""

    def __init__(
        self, home: Path, folder: Path, addresses: Sequence[str], *, port: int | None = None
    ) -> None:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            raise Missing("nginx is not installed (Debian's package of this name)")
        self.home, self.port, spare = home, port or free_port(), free_port()
        nodes = [word for address in addresses for word in ("--node", address)]
        text = run(sys.executable, "-m", "pidex", "service", "nginx", "--http", *nodes, folder)
        # One address sends everything here, faster than any client of a real one.
        text = text.replace("limit_req zone", "# limit_req zone")
        (home / "site.conf").write_text(listening(text, self.port, spare))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = home / "nginx.conf"
        configuration.write_text(
            f"{user} daemon off; pid {home}/nginx.pid; error_log {home}/nginx.log; worker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include {home}/site.conf; }}\n"
        )
        self.process = subprocess.Popen([program, "-c", configuration], start_new_session=True)
        until(self.answers, why="no answer from nginx")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            return fetch(f"{self.url}/-/livez").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Missing(Exception):
    """Something that a cluster needs is not installed."""


@dataclass
class Sent:
    """An upload that was answered with 200."""

    project: str
    filename: str
    sha256: str


class Cluster:
    """Nodes over one database and one folder. Leaving it fails where a node told of a fault.

    With a bucket instead, the folder is a drop box, and each node speaks FTP.
    """

    def __init__(
        self, home: Path, *, nodes: int = 3, options: Sequence[str] = (), bucket: Place | None = None
    ) -> None:
        programs = server_programs()
        if programs is None:
            raise Missing("no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
        self.home, self.folder = home, home / "packages"
        self.folder.mkdir()
        self.database = Database(programs)
        self.random = random.Random(7)
        self.settings = home / "cluster.toml"
        folder = json.dumps(str(self.folder))
        where = f"folders = [{folder}]\n" if bucket is None else f"drop_folders = [{folder}]\n{of(bucket)}"
        self.settings.write_text(
            f"catalogue = {json.dumps(self.database.url)}\n{where}"
            'trusted_proxies = ["127.0.0.1"]\naccess_log = false\nwatch = "poll"\n'
        )
        self.ftp = [0 if bucket is None else free_port() for _ in range(nodes)]
        self.bucket = bucket
        self.nodes = [self.node(number, options) for number in range(1, nodes + 1)]
        self.front: Front | None = None

    def own(self, number: int, options: Sequence[str]) -> list[str]:
        """What one node is told besides the settings of all."""
        place = ["--config", str(self.settings), "--data", str(self.home / f"data{number}")]
        return [*place, "--ftp-port", str(self.ftp[number - 1]), *options]

    def node(self, number: int, options: Sequence[str]) -> Server:
        """One node, not started yet."""
        folders = [self.folder] if self.bucket is None else []
        return Server(*folders, log=self.home / f"node{number}.log", options=self.own(number, options))

    def __enter__(self) -> Self:
        try:
            self.people()
            for node in self.nodes:
                node.start()
            self.front = Front(self.home, self.folder, [node.url.partition("//")[2] for node in self.nodes])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        said = {node.port: node.log() for node in self.nodes}
        if kind is not None:
            for port, text in said.items():
                print(f"--- node {port}\n{text[-4000:]}")
        self.close()
        for text in said.values():
            assert "Traceback (most recent call last)" not in text, text[-8000:]

    def close(self) -> None:
        if self.front is not None:
            self.front.close()
        for node in self.nodes:
            node.kill()
        self.database.close()

    def people(self) -> None:
        """The index, and who may do what in it."""
        catalogue = Catalogue.open(self.database.url)
        with catalogue.write() as conn:
            indexes.ensure(conn, "main", time.time())
            for name, role in ((OWNER, Role.OWNER), (READER, Role.READER)):
                users.add(conn, name, hashing.hashed(PASSWORD), at=1)
                grants.add(conn, Grant(f"user:{name}", role, "main", "*"), by="test", at=1)
        catalogue.close()

    @property
    def url(self) -> str:
        """What clients know: nginx."""
        assert self.front is not None
        return self.front.url

    def any(self, besides: Server | None = None) -> Server:
        """A node, another one than that."""
        return self.random.choice([node for node in self.nodes if node is not besides])

    def running(self) -> list[Server]:
        """The nodes that were not killed."""
        return [node for node in self.nodes if node.process is not None and node.process.poll() is None]

    def pidex(self, node: Server, *words: str) -> str:
        """A command beside a node; what it said."""
        data = str(self.home / f"data{self.nodes.index(node) + 1}")
        return run(sys.executable, "-m", "pidex", *words, "--config", self.settings, "--data", data)

    @contextlib.contextmanager
    def catalogue(self) -> Iterator[Catalogue]:
        """Its catalogue, beside the nodes."""
        with contextlib.closing(Catalogue.open(self.database.url, create=False)) as catalogue:
            yield catalogue

    def holder(self, lease: str) -> Server | None:
        """The node that has the lease whose name begins so."""
        with self.catalogue() as catalogue, catalogue.read() as conn:
            held = [leases.holder(conn, name) for name in leases.held(conn) if name.startswith(lease)]
        names = {node_of(self.home / f"data{number}"): node for number, node in enumerate(self.nodes, 1)}
        return names[held[0] or ""] if held else None

    def restart(self, node: Server) -> None:
        """Start a node that was killed, and wait until it answers."""
        node.start()


def send(
    url: str, sample: samples.Sample, *, by: str = OWNER, headers: Mapping[str, str] | None = None
) -> Answer:
    """An upload as twine sends it."""
    headers = {"Content-Type": MULTIPART, "Authorization": basic(by), **(headers or {})}
    return fetch(f"{url}/legacy/", headers, method="POST", body=packed(fields_of(sample)))


def listing(url: str, project: str, *, by: str | None = None) -> tuple[int, list[dict[str, object]]]:
    """A page's status, and the files on it."""
    headers = {"Accept": JSON} | ({"Authorization": basic(by)} if by else {})
    answer = fetch(f"{url}/simple/{project}/", headers)
    if answer.status != 200:
        return answer.status, []
    return 200, json.loads(answer.body)["files"]


def names(url: str, project: str) -> list[str]:
    """The file names on a page; none where there is no page."""
    status, files = listing(url, project)
    assert status in (200, 404), status
    return sorted(str(file["filename"]) for file in files)


def change(url: str, method: str, path: str, body: object = None) -> Answer:
    """A call of the API by the owner, below the index."""
    headers = {"Authorization": basic(OWNER), "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return fetch(f"{url}/-/api/v1/indexes/main/projects/{path}", headers, method=method, body=data)


# --- what a cluster has to do, any number of times ----------------------------------------------------------


def read_your_writes(cluster: Cluster, uploads: int) -> int:
    """Uploads through any node, each looked for at once through another one; how many were not seen."""
    missed = 0
    for number in range(uploads):
        project = f"seen{number % 20}"
        sample = samples.wheel(project, f"1.{number}")
        through = cluster.any()
        answer = send(through.url, sample)
        assert answer.status == 200, answer.text
        missed += sample[0] not in names(cluster.any(through).url, project)
    return missed


def changes(cluster: Cluster, rounds: int) -> int:
    """Yanks, quarantine and deletions through one node, asked of another one; how many were not seen."""
    missed = 0
    for number in range(rounds):
        project = f"changed{number}"
        sample = samples.wheel(project, "1.0")
        assert send(cluster.any().url, sample).status == 200

        def page(through: Server, project: str = project) -> tuple[int, list[dict[str, object]]]:
            return listing(cluster.any(through).url, project)

        for node in cluster.nodes:  # each has the page in its memory
            assert listing(node.url, project)[0] == 200
        node = cluster.any()
        assert change(node.url, "PUT", f"{project}/releases/1.0/yank", {"reason": "bad"}).status == 200
        missed += [file.get("yanked") for file in page(node)[1]] != ["bad"]
        node = cluster.any()
        assert change(node.url, "DELETE", f"{project}/releases/1.0/yank").status == 200
        missed += [file.get("yanked") for file in page(node)[1]] != [False]
        node = cluster.any()
        assert change(node.url, "PUT", f"{project}/status", {"status": "quarantined"}).status == 200
        missed += page(node) != (200, [])
        node = cluster.any()
        assert change(node.url, "PUT", f"{project}/status", {"status": "active"}).status == 200
        missed += len(page(node)[1]) != 1
        node = cluster.any()
        assert change(node.url, "DELETE", f"{project}/files/{sample[0]}").status == 200
        missed += bool(page(node)[1])
    return missed


def rights(cluster: Cluster, rounds: int) -> int:
    """A right given and taken away through one node, used through another; how often it was not so."""
    wrong = 0
    for number in range(rounds):
        project = f"right{number}"
        assert send(cluster.any().url, samples.wheel(project, "1.0")).status == 200
        for node in cluster.nodes:  # each knows by now what the reader may not do
            wrong += send(node.url, samples.wheel(project, "1.1"), by=READER).status != 403
        node = cluster.any()
        given = change(node.url, "PUT", f"{project}/owners/{READER}", {"role": "uploader"})
        assert given.status == 200, given.text
        wrong += send(cluster.any(node).url, samples.wheel(project, "1.2"), by=READER).status != 200
        node = cluster.any()
        assert change(node.url, "DELETE", f"{project}/owners/{READER}?role=uploader").status == 200
        wrong += send(cluster.any(node).url, samples.wheel(project, "1.3"), by=READER).status != 403
    return wrong


def races(cluster: Cluster, rounds: int, contenders: int = 6) -> int:
    """Different files of one name at once through all nodes; in how many rounds there was not one winner."""
    wrong = 0
    with ThreadPoolExecutor(contenders) as pool:
        for number in range(rounds):
            project = f"race{os.getpid()}x{number}"
            sent = [
                samples.wheel(project, "1", files={"a": str(each).encode()}) for each in range(contenders)
            ]
            places = [cluster.nodes[each % len(cluster.nodes)] for each in range(contenders)]
            answers = list(pool.map(lambda pair: send(pair[0].url, pair[1]), zip(places, sent, strict=True)))
            won = [sample for sample, answer in zip(sent, answers, strict=True) if answer.status == 200]
            statuses = sorted(answer.status for answer in answers)
            hashes = {str(file["hashes"]["sha256"]) for node in cluster.nodes  # type: ignore[index]
                      for file in listing(node.url, project)[1]}  # fmt: skip
            good = statuses == [200] + [400] * (contenders - 1) and hashes == {sha256(won[0][1])}
            wrong += not good
    return wrong


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Load(Lanes):
    """Uploads in the background, through nginx, until it is left: what was confirmed and what refused."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(2)
        self._cluster, self._name = cluster, name
        self.sent: list[Sent] = []
        self.refused: list[int] = []
        self.odd: list[str] = []
        self.moments: list[float] = []  # when something was confirmed

    def work(self, lane: int) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            project = f"{self._name}-{lane}"
            sample = samples.wheel(project.replace("-", "_"), f"1.{number}")
            try:
                answer = send(self._cluster.url, sample)
            except (OSError, http.client.HTTPException):
                self.refused.append(0)
                continue
            if answer.status == 200:
                self.moments.append(time.monotonic())
                self.sent.append(Sent(project, sample[0], sha256(sample[1])))
            else:
                self.refused.append(answer.status)
                if answer.status not in HONEST:
                    self.odd.append(f"{answer.status} {answer.text[:300]}")
                if answer.status == 503 and "retry-after" not in answer.headers:
                    self.odd.append("503 without Retry-After")
                time.sleep(0.1)

    def lost(self, url: str) -> list[Sent]:
        """What was confirmed and cannot be had with its bytes."""
        found: dict[str, dict[str, dict[str, object]]] = {}
        gone = []
        for each in self.sent:
            if each.project not in found:
                found[each.project] = {str(file["filename"]): file for file in listing(url, each.project)[1]}
            file = found[each.project].get(each.filename)
            if file is None or file["hashes"]["sha256"] != each.sha256:  # type: ignore[index]
                gone.append(each)
        return gone

    def partial(self, url: str) -> list[str]:
        """Listed files whose bytes are not those that their page announces, or that cannot be had."""
        wrong = []
        for project in {each.project for each in self.sent}:
            for file in listing(url, project)[1]:
                answer = fetch(urljoin(f"{url}/simple/{project}/", str(file["url"])))
                if answer.status != 200 or sha256(answer.body) != file["hashes"]["sha256"]:  # type: ignore[index]
                    wrong.append(str(file["filename"]))
        return wrong


def since(load: Load, moment: float) -> float:
    """Seconds from a moment to the next upload that was confirmed."""
    until(lambda: any(at > moment for at in load.moments), why="nothing is confirmed any more")
    return next(at for at in load.moments if at > moment) - moment


def settled(cluster: Cluster) -> Iterator[str]:
    """Names that are still on their way in the catalogue."""
    with cluster.catalogue() as catalogue, catalogue.read() as conn:
        for each in indexes.list(conn):
            for intent in intents.list(conn, each.id):
                yield intent.filename
