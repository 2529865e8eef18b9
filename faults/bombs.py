"""What others wait while one sends bombs: the requests beside each, and the memory of the server (B9, T8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.wheels import wheel
from faults import check
from faults.client import BOUNDARY, MULTIPART, Cut, ask
from faults.server import Broken, Server, family, go_first, pidex, put_first, under_test
from tests import samples
from tests.security.test_limits import BOMBS, READMES

#: Those who ask meanwhile: how many, and seconds between two questions of one.
OTHERS, PAUSE_SECONDS = 4, 0.01
#: Times that each bomb is sent, seconds between them, and seconds without one that they are compared with.
TIMES, REST_SECONDS, CALM_SECONDS = 5, 0.3, 5.0
#: Requests of others at least beside each, so that a hundredth of them is some.
REQUESTS = 400
#: What a bomb may cost: seconds until it is answered, and bytes in the server's own processes.
MOST_SECONDS, MOST_BYTES = 3.0, 50 << 20
MIB = 1 << 20


class Others:
    """People who ask for a page all the time, each on a connection of its own; how long each waited."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self.waits: list[float] = []
        self.failed = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Others:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(OTHERS)))

    async def _one(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                answer = await ask(self._port, "GET", self._path)
                self.failed += answer.status != 200
            except Cut:
                self.failed += 1
            self.waits.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_SECONDS)

    def p99_ms(self) -> float:
        """What 99 of 100 waited at most, in ms."""
        waits = sorted(self.waits)
        return round(waits[min(len(waits) - 1, len(waits) * 99 // 100)] * 1000, 1)


class Memory:
    """The most that the server's own processes had over what they had at first; not its children."""

    def __init__(self, server: Server) -> None:
        assert server.process is not None
        self._pid, self._over = server.process.pid, threading.Event()
        self._first = self.most = self._now()
        self._thread = threading.Thread(target=self._look)

    def _now(self) -> int:
        total = 0
        for pid, _ in family(self._pid):
            put_first(pid)  # children that read are in sessions of their own
            with contextlib.suppress(OSError):
                if b"-I" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE")

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, self._now())

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        return self.most - self._first


def body(filename: str, data: bytes) -> bytes:
    """The form of an upload of a file called `demo-1.0...`, whatever is in it."""
    kind = "bdist_wheel" if filename.endswith(".whl") else "sdist"
    fields = {":action": "file_upload", "protocol_version": "1", "name": "demo", "version": "1.0"}
    fields |= {"filetype": kind, "pyversion": "py3" if kind == "bdist_wheel" else "source"}
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**fields, "metadata_version": "2.1"}.items()
    )
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def uploads() -> Iterator[tuple[str, bytes, range]]:
    """What is sent: its name, the body, and the statuses that are right."""
    for name, (filename, made) in BOMBS.items():
        yield name, body(filename, made()), range(400, 401)
    lines = {
        "requirement in 500 brackets": ("1.0", ["x" + "[" * 500]),
        "METADATA of a million lines": ("1.0", []),
    }
    for name, (version, requires) in lines.items():
        extra = "Classifier: a\n" * 1_000_000 if not requires else ""
        text = samples.core_metadata("demo", version, requires=requires, extra=extra)
        filename, data = samples.wheel("demo", "1.0", metadata=text)
        yield name, body(filename, data), range(200, 401)
    tags = "-".join(".".join(f"t{n}" for n in range(count)) for count in (120, 40, 40))
    yield "file name of 192,000 tags", body(f"demo-1.0-{tags}.whl", b"PK"), range(400, 401)
    yield "version of 5,000 digits", body(f"demo-{'9' * 5000}.tar.gz", b"x"), range(400, 401)


def run(rounds: int, seed: int) -> dict[str, object]:
    """Each bomb `rounds` times, one after the other, beside people who ask; figures by bomb."""
    base = Path(tempfile.mkdtemp(prefix="pidex-bombs-"))
    (folder := base / "packages").mkdir()
    server, chance = pidex(folder, base / "data", base / "log"), random.Random(seed)
    go_first(server)
    with under_test(server, base, seed):
        server.start()
        port = server.port
        headers = {"Content-Type": MULTIPART}
        for number in range(10):
            filename, data = wheel("page", f"1.{number}", chance.randbytes(1000))
            (folder / filename).write_bytes(data)
        for number, (kind, text) in enumerate(READMES.values()):
            extra = f"Description-Content-Type: {kind}\n"
            for turn in range(rounds):  # what was rendered once is remembered
                name = f"readme{number}-{turn}"
                told = samples.core_metadata(name, "1.0", extra=extra) + f"{turn}\n\n{text}".encode()
                samples.write(folder, samples.wheel(name, "1.0", metadata=told))
        until(lambda: len(check.everything(port)) == 10 + len(READMES) * rounds)
        with Others(port, "/simple/page/") as others:
            time.sleep(CALM_SECONDS)
        found: dict[str, object] = {"nothing": _row(others, None, 0.0)}

        def sending(sent: bytes, right: range) -> Callable[[], None]:
            def act() -> None:
                answer = asyncio.run(ask(port, "POST", "/legacy/", headers, sent))
                if answer.status not in right:
                    raise Broken(f"answered {answer.status}: {answer.body[:200]!r}")

            return act

        def reading(number: int) -> Callable[[], None]:
            turns = iter(range(rounds))

            def act() -> None:
                answer = asyncio.run(ask(port, "GET", f"/main/project/readme{number}-{next(turns)}/"))
                if answer.status != 200:
                    raise Broken(f"a page answered {answer.status}")

            return act

        acts = {name: sending(sent, right) for name, sent, right in uploads()}
        acts |= {f"README: {name}": reading(number) for number, name in enumerate(READMES)}
        for name, act in acts.items():
            found[name] = _beside(server, name, act, rounds)
            print(f"{name}: {found[name]}", flush=True)
        if server.tracebacks():
            raise Broken(f"tracebacks in the log: {server.tail()}")
    return found


def _beside(server: Server, name: str, act: Callable[[], None], times: int) -> dict[str, object]:
    longest = 0.0
    with Others(server.port, "/simple/page/") as others, Memory(server) as memory:
        for _ in range(times):
            began = time.monotonic()
            try:
                act()
            except Broken as error:
                raise Broken(f"{name}: {error}") from None
            longest = max(longest, time.monotonic() - began)
            time.sleep(REST_SECONDS)
        until(lambda: len(others.waits) >= REQUESTS)
    if others.failed:
        raise Broken(f"{name}: {others.failed} requests of others failed meanwhile")
    if memory.grown > MOST_BYTES:
        raise Broken(f"{name}: the server's own processes grew by {memory.grown // MIB} MiB")
    return _row(others, memory, longest)


def _row(others: Others, memory: Memory | None, longest: float) -> dict[str, object]:
    return {
        "answered within s": round(longest, 2),
        "server grew by MiB": 0 if memory is None else round(memory.grown / MIB, 1),
        "p99 of others ms": others.p99_ms(),
        "requests of others": len(others.waits),
    }


def until(what: Callable[[], bool]) -> None:
    """Wait for something that comes within a minute."""
    end = time.monotonic() + 60
    while not what():
        if time.monotonic() > end:
            raise Broken("the set-up did not come to its end")
        time.sleep(0.1)
