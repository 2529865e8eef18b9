"""Races: many clients on one name have one winner; and a request whose answer was cut may be sent again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.wheels import wheel
from faults import check
from faults.client import MULTIPART, ask, form
from faults.server import Broken, Server, pidex, under_test

CLIENTS = 16
HEADERS = {"Content-Type": MULTIPART}


async def _race(server: Server, turn: int, chance: random.Random) -> str:
    """All at once, other bytes each (R10); the sha256 of the winner's."""
    sent = [
        wheel(f"race{turn}", "1.0", chance.randbytes(chance.choice((8, 3_000, 90_000))))
        for _ in range(CLIENTS)
    ]
    answers = await asyncio.gather(
        *(ask(server.port, "POST", "/legacy/", HEADERS, form(*each)) for each in sent)
    )
    said = sorted(answer.status for answer in answers)
    if said != [200] + [400] * (CLIENTS - 1):
        raise Broken(f"round {turn}: {said}")
    winner = next(each for each, answer in zip(sent, answers, strict=True) if answer.status == 200)
    return hashlib.sha256(winner[1]).hexdigest()


async def _cut(server: Server, sample: tuple[str, bytes], wait: float) -> None:
    """Send an upload and leave without hearing the answer; `wait`: seconds before leaving."""
    body = form(*sample)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [
        "POST /legacy/ HTTP/1.1",
        "Host: x",
        f"Content-Type: {MULTIPART}",
        f"Content-Length: {len(body)}",
    ]
    head = "".join(f"{line}\r\n" for line in [*lines, ""])
    writer.write(head.encode() + body)
    await writer.drain()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), wait)
    writer.transport.abort()


async def _again(server: Server, turn: int, chance: random.Random) -> str:
    """An upload whose answer is cut is sent again, at once (R12)."""
    sample = wheel(f"cut{turn}", "1.0", chance.randbytes(chance.choice((8, 3_000, 400_000))))
    await _cut(server, sample, chance.uniform(0, 0.03))
    answer = await ask(server.port, "POST", "/legacy/", HEADERS, form(*sample))
    for _ in range(20):
        if answer.status != 503:
            break
        await asyncio.sleep(0.2)
        answer = await ask(server.port, "POST", "/legacy/", HEADERS, form(*sample))
    if answer.status != 200:
        raise Broken(f"a second try answered {answer.status}: {answer.body[:300]!r}")
    return hashlib.sha256(sample[1]).hexdigest()


def run(rounds: int, seed: int, seconds: float = 1e9) -> dict[str, object]:
    """So many races, and as many requests sent again, or as begin within `seconds`. Raises `Broken`."""
    end = time.monotonic() + seconds
    base = Path(tempfile.mkdtemp(prefix="pidex-races-"))
    folder, chance = base / "packages", random.Random(seed)
    folder.mkdir()
    server = pidex(folder, base / "data", base / "log")
    counts: Counter[str] = Counter()
    with under_test(server, base, seed):
        server.start()
        for turn in range(rounds):
            if time.monotonic() > end:
                break
            for kind, project in ((_race, f"race{turn}"), (_again, f"cut{turn}")):
                winner = asyncio.run(kind(server, turn, chance))
                if (found := set(check.listed(server.port, project).values())) != {winner}:
                    raise Broken(f"{project}: {winner} won, and {found} is listed")
                counts[kind.__name__] += 1
        check.at_rest(folder, base / "data", check.everything(server.port))
        check.catalogue(base / "data", whole=True)
        check.verified(folder, base / "data", deep=True)
        if server.tracebacks():
            raise Broken(f"tracebacks in the log: {server.tail()}")
    return {"races": counts["_race"], "clients": CLIENTS, "cut answers": counts["_again"], "seed": seed}
