"""`kill -9` of the whole session, at random moments and at named steps, under everything that can write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.ports import free_port
from faults import check
from faults.history import History
from faults.load import FTP_USER, Clone, Load
from faults.server import Broken, Server, pidex
from faults.steps import REPAIRS, STEPS, Points

#: Rounds between two checks of everything, and names of earlier rounds that each round looks at again.
WHOLE_ROUNDS, OLDER_NAMES = 25, 20
#: Seconds of load before a random kill, and at most until a step is reached.
LOAD_SECONDS, STEP_SECONDS = (0.15, 1.2), 3.0
CLIENTS, READERS = 4, 1
#: Seconds that clients may take to notice that their server is gone.
ABANDON_SECONDS = 1.0


@dataclass
class Kills:
    """Rounds of kills over one folder. `base`: where all of it lies; kept where a promise was broken."""

    base: Path
    seed: int
    history: History = field(default_factory=History)
    starts: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    serial: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.folder, self.data = self.base / "packages", self.base / "data"
        self.folder.mkdir(parents=True)
        self.points = Points(self.base)
        self.ftp_port = free_port()
        log, options = self.base / "server.log", ("--ftp-port", str(self.ftp_port))
        self.server: Server = pidex(self.folder, self.data, log, *options, environ=self.points.environ())
        self.clone = Clone(self.base / "clone")
        self.password = ""

    def run(self, rounds: int, seconds: float = 1e9) -> None:
        """So many rounds, or as many as begin within `seconds`. Raises `Broken`."""
        end = time.monotonic() + seconds
        try:
            self.server.start()
            ask_control(self.data, "git.enable", index="main", empty=True)
            self.password = ftp_person(self.data)
            plan = self._plan()
            while self.rounds < rounds and time.monotonic() < end:
                self.rounds += 1
                self._round(*plan[self.rounds % len(plan)])
                if self.rounds % 10 == 0:
                    print(
                        f"{self.rounds} kills, {self.history.counts['names checked']} names checked",
                        flush=True,
                    )
            self._whole()
        finally:
            self.server.kill()
        if missing := self.points.missing():
            raise Broken(f"steps that the program does not have: {missing}")

    def _plan(self) -> list[tuple[str, str]]:
        """Every step before and after, and as many random kills, in a random order."""
        steps = [(step, when) for step in STEPS for when in ("before", "after")]
        plan = steps + [("", "")] * len(steps)
        self.chance.shuffle(plan)
        return plan

    def _round(self, step: str, when: str) -> None:
        known = set(self.history.names)
        if step:
            self.points.arm(step, when, self.chance.randint(1, 4))
        asyncio.run(self._under_load(STEP_SECONDS if step else self.chance.uniform(*LOAD_SECONDS)))
        self.server.kill()
        if step and self.points.disarm():
            self.hits[f"{step} {when}"] += 1
        if self.chance.random() < 0.15:
            self._die_in_repair()
        self.starts.append(self.server.start())
        self.processor.append(self.server.started_with)
        fresh = [name for name in self.history.names.values() if name.filename not in known]
        older = [name for name in self.history.names.values() if name.filename in known]
        touched = {name.project for name in fresh}
        some = self.chance.sample(older, min(OLDER_NAMES, len(older)))
        check.settle(self.server.port, self.history, fresh, clone=self.clone)
        check.settle(self.server.port, self.history, [each for each in some if each.project not in touched])
        serial = check.catalogue(self.data)
        if serial < self.serial:
            raise Broken(f"serials went back: {self.serial} to {serial}")
        self.serial = serial
        check.verified(self.folder, self.data)
        self.history.counts["verified"] += 1
        if self.rounds % WHOLE_ROUNDS == 0:
            self._whole()

    async def _under_load(self, seconds: float) -> None:
        port, ftp = self.server.port, (self.ftp_port, self.password)
        load = Load(port, self.history, self.seed, self.rounds, ftp=ftp, clone=self.clone)
        work = asyncio.create_task(load.run(CLIENTS, READERS))
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.server.alive:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self.server.kill)
        load.over.set()
        await asyncio.wait([work], timeout=ABANDON_SECONDS)
        self.clone.abandon()
        await work

    def _die_in_repair(self) -> None:
        """A start that is killed in the middle of finishing what the last kill cut off (R32)."""
        self.points.arm(self.chance.choice(REPAIRS), self.chance.choice(("before", "after")))
        with contextlib.suppress(Broken):  # it ended before its first answer, as it was told to
            self.server.start()
        self.server.kill()
        self.hits["in the repair of a start"] += self.points.disarm()

    def _whole(self) -> None:
        """Everything that was ever sent, the folder file by file, and the catalogue's own check."""
        found = check.everything(self.server.port)
        self.history.settle(list(self.history.names.values()), found)
        deadline = time.monotonic() + check.PATIENCE_SECONDS
        while True:
            try:
                check.at_rest(self.folder, self.data, found)
                break
            except Broken:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                found = check.everything(self.server.port)
        check.catalogue(self.data, whole=True)
        check.verified(self.folder, self.data, deep=True)

    def figures(self) -> dict[str, object]:
        """What this run saw."""
        return {
            "rounds": self.rounds,
            "seed": self.seed,
            "at_steps": sum(self.hits.values()),
            "steps_reached": len(self.hits),
            "start_median": round(statistics.median(self.starts), 2) if self.starts else None,
            "start_most": round(max(self.starts), 2) if self.starts else None,
            "start_processor_median": round(statistics.median(self.processor), 2) if self.processor else None,
            **self.history.counts,
        }


def ask_control(data: Path, call: str, **args: object) -> object:
    """A call by the server's control socket, as its operator."""
    end = time.monotonic() + check.PATIENCE_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(str(data / "control.sock"))
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
                continue
            line.sendall(json.dumps({"call": call, "args": args}).encode() + b"\n")
            for answer in line.makefile("r"):
                told = json.loads(answer)
                if "error" in told:
                    raise Broken(f"{call}: {told['error']}")
                if "result" in told:
                    return told["result"]


def ftp_person(data: Path) -> str:
    """Somebody who may upload by FTP; the token."""
    ask_control(data, "accounts.add_user", name=FTP_USER)
    ask_control(
        data, "accounts.grant", subject=f"user:{FTP_USER}", role="uploader", index="main", project="*"
    )
    made = ask_control(data, "accounts.create_token", user=FTP_USER, scopes=("read", "upload"))
    return str(made["text"]) if isinstance(made, dict) else ""


def run(rounds: int, seed: int, seconds: float = 1e9) -> dict[str, object]:
    """Rounds of kills; the figures. Raises `Broken`; the directory is then kept and named."""
    base = Path(tempfile.mkdtemp(prefix="pidex-kills-"))
    kills = Kills(base, seed)
    try:
        kills.run(rounds, seconds)
    except Broken as error:
        raise Broken(f"round {kills.rounds}, seed {seed}: {error} (kept: {base})") from None
    shutil.rmtree(base, ignore_errors=True)
    return kills.figures()
