"""The rows about nodes: pages and uploads a second with 1, 2 and 3 of them, what each takes to compute."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from bench import load
from bench.pages import HTML, project
from bench.report import Figure, note
from bench.servers import Server
from tests import samples
from tests.cluster import nodes
from tests.cluster.nodes import Cluster
from tests.walks.server import Server as Node
from tests.walks.server import family

#: Connections, projects that are asked for the first time, and clients that upload.
CONNECTIONS, MISSES, CLIENTS = 32, 200, 8
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(home: Path, seconds: float, most: int = 3) -> list[Figure]:
    """One database and one folder at a time; a server of one machine first."""
    figures = []
    for number in (0, *range(1, most + 1)):
        note(f"{number} nodes" if number else "one machine, SQLite")
        place = home / f"cluster-{number}"
        place.mkdir()
        figures += _single(place, seconds) if number == 0 else _nodes(place, number, seconds)
    return figures


def _single(place: Path, seconds: float) -> list[Figure]:
    """The same requests to a server with its catalogue in a file, open to uploads by the same person."""
    folder = place / "packages"
    folder.mkdir()
    _fill(folder)
    with ExitStack() as stack:
        server = Node(
            folder,
            log=place / "log",
            options=("--data", str(place / "data"), "--guard", "", "--no-access-log"),
        )
        stack.enter_context(server)
        return _figures("SQLite, one machine", [server], [], seconds)


def _nodes(place: Path, number: int, seconds: float) -> list[Figure]:
    with ExitStack() as stack:
        cluster = Cluster(place, nodes=number, options=("--guard", ""))
        _fill(cluster.folder)
        stack.enter_context(cluster)
        return _figures(f"PostgreSQL, {number} nodes", cluster.nodes, [cluster.database.pid], seconds)


def _fill(folder: Path) -> None:
    for number in range(MISSES):
        samples.write(folder, samples.wheel(project(number), "1.0"))


def _figures(name: str, served: Sequence[Node], besides: Sequence[int], seconds: float) -> list[Figure]:
    for node in served:
        for number in (0, MISSES - 1):
            filename = samples.wheel(project(number), "1.0")[0]
            node.wait_for(project(number), filename)
    roots = [*(node.pid for node in served), *besides]
    figures = []
    servers = [Server(name, [], node.port) for node in served]
    before, began = processor(roots), time.perf_counter()
    paths = [f"/simple/{project(number)}/" for number in range(MISSES)]
    missed = [each for server in servers for each in load.latencies(server, paths, {"Accept": HTML})]
    used = (processor(roots) - before) / len(missed)
    figures.append(
        Figure(
            f"{name}: page miss",
            f"{load.median(missed):.2f} ms, {used * 1e6:.0f} us of the processor",
            "10 ms",
        )
    )
    before, began = processor(roots), time.perf_counter()
    each = max(1, CONNECTIONS // len(servers))
    with ThreadPoolExecutor(len(servers)) as pool:
        found = list(
            pool.map(
                lambda server: load.wrk(
                    server, paths[0], {"Accept": HTML}, seconds, threads=1, connections=each
                ),
                servers,
            )
        )
    took = time.perf_counter() - began
    rate = sum(reading.rate for reading in found)
    used = (processor(roots) - before) / (rate * took)
    words = f"{rate:,.0f} a second, {used * 1e6:.0f} us of the processor each"
    figures.append(Figure(f"{name}: page hit, {CONNECTIONS} connections", words, ""))
    figures.append(_uploads(name, served, roots, seconds))
    return figures


def _uploads(name: str, served: Sequence[Node], roots: Sequence[int], seconds: float) -> Figure:
    """Small wheels, by several clients at once, each through the next node."""
    numbers = count()
    before, began = processor(roots), time.perf_counter()

    def client(lane: int) -> list[float]:
        taken = []
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            sample = samples.wheel(f"up{lane}", f"1.{next(numbers)}")
            answer = nodes.send(served[lane % len(served)].url, sample, by=nodes.OWNER)
            if answer.status != 200:
                raise SystemExit(f"{name}: an upload was answered {answer.status}: {answer.text[:200]}")
            taken.append((time.perf_counter() - start) * 1000)
        return taken

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [each for lane in pool.map(client, range(CLIENTS)) for each in lane]
    took = time.perf_counter() - began
    used = (processor(roots) - before) / len(found)
    words = (
        f"{len(found) / took:,.0f} a second, {load.median(found):.0f} ms each,"
        f" {used * 1000:.1f} ms of the processor each"
    )
    return Figure(f"{name}: uploads, {CLIENTS} clients", words, "")


def processor(roots: Sequence[int]) -> float:
    """Seconds that processes and their descendants have used by now."""
    total = 0
    for root in roots:
        for each in family(root):
            try:
                fields = Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(field) for field in fields[11:15])  # its own, and of children that ended
    return total / _TICKS
