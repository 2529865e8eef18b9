"""What goes on while a server dies: uploads, deletions, pushes, FTP transfers, and readers who compare."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urljoin

from bench.wheels import wheel
from faults.client import MULTIPART, Cut, ask, form
from faults.history import History, Name, Outcome, State, outcome
from faults.server import Broken, environment

API = "/-/api/v1/indexes/main/projects"
JSON = "application/vnd.pypi.simple.v1+json"
#: Bytes of payload of an uploaded wheel: mostly small ones, and some that are written in several blocks.
SIZES = (0, 300, 4_000, 70_000, 400_000, 2_500_000)
#: Who sends by FTP.
FTP_USER = "fred"
WEIGHTS = (4, 6, 4, 3, 2, 1)


@dataclass
class Load:
    """The clients of one round against a server. Ends when `over` is set or the server is gone."""

    port: int
    history: History
    seed: int
    round: int
    ftp: tuple[int, str] | None = None  # its port, and the password of FTP_USER
    clone: Clone | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    breaches: list[str] = field(default_factory=list)

    async def run(self, clients: int, readers: int) -> None:
        """All clients until the end. Raises `Broken` for what a reader saw."""
        work: list[Coroutine[Any, Any, None]] = [self._client(number) for number in range(clients)]
        work += [self._reader(number) for number in range(readers)]
        if self.clone is not None:
            work.append(self._pusher(self.clone))
        if self.ftp is not None:
            work.append(self._transfers(*self.ftp))
        await asyncio.gather(*work)
        if self.breaches:
            raise Broken("; ".join(self.breaches[:5]))

    # --- clients --------------------------------------------------------------------------------------------

    async def _client(self, number: int) -> None:
        """Uploads its own names; now and then deletes one, sends one again, or sends other bytes."""
        chance = random.Random(f"{self.seed}-{self.round}-{number}")
        project = f"k{self.round}c{number}"
        own: list[Name] = []
        turn = 0
        while not self.over.is_set():
            turn += 1
            settled = [name for name in own if name.states == {State.PRESENT}]
            dice = chance.random()
            if settled and dice < 0.12:
                alive = await self._delete(chance.choice(settled))
            elif own and dice < 0.2:
                alive = await self._again(chance.choice(own), chance)
            else:
                payload = chance.randbytes(chance.choices(SIZES, WEIGHTS)[0])
                filename, data = wheel(project, f"1.{turn}", payload)
                name, alive = await self._upload(filename, data)
                own.append(name)
            if not alive:
                return

    async def _upload(self, filename: str, data: bytes) -> tuple[Name, bool]:
        before = (
            set(self.history.names[filename].states) if filename in self.history.names else {State.ABSENT}
        )
        name = self.history.begin(filename, data, State.PRESENT)
        headers = {"Content-Type": MULTIPART, "Accept": "application/json"}
        how, alive = await self._told("POST", "/legacy/", headers, form(filename, data))
        if before == {State.BURNT} and how is Outcome.ACKNOWLEDGED:
            self.breaches.append(f"{filename} was deleted, and taken again")
        if before == {State.PRESENT} and how is Outcome.REJECTED:
            self.breaches.append(f"{filename} is there, and was refused with the same bytes")
        self.history.end(name, before, State.PRESENT, how, "upload")
        return name, alive

    async def _again(self, name: Name, chance: random.Random) -> bool:
        """The same bytes, which changes nothing; or others, which has to be refused (R9)."""
        if chance.random() < 0.5 and name.states != {State.ABSENT}:
            _, other = wheel(name.project, name.filename.split("-")[1], b"other" + chance.randbytes(8))
            headers = {"Content-Type": MULTIPART}
            try:
                answer = await ask(self.port, "POST", "/legacy/", headers, form(name.filename, other))
            except Cut:
                return False
            if answer.status == 200:
                self.breaches.append(f"{name.filename} was taken with other bytes")
            self.history.counts[f"other bytes {outcome(answer.status).value}"] += 1
            return True
        if name.states not in ({State.PRESENT}, {State.BURNT}):
            return True
        return (await self._upload(name.filename, name.data))[1]

    async def _delete(self, name: Name) -> bool:
        before = set(name.states)
        self.history.begin(name.filename, name.data, State.BURNT)
        path = f"{API}/{name.project}/files/{name.filename}"
        how, alive = await self._told("DELETE", path, {})
        self.history.end(name, before, State.BURNT, how, "delete")
        return alive

    async def _told(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[Outcome, bool]:
        """How a request ended, and whether the server still answers."""
        try:
            answer = await ask(self.port, method, path, headers, body)
        except Cut as cut:
            return (Outcome.UNKNOWN if cut.sent else Outcome.REJECTED), False
        if answer.status == 500:
            self.breaches.append(f"{method} {path}: 500 {answer.body[:300]!r}")
        return outcome(answer.status), True

    # --- git and FTP ----------------------------------------------------------------------------------------

    async def _pusher(self, clone: Clone) -> None:
        chance = random.Random(f"{self.seed}-{self.round}-git")
        turn = 0
        while not self.over.is_set():
            turn += 1
            pair = [
                wheel(f"k{self.round}git", f"{turn}.{number}", chance.randbytes(chance.choice(SIZES[:5])))
                for number in range(2)
            ]
            names = [self.history.begin(*each, State.PRESENT) for each in pair]
            for name in names:
                name.group = frozenset(each.filename for each in names)
            took = await asyncio.to_thread(clone.push, self.port, pair)
            how = Outcome.ACKNOWLEDGED if took else Outcome.UNKNOWN
            for name in names:
                self.history.end(name, {State.ABSENT}, State.PRESENT, how, "git push of a file")
            if not took:
                return

    async def _transfers(self, port: int, password: str) -> None:
        chance = random.Random(f"{self.seed}-{self.round}-ftp")
        turn = 0
        while not self.over.is_set():
            turn += 1
            filename, data = wheel(f"k{self.round}ftp", f"1.{turn}", chance.randbytes(chance.choice(SIZES)))
            name = self.history.begin(filename, data, State.PRESENT)
            how = await asyncio.to_thread(_store, port, password, filename, data)
            self.history.end(name, {State.ABSENT}, State.PRESENT, how, "FTP transfer")
            if how is not Outcome.ACKNOWLEDGED:
                return

    # --- readers --------------------------------------------------------------------------------------------

    async def _reader(self, number: int) -> None:
        """Compares list, JSON, `.metadata` and file with each other and with the model (R3, R4)."""
        chance = random.Random(f"{self.seed}-{self.round}-reader-{number}")
        recent = list(self.history.by_project(self.history.names.values()))[-40:]
        while not self.over.is_set():
            known = recent + [f"k{self.round}c{client}" for client in range(4)]
            try:
                await self._read(chance.choice(known), chance)
            except Cut:
                return
            await asyncio.sleep(0.002)

    async def _read(self, project: str, chance: random.Random) -> None:
        began = monotonic()
        url = f"/simple/{project}/"
        page = await ask(self.port, "GET", url, {"Accept": JSON})
        plain = await ask(self.port, "GET", url, {"Accept": "text/html"})
        ended = monotonic()
        files = {}
        if page.status == 200:
            files = {each["filename"]: each for each in json.loads(page.body)["files"]}
        if page.status not in (200, 404, 503):
            self.breaches.append(f"{url} answered {page.status}")
        if page.status != 503:
            self._compare(
                project, {each: row["hashes"]["sha256"] for each, row in files.items()}, began, ended
            )
        serial = "x-pypi-last-serial"
        if page.status == plain.status == 200 and page.headers.get(serial) == plain.headers.get(serial):
            anchors = set(re.findall(r">([^<>]+\.whl)</a>", plain.body.decode()))
            if anchors != set(files):
                self.breaches.append(f"{url}: HTML and JSON disagree: {anchors ^ set(files)}")
        self.history.counts["pages read"] += 2
        if files:
            await self._download(url, chance.choice(list(files.values())))

    def _compare(self, project: str, listed: dict[str, str], began: float, ended: float) -> None:
        """What is certain since before the reading began must be so in what was read."""
        for name in self.history.names.values():
            if name.project != project:
                continue
            there = name.filename in listed
            if there and listed[name.filename] != name.sha256:
                self.breaches.append(f"{name.filename} was listed with other bytes")
            if name.busy or name.since >= began or len(name.states) > 1:
                continue
            if there != (State.PRESENT in name.states):
                self.breaches.append(f"{name.filename} is {name.states} and listed: {there}")

    async def _download(self, page: str, row: dict[str, Any]) -> None:
        url = urljoin(page, row["url"])
        for path, wanted in ((url, row["hashes"]), (f"{url}.metadata", row.get("core-metadata"))):
            if not wanted:
                continue
            answer = await ask(self.port, "GET", path)
            name = self.history.names.get(row["filename"])
            if answer.status == 200:
                self.history.counts["files read"] += 1
                if hashlib.sha256(answer.body).hexdigest() != wanted["sha256"]:
                    self.breaches.append(f"{path}: bytes with another hash were served")
            elif answer.status == 404 and name is not None and name.states == {State.PRESENT}:
                if not name.busy:
                    self.breaches.append(f"{path} is listed and answers 404")
            elif answer.status not in (404, 503):
                self.breaches.append(f"{path} answered {answer.status}")


def _store(port: int, password: str, filename: str, data: bytes) -> Outcome:
    """One FTP session that sends one file."""
    with ftplib.FTP() as ftp:
        try:
            ftp.connect("127.0.0.1", port, timeout=30)
            ftp.login(FTP_USER, password)
            ftp.cwd("/main")
        except (OSError, EOFError, ftplib.Error):
            return Outcome.REJECTED
        try:
            ftp.storbinary(f"STOR {filename}", io.BytesIO(data))
        except ftplib.error_perm:
            return Outcome.REJECTED
        except (OSError, EOFError, ftplib.Error):
            return Outcome.UNKNOWN
        return Outcome.ACKNOWLEDGED


class Clone:
    """Somebody's clone of the index's repository: commits and pushes wheels, and follows what arrived."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")

    def _git(self, *arguments: str) -> tuple[int, str]:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0")
        self._running = process = subprocess.Popen(
            ["git", *identity, *arguments],
            cwd=self.folder,
            env=environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said, _ = process.communicate()
        return process.returncode, said

    def abandon(self) -> None:
        """End what runs: git's own client waits for ever now and then where its server dies within a push."""
        if self._running is not None and self._running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)

    def push(self, port: int, samples: list[tuple[str, bytes]]) -> bool:
        """Commit files and push; whether the server took them."""
        for filename, data in samples:
            (self.folder / filename).write_bytes(data)
        self._git("add", "-A")
        self._git("commit", "-q", "-m", "wheels")
        status, said = self._git("push", "-q", f"http://127.0.0.1:{port}/main.git", "main")
        if status and "Traceback" in said:
            raise Broken(f"a push ended with a traceback: {said[-1000:]}")
        return status == 0

    def follow(self, port: int) -> list[str]:
        """Be as the server's branch is; its packages."""
        status, said = self._git("fetch", "-q", f"http://127.0.0.1:{port}/main.git", "main")
        if status:
            if "couldn't find remote ref" not in said:
                raise Broken(f"git fetch: {said}")
            self._git("update-ref", "-d", "HEAD")
            self._git("rm", "-rfq", "--cached", ".")
            self._git("clean", "-fdxq")
            return []
        self._git("checkout", "-q", "-f", "-B", "main", "FETCH_HEAD")
        self._git("clean", "-fdxq")
        return self._git("ls-tree", "-r", "--name-only", "HEAD")[1].split()
