"""The rows about mirrors and many at once: fifty clients of one file, and small pages beside big ones."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench import load, servers, wheels
from bench.report import Figure, note
from bench.servers import Server
from tests import samples
from tests.upstreams import LocalUpstream

#: MB of the big wheel, and clients that want it at once.
BIG_MEGABYTES, CLIENTS = 200, 50
#: Files and bytes of a big page, and how many such pages are asked for, one after the other.
PAGE_FILES, PAGE_BYTES, PAGES = 2_000, 10_000_000, 8
#: Own names, one file each, that are claimed when a folder is read for the first time.
OWN_NAMES = 10_000
JSON = "application/vnd.pypi.simple.v1+json"
#: The own project whose page is asked for all the while.
CALM = "calm"

#: Starts pidex in a folder, over an upstream.
Start = Callable[[Path, str], AbstractContextManager[tuple[Server, str]]]
#: Starts an upstream over a recording in a folder.
Playing = Callable[[Path], AbstractContextManager[str]]


def bystanders(home: Path, start: Start, playing: Playing) -> list[Figure]:
    """How long the page of an own project takes, while nothing happens and while much does."""
    note("a page beside big pages")
    store, place = home / "big-pages", home / "bystander"
    store.mkdir()
    for number in range(PAGES):
        (store / f"page~big-{number}~json").write_bytes(big_page(f"big-{number}"))
    figures = []
    with ExitStack() as stack:
        upstream = stack.enter_context(playing(store))
        (place / "packages").mkdir(parents=True)
        wheels.put(place / "packages", CALM, "1.0.0")
        server, _ = stack.enter_context(start(place, upstream))
        server.await_ok(f"/simple/{CALM}/")
        with watched(server) as quiet:
            time.sleep(3)
        figures.append(_figure("a page, while nothing else happens", quiet))
        with watched(server) as beside:
            began = time.perf_counter()
            for number in range(PAGES):
                server.get(f"/simple/big-{number}/", {"Accept": JSON, "Accept-Encoding": "gzip"})
            seconds = (time.perf_counter() - began) / PAGES
        what = f"a page, while pages of {PAGE_FILES:,} files and {PAGE_BYTES / 1e6:.0f} MB come"
        figures.append(_figure(f"{what} ({seconds:.2f} s each)", beside))
        note("a page beside a first scan")
        coming = home / "coming"
        wheels.fill(coming, ((f"own-{number}", 1) for number in range(OWN_NAMES)))
        with watched(server) as beside:
            began = time.perf_counter()
            for path in coming.iterdir():
                path.rename(place / "packages" / path.name)
            servers.at_rest(place / "data", OWN_NAMES + 1)
            seconds = time.perf_counter() - began
        figures.append(_figure(f"a page, while {OWN_NAMES:,} names are claimed ({seconds:.0f} s)", beside))
    shutil.rmtree(store)
    return figures


def big_page(project: str) -> bytes:
    """A page as PyPI's, of files about which much is said that nobody reads."""
    lines = []
    for number in range(PAGE_FILES):
        name = f"{project.replace('-', '_')}-1.{number}-py3-none-any.whl"
        spread = f"{number % 256:02x}/00/{number:060x}"
        line = {
            "filename": name,
            "url": f"/files/0/packages/{spread}/{name}",
            "hashes": {"sha256": f"{number:064x}"},
            "requires-python": ">=3.8",
            "size": 1_000,
            "upload-time": "2024-01-01T00:00:00.000001Z",
            "yanked": False,
            "note": "",
        }
        line["note"] = "x" * (PAGE_BYTES // PAGE_FILES - len(json.dumps(line)))
        lines.append(line)
    return json.dumps({"meta": {"api-version": "1.4"}, "name": project, "files": lines}).encode()


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """The milliseconds that the page of the own project takes, asked for again and again meanwhile."""
    taken: list[float] = []
    done = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not done.wait(0.002):
            before = time.perf_counter()
            connection.request("GET", f"/simple/{CALM}/", headers={"Accept": JSON})
            connection.getresponse().read()
            taken.append((time.perf_counter() - before) * 1000)
        connection.close()

    watcher = threading.Thread(target=ask)
    watcher.start()
    try:
        yield taken
    finally:
        done.set()
        watcher.join()


def _figure(title: str, taken: list[float]) -> Figure:
    ordered = sorted(taken)
    late = ordered[len(ordered) * 99 // 100]
    words = f"{load.median(ordered):.1f} ms, 99 of 100 within {late:.1f} ms, at most {ordered[-1]:.0f} ms"
    return Figure(title, f"{words} ({len(ordered):,} times)")


def herd(home: Path, start: Start) -> list[Figure]:
    """One big wheel that nobody has asked for before, and many clients that want it at once."""
    note(f"{CLIENTS} clients, one wheel of {BIG_MEGABYTES} MB")
    upstream = LocalUpstream()
    data = os.urandom(BIG_MEGABYTES * 1024 * 1024)
    upstream.add(samples.wheel("big", "1.0", files={"big/data.bin": data}))
    with ExitStack() as stack:
        stack.enter_context(upstream)
        place = home / "herd"
        place.mkdir()
        server, url = stack.enter_context(start(place, upstream.url))
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}big/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
        ) as answer:
            file = json.load(answer)["files"][0]
        before = max(server.memory()[1:])
        peak, done = [before], threading.Event()

        def weigh() -> None:
            while not done.wait(0.1):
                peak.append(max(server.memory()[1:]))

        watcher = threading.Thread(target=weigh)
        watcher.start()
        target = f"http://127.0.0.1:{server.port}/{file['url'].removeprefix('../../')}"
        began = time.perf_counter()
        clients = [
            subprocess.Popen(f"curl -sS {target} | sha256sum", shell=True, stdout=subprocess.PIPE, text=True)
            for _ in range(CLIENTS)
        ]
        right = sum(file["hashes"]["sha256"] in client.communicate()[0] for client in clients)
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        fetches = sum(each.path.endswith(".whl") for each in upstream.requests("", "GET"))
    return [
        Figure(
            f"{CLIENTS} cold clients of a {BIG_MEGABYTES} MB wheel: right answers", str(right), str(CLIENTS)
        ),
        Figure("upstream fetches for them", str(fetches), "1"),
        Figure(
            "memory of the worker before and at most", f"{before / 2**20:.0f}, {max(peak) / 2**20:.0f} MB"
        ),
        Figure("bytes sent a second", f"{CLIENTS * BIG_MEGABYTES / seconds:,.0f} MB/s"),
    ]
