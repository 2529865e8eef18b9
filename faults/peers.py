"""The same driver against pypiserver and devpi: kills under concurrent uploads, and a disk that is full."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urljoin

from bench import peers as installed
from bench import servers
from bench.ports import free_port
from bench.wheels import wheel
from faults import disk
from faults.client import MULTIPART, Cut, ask, form
from faults.history import History, Outcome, State, outcome
from faults.power import _do
from faults.server import Broken, Server, go_first, pidex

CLIENTS = 4
#: Seconds of load before a kill; payload bytes of a wheel.
LOAD_SECONDS, SIZES = (1.0, 3.0), (300, 70_000, 400_000, 2_500_000)
#: Seconds until a server has to answer; some take half a minute to start on a busy machine.
START_SECONDS = 300.0
#: MiB of the disk that is filled.
DISK_MIB = 112


@dataclass
class Peer:
    """A server, where it takes uploads and shows pages, and the headers that let one in."""

    server: Server
    upload: str
    page: str
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)
    #: What lets one in after a start: devpi forgets who was signed in.
    login: Callable[[int], dict[str, str]] = lambda port: {}

    def __post_init__(self) -> None:
        self.server.patience = START_SECONDS
        go_first(self.server)

    def start(self) -> float:
        """Start the server, and be let in; the seconds to its first answer."""
        took = self.server.start()
        self.headers = self.login(self.server.port)
        return took


def _pidex(home: Path) -> Peer:
    folder = home / "packages"
    folder.mkdir()
    return Peer(pidex(folder, home / "data", home / "log"), "/legacy/", "/simple/{}/", folder)


def _pypiserver(home: Path) -> Peer:
    folder, port = home / "packages", free_port()
    folder.mkdir()
    command = [
        str(installed.environment("pypiserver") / "pypi-server"),
        "run",
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    command += ["-P", ".", "-a", ".", "--disable-fallback", "--log-stream", "none", str(folder)]
    return Peer(Server("pypiserver", command, port, home / "log", "/"), "/", "/simple/{}/", folder)


def _devpi(home: Path) -> Peer:
    programs, state = installed.environment("devpi"), home / "devpi"
    made = servers.devpi(home)
    made.start()
    made.await_ok("/+api")
    servers.open_devpi(made)
    made.stop()
    command = [str(programs / "devpi-server"), "--serverdir", str(state), "--host", "127.0.0.1"]
    command += ["--port", str(made.port), "--offline-mode"]
    server = Server("devpi", command, made.port, home / "log", "/+api")
    return Peer(server, "/root/bench/", "/root/bench/+simple/{}/", state, login=_devpi_login)


def _devpi_login(port: int) -> dict[str, str]:
    asked = json.dumps({"user": "root", "password": "bench"}).encode()
    answer = asyncio.run(ask(port, "POST", "/+login", {"Content-Type": "application/json"}, asked))
    if answer.status != 200:
        raise Broken(f"devpi: no login: {answer.status} {answer.body[:300]!r}")
    token = json.loads(answer.body)["result"]["password"]
    return {"X-Devpi-Auth": base64.b64encode(f"root:{token}".encode()).decode(), "Accept": "text/html"}


MAKERS: dict[str, Callable[[Path], Peer]] = {"pidex": _pidex, "pypiserver": _pypiserver, "devpi": _devpi}


async def _client(
    peer: Peer, history: History, project: str, chance: random.Random, over: asyncio.Event
) -> None:
    turn = 0
    while not over.is_set():
        turn += 1
        filename, data = wheel(project, f"1.{turn}", chance.randbytes(chance.choice(SIZES)))
        name = history.begin(filename, data, State.PRESENT)
        headers = {**peer.headers, "Content-Type": MULTIPART}
        try:
            answer = await ask(peer.server.port, "POST", peer.upload, headers, form(filename, data))
            how = outcome(answer.status)
        except Cut as cut:
            how = Outcome.UNKNOWN if cut.sent else Outcome.REJECTED
        history.end(name, {State.ABSENT}, State.PRESENT, how, "upload")
        if how is Outcome.REJECTED or (how is Outcome.UNKNOWN and not peer.server.alive):
            return


async def _load(peer: Peer, history: History, turn: int, chance: random.Random) -> None:
    over = asyncio.Event()
    clients = [
        asyncio.create_task(_client(peer, history, f"p{turn}c{number}", random.Random(chance.random()), over))
        for number in range(CLIENTS)
    ]
    await asyncio.sleep(chance.uniform(*LOAD_SECONDS))
    await asyncio.to_thread(peer.server.kill)
    over.set()
    await asyncio.gather(*clients)


def listed(peer: Peer, project: str) -> dict[str, tuple[str, str]]:
    """The files of a page: the URL's path, and the sha256 that the page announces or an empty text."""
    path = peer.page.format(project)
    headers = {**peer.headers, "Accept": "text/html"}
    for _ in range(100):
        answer = asyncio.run(ask(peer.server.port, "GET", path, headers))
        if answer.status != 503:
            break
        time.sleep(0.1)
    found = {}
    for href in re.findall(r'href="([^"]+)"', answer.body.decode()) if answer.status == 200 else ():
        url, _, fragment = href.partition("#")
        filename = unquote(url.rpartition("/")[2])
        if filename.endswith(".whl"):
            found[filename] = (urljoin(path, url), fragment.removeprefix("sha256="))
    return found


def _hold(peer: Peer, history: History, counts: Counter[str], project: str) -> None:
    """Hold a project to the model: what is lost, what is partial and shown, what answers an error."""
    there = listed(peer, project)
    for name in [each for each in history.names.values() if each.project == project]:
        sure = name.states == {State.PRESENT}
        counts["acknowledged uploads"] += sure
        if name.filename not in there:
            counts["acknowledged and lost"] += sure
            continue
        url, announced = there[name.filename]
        answer = asyncio.run(ask(peer.server.port, "GET", url, peer.headers))
        got = hashlib.sha256(answer.body).hexdigest()
        if answer.status != 200:
            counts["listed, and cannot be had"] += 1
        elif got != name.sha256:
            counts["listed with partial or other bytes"] += 1
            counts["of these with a hash that matches them"] += announced == got


def kills(peer: Peer, rounds: int, seed: int) -> dict[str, object]:
    """Rounds of `kill -9` under uploads."""
    chance, counts, starts = random.Random(seed), Counter[str](), []
    starts.append(peer.start())
    try:
        for turn in range(rounds):
            history = History()
            asyncio.run(_load(peer, history, turn, chance))
            starts.append(peer.start())
            for project in history.by_project(history.names.values()):
                _hold(peer, history, counts, project)
    finally:
        peer.server.kill()
    keys = ("acknowledged uploads", "acknowledged and lost", "listed with partial or other bytes")
    return {
        "kills": rounds,
        **{
            key: counts[key]
            for key in (*keys, "of these with a hash that matches them", "listed, and cannot be had")
        },
        "seconds from start to first answer, median": round(sorted(starts)[len(starts) // 2], 2),
    }


def full(make: Callable[[Path], Peer], home: Path) -> dict[str, object]:
    """An upload to a full disk, and the next one when there is space again."""
    place = home / "disk"
    place.mkdir()
    _do("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", place)
    peer = make(place)
    try:
        peer.start()
        headers = {**peer.headers, "Content-Type": MULTIPART}
        filler = disk._fill(place, 2_000_000)
        sample = wheel("full", "1.0", random.Random(1).randbytes(5_000_000))
        status: object = asyncio.run(
            ask(peer.server.port, "POST", peer.upload, headers, form(*sample))
        ).status
        partial = [name for name, row in listed(peer, "full").items() if not _right(peer, row[0], sample[1])]
        left = sum(path.stat().st_size for path in peer.folder.rglob("*") if path.is_file() and _big(path))
        filler.unlink()
        again = asyncio.run(ask(peer.server.port, "POST", peer.upload, headers, form(*sample))).status
        right = any(_right(peer, row[0], sample[1]) for row in listed(peer, "full").values())
        return {
            "full disk: the upload answers": status,
            "full disk: truncated file is listed": "yes" if partial else "no",
            "full disk: bytes left behind": left,
            "space again: the same upload answers": again,
            "space again: the file can be had": "yes" if right else "no",
        }
    except Cut as cut:
        return {"full disk: the upload answers": f"nothing ({cut})"}
    finally:
        peer.server.kill()
        _do("umount", place)


def _big(path: Path) -> bool:
    """Part of the upload, not of a database."""
    return (
        path.stat().st_size > 500_000 and ".sqlite" not in path.name and not path.name.startswith("catalogue")
    )


def _right(peer: Peer, url: str, data: bytes) -> bool:
    return asyncio.run(ask(peer.server.port, "GET", url, peer.headers)).body == data


def run(rounds: int, seed: int) -> dict[str, object]:
    """All of them, one after the other; figures by server."""
    found: dict[str, object] = {}
    for name, make in MAKERS.items():
        home = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
        try:
            figures = kills(make(home), rounds, seed)
            if os.geteuid() == 0:
                beside = home / "full"
                beside.mkdir()
                figures |= full(make, beside)
            found[name] = figures
        except (Broken, Cut, SystemExit) as error:
            found[name] = {"ended by": " ".join(str(error).split())[:200]}
        finally:
            shutil.rmtree(home, ignore_errors=True)
    return found
