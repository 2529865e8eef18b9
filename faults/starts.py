"""How soon a server answers after a kill: by the clock, and by the processor time that its start takes."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
from pathlib import Path

from bench.wheels import wheel
from faults import check
from faults.client import MULTIPART, Cut, ask, form
from faults.server import Broken, Server, go_first, pidex, under_test

#: Files that lie there, those on their way when the kill comes, and seconds until then.
FILES, CLIENTS, LOAD_SECONDS = 200, 8, (0.05, 0.4)


async def _killed(server: Server, turn: int, chance: random.Random) -> None:
    """Uploads, and a kill among them."""

    async def upload(number: int) -> None:
        sample = wheel(f"start{turn}-{number}", "1.0", chance.randbytes(200_000))
        try:
            await ask(server.port, "POST", "/legacy/", {"Content-Type": MULTIPART}, form(*sample))
        except Cut:
            return

    work = [asyncio.create_task(upload(number)) for number in range(CLIENTS)]
    await asyncio.sleep(chance.uniform(*LOAD_SECONDS))
    await asyncio.to_thread(server.kill)
    await asyncio.gather(*work)


def run(rounds: int, seed: int) -> dict[str, object]:
    """So many kills under uploads, and a start after each; the figures. Raises `Broken`."""
    base, chance = Path(tempfile.mkdtemp(prefix="pidex-starts-")), random.Random(seed)
    (folder := base / "packages").mkdir()
    for number in range(FILES):
        filename, data = wheel(f"here{number % 100}", f"1.{number}")
        (folder / filename).write_bytes(data)
    server = pidex(folder, base / "data", base / "log")
    go_first(server)
    seconds, processor = [], []
    with under_test(server, base, seed):
        server.start()
        while len(check.everything(server.port)) < FILES:
            pass  # each look waits for pages that are not ready
        for turn in range(rounds):
            asyncio.run(_killed(server, turn, chance))
            seconds.append(server.start())
            processor.append(server.started_with)
        check.verified(folder, base / "data")
        if server.tracebacks():
            raise Broken(f"tracebacks in the log: {server.tail()}")
    return {
        "starts": rounds,
        "seed": seed,
        "files": FILES,
        "seconds_median": round(statistics.median(seconds), 2),
        "seconds_most": round(max(seconds), 2),
        "within_2_s": sum(each <= 2.0 for each in seconds),
        "processor_seconds_median": round(statistics.median(processor), 2),
    }
