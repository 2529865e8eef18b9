"""The rows about mirrors: 198 packages through each, cold and warm, beside direct access."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import peers, servers
from bench.report import Figure, Row, Table, note
from bench.servers import Server, free_port
from pidex.app.known import url_of
from tests import samples
from tests.upstreams import LocalUpstream

#: What is resolved: 198 packages in November 2026.
REQUIREMENTS = ("jupyterlab", "apache-airflow", "fastapi[standard]")
PYTHON = "3.11"
RECORDING = peers.HOME / "recording"
#: A network that is not a data centre's: seconds, and bytes a second of each connection.
LATENCY, BANDWIDTH = 0.05, 12_500_000
#: Seconds that one run of a client may take, through whatever mirror.
PATIENCE = 900
#: MB of the big wheel, and clients that want it at once.
BIG_MEGABYTES, CLIENTS = 200, 50

PIDEX, PROXPI, DEVPI, DIRECT = "pidex", "proxpi", "devpi", "direct"


@dataclass(frozen=True)
class Network:
    """How far away the upstream is."""

    title: str
    latency: float
    bandwidth: int | None


NETWORKS = (
    Network("an upstream beside it", 0.0, None),
    Network("an upstream 50 ms away, 100 Mbit/s a connection", LATENCY, BANDWIDTH),
)


def measure(home: Path, rounds: int, others: int) -> tuple[list[Table], list[Figure]]:
    """`rounds` of pidex and of direct access, `others` of the peers."""
    record()
    tables, figures = [], []
    for network in NETWORKS:
        table = Table(f"198 packages, {network.title}, seconds", [PIDEX, DIRECT, PROXPI, DEVPI])
        with _upstream(network) as upstream:
            memory = _table(home, upstream, table, rounds, others)
        tables.append(table)
        for name, size in memory.items():
            figures.append(Figure(f"memory of {name} after it, {network.title}", f"{size / 2**20:.0f} MB"))
    figures += herd(home)
    return tables, figures


def record() -> None:
    """Have a recording: what uv asks PyPI for when it resolves and downloads, once."""
    pins = RECORDING / "pins.txt"
    if pins.exists():
        return
    note("recording what 198 packages ask of PyPI")
    source = url_of("pypi")
    assert source is not None
    with _started(Network("", 0.0, None), "--record", source) as upstream:
        resolved = _resolve(upstream, RECORDING)
        _fetch_uv(upstream, RECORDING, resolved)
        _fetch_pip(upstream, RECORDING, resolved)
        pins.write_text(resolved)


def _table(home: Path, upstream: str, table: Table, rounds: int, others: int) -> dict[str, int]:
    pins = (RECORDING / "pins.txt").read_text()
    found: dict[tuple[str, str], list[float]] = {}
    bad: dict[str, int] = {}
    memory: dict[str, int] = {}

    def timed(name: str, what: str, act: Callable[[str], object], url: str) -> None:
        before = time.perf_counter()
        told = act(url)
        found.setdefault((what, name), []).append(time.perf_counter() - before)
        if isinstance(told, str) and told != pins:
            bad[name] = bad.get(name, 0) + 1
            note(f"{name}: another resolution than the direct one")

    acts: dict[str, Callable[[str], object]] = {
        "uv resolves": lambda url: _resolve(url, home),
        "uv downloads": lambda url: _fetch_uv(url, home, pins),
        "pip downloads": lambda url: _fetch_pip(url, home, pins),
    }
    for number in range(rounds):
        note(f"{table.title}: round {number + 1}")
        for what, act in acts.items():
            timed(DIRECT, f"{what}, cold", act, upstream)
        for name, start in (("pidex", _pidex), ("proxpi", _proxpi), ("devpi", _devpi)):
            if number >= (rounds if name == PIDEX else others):
                continue
            for what, act in acts.items():
                if what.startswith("pip") and name != PIDEX and number:
                    continue
                place = home / f"{name}-mirror"
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                with start(place, upstream) as (server, url):
                    timed(name, f"{what}, cold", act, url)
                    timed(name, f"{what}, warm", act, url)
                    memory[name] = max(memory.get(name, 0), *server.memory()[1:], server.memory()[0])
    for what in acts:
        for heat in ("cold", "warm"):
            figures = {
                name: statistics.median(found[f"{what}, {heat}" if name != DIRECT else f"{what}, cold", name])
                for name in table.servers
                if (f"{what}, {heat}" if name != DIRECT else f"{what}, cold", name) in found
            }
            reach = "pidex / direct at most 1.3" if heat == "cold" else "pidex / direct at most 1"
            table.rows.append(Row(f"{what}, {heat}", reach, figures, dict(bad)))
    return memory


# --- clients ------------------------------------------------------------------------------------------------


def _uv(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "uv"), *arguments, "--no-config", "--no-cache", "-q"]


def _run(command: list[str]) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _resolve(index: str, home: Path) -> str:
    wanted = home / "requirements.in"
    wanted.write_text("\n".join(REQUIREMENTS) + "\n")
    text = _run(_uv("pip", "compile", "--python-version", PYTHON, "-i", index, str(wanted), "--no-header",
                    "--no-annotate"))  # fmt: skip
    return "\n".join(line for line in text.splitlines() if "==" in line) + "\n"


def _pinned(home: Path, pins: str) -> Path:
    place = home / "pins.in"
    place.write_text(pins)
    return place


def _fetch_uv(index: str, home: Path, pins: str) -> None:
    target = home / "target"
    shutil.rmtree(target, ignore_errors=True)
    _run(_uv("pip", "install", "--no-deps", "--python-version", PYTHON, "--target", str(target), "-i", index,
             "-r", str(_pinned(home, pins))))  # fmt: skip
    shutil.rmtree(target)


def _fetch_pip(index: str, home: Path, pins: str) -> None:
    target = home / "wheels"
    shutil.rmtree(target, ignore_errors=True)
    _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir",
          "--disable-pip-version-check", "-d", str(target), "-i", index,
          "-r", str(_pinned(home, pins))])  # fmt: skip
    shutil.rmtree(target)


# --- servers ------------------------------------------------------------------------------------------------


@contextmanager
def _started(network: Network, *more: str) -> Iterator[str]:
    """The recording as an upstream: the URL of its simple API."""
    port = free_port()
    command = [sys.executable, "-m", "bench.recording", str(RECORDING), "--port", str(port)]
    command += ["--latency", str(network.latency), *more]
    if network.bandwidth is not None:
        command += ["--bandwidth", str(network.bandwidth)]
    server = Server("upstream", command, port, log=peers.HOME / "recording.log")
    server.start()
    try:
        server.await_ok("/simple/")
        yield f"http://127.0.0.1:{port}/simple/"
    finally:
        server.stop()


@contextmanager
def _upstream(network: Network) -> Iterator[str]:
    with _started(network) as url:
        yield url


@contextmanager
def _pidex(place: Path, upstream: str) -> Iterator[tuple[Server, str]]:
    folder = place / "packages"
    folder.mkdir()
    server = servers.pidex(folder, place / "data", "--upstream", upstream, workers=1)
    server.start()
    try:
        server.await_ok("/-/health")
        yield server, f"http://127.0.0.1:{server.port}/simple/"
    finally:
        server.stop()


@contextmanager
def _proxpi(place: Path, upstream: str) -> Iterator[tuple[Server, str]]:
    port = free_port()
    programs = peers.environment("proxpi")
    command = ["env", f"PROXPI_INDEX_URL={upstream}", f"PROXPI_CACHE_DIR={place}", "FLASK_APP=proxpi.server"]
    command += [str(programs / "flask"), "run", "--port", str(port)]
    server = Server("proxpi", command, port, "/index/{project}/", log=place / "log")
    server.start()
    try:
        server.await_ok("/health")
        yield server, f"http://127.0.0.1:{port}/index/"
    finally:
        server.stop()


@contextmanager
def _devpi(place: Path, upstream: str) -> Iterator[tuple[Server, str]]:
    server = servers.devpi(place, offline=False)
    server.start()
    try:
        server.await_ok("/+api")
        servers.devpi_index(server, "mirror", {"type": "mirror", "mirror_url": upstream, "volatile": True})
        yield server, f"http://127.0.0.1:{server.port}/root/mirror/+simple/"
    finally:
        server.stop()


# --- many clients, one file ---------------------------------------------------------------------------------


def herd(home: Path) -> list[Figure]:
    """One big wheel that nobody has asked for before, and many clients that want it at once."""
    note(f"{CLIENTS} clients, one wheel of {BIG_MEGABYTES} MB")
    upstream = LocalUpstream()
    data = os.urandom(BIG_MEGABYTES * 1024 * 1024)
    upstream.add(samples.wheel("big", "1.0", files={"big/data.bin": data}))
    with ExitStack() as stack:
        stack.enter_context(upstream)
        place = home / "herd"
        place.mkdir()
        server, url = stack.enter_context(_pidex(place, upstream.url))
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
        fetches = len(upstream.requests(".whl", "GET"))
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
