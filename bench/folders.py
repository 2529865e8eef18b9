"""The rows about the folder: first scan, start, page latency, drop to listed, memory, the command line."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench import load, servers, wheels
from bench.pages import HTML, project
from bench.report import Figure, note
from bench.servers import Server, at_rest

HEALTH = "/-/health"


def measure(home: Path, sizes: list[int], drops: int) -> list[Figure]:
    """One folder after the other; each is deleted when its rows are done."""
    figures = [command_line()]
    for size in sizes:
        note(f"a folder of {size:,} files")
        place = home / f"folder-{size}"
        place.mkdir()
        figures += one_folder(place, size, drops, largest=size == max(sizes))
        shutil.rmtree(place)
    return figures


def one_folder(place: Path, size: int, drops: int, *, largest: bool) -> list[Figure]:
    folder, data = place / "packages", place / "data"
    projects = size // 10
    wheels.fill(folder, ((project(number), 10) for number in range(projects)))
    last, goal = project(projects - 1), largest and size >= 100_000
    figures = []
    with ExitStack() as stack:
        server = servers.pidex(folder, data, workers=1)
        stack.callback(server.stop)
        before = server.start()
        serving = server.await_ok(HEALTH) - before
        asked = server.await_ok(server.page(last)) - before
        rest = at_rest(data, projects * 10) - before
        words = f"{serving:.2f} s to serving, {asked:.2f} s to a project asked for, {rest:.0f} s to rest"
        figures.append(Figure(f"first scan, {size:,} files", words, "serving at once" if goal else ""))
    with ExitStack() as stack:
        server = servers.pidex(folder, data, workers=1)
        stack.callback(server.stop)
        before = server.start()
        answered = server.await_ok(server.page(last)) - before
        reach = "2 s" if goal else "1 s" if not largest else ""
        figures.append(Figure(f"start over {size:,} known files to a page", f"{answered:.2f} s", reach))
        time.sleep(2)
        main, *rest_of = server.memory()
        worker = max(rest_of, default=main)
        words = f"worker {worker / 1e6:.0f} MB, main process {main / 1e6:.0f} MB"
        figures.append(Figure(f"memory when idle, {size:,} files", words, "100 MB a worker"))
        figures += pages(server, projects, size)
        listed = [dropped(server, folder, number) for number in range(drops)]
        words = f"{load.median(listed):.2f} s (slowest of {drops}: {max(listed):.2f} s)"
        figures.append(Figure(f"dropped to listed, {size:,} files", words, "1 s"))
    return figures


def pages(server: Server, projects: int, size: int) -> list[Figure]:
    """Latency of pages asked for the first time and again, one after the other on one connection."""
    paths = [server.page(project(number)) for number in range(0, projects, max(1, projects // 1000))]
    misses = load.median(load.latencies(server, paths, {"Accept": HTML}))
    hits = load.median(load.latencies(server, paths, {"Accept": HTML}))
    alone = load.wrk(server, paths[0], {"Accept": HTML}, 2, threads=1, connections=1).median_ms
    words = f"{misses:.2f} ms first, {hits:.2f} ms again; {alone * 1000:.0f} us seen by wrk"
    return [Figure(f"page latency, {size:,} files", words, "first under 1 ms; flat")]


def dropped(server: Server, folder: Path, number: int) -> float:
    """Seconds from a file's arrival to its page."""
    name = f"dropped-{number}"
    path = server.page(name)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    wheels.put(folder, name, "1.0.0")
    before = time.perf_counter()
    while True:
        connection.request("GET", path, headers={"Accept": HTML})
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            connection.close()
            return time.perf_counter() - before
        if time.perf_counter() - before > 120:
            raise SystemExit(f"{path} is not listed after 120 s: {response.status}")
        time.sleep(0.002)


def command_line() -> Figure:
    """How long `pidex --help` takes."""
    program = Path(sys.executable).parent / "pidex"
    taken = []
    for _ in range(11):
        before = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        taken.append(time.perf_counter() - before)
    return Figure("`pidex --help`", f"{load.median(taken):.2f} s", "0.2 s")
