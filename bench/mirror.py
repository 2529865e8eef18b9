"""The rows about mirrors: 198 packages through each, cold and warm, beside direct access."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import crowds, peers, servers
from bench.ports import free_port
from bench.report import Figure, Row, Table, note
from bench.servers import Server
from pidex.app.known import url_of

#: What is resolved: 198 packages in November 2026.
REQUIREMENTS = ("jupyterlab", "apache-airflow", "fastapi[standard]")
PYTHON = "3.11"
RECORDING = peers.HOME / "recording"
#: A network that is not a data centre's: seconds, and bytes a second of each connection.
LATENCY, BANDWIDTH = 0.05, 12_500_000
#: Seconds that one run of a client may take, through whatever mirror.
PATIENCE = 900

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
#: Where every single time goes as it is measured, a JSON object a line: a run that is cut off is not lost.
TIMES = peers.HOME / "mirror.jsonl"
#: Minutes after which nothing more is asked of the peers, which take most of the time. 0: no limit.
MINUTES = float(os.environ.get("PIDEX_BENCH_MINUTES", "0"))


class Times:
    """What was measured: seconds by row and server, processor seconds and memory of servers."""

    def __init__(self) -> None:
        self.pins = (RECORDING / "pins.txt").read_text()
        self.seconds: dict[tuple[str, str, str], list[float]] = {}
        self.processor: dict[tuple[str, str, str], list[float]] = {}
        self.memory: dict[tuple[str, str], int] = {}
        self.bad: dict[str, int] = {}
        self._began = time.monotonic()

    @property
    def spent(self) -> bool:
        """Whether there is no time left for peers."""
        return bool(MINUTES) and time.monotonic() - self._began > MINUTES * 60

    def take(
        self, network: str, row: str, name: str, act: Callable[[str], object], url: str, server: Server | None
    ) -> None:
        """Do something once, and keep how long it took."""
        worked, before = _processor(server), time.perf_counter()
        told = act(url)
        seconds = time.perf_counter() - before
        worked = _processor(server) - worked
        self.seconds.setdefault((network, row, name), []).append(seconds)
        self.processor.setdefault((network, row, name), []).append(worked)
        if isinstance(told, str) and told != self.pins:
            self.bad[name] = self.bad.get(name, 0) + 1
            note(f"{name}: another resolution than the direct one")
        size = 0
        if server is not None:
            size = max(server.memory()[1:] or server.memory())
            self.memory[network, name] = max(self.memory.get((network, name), 0), size)
        with TIMES.open("a") as log:
            log.write(json.dumps([network, row, name, seconds, worked, size]) + "\n")

    def table(self, network: Network, rows: Sequence[str]) -> Table:
        """The medians."""
        table = Table(f"198 packages, {network.title}, seconds", [PIDEX, DIRECT, PROXPI, DEVPI])
        for what in rows:
            for heat in HEATS:
                figures = {}
                for name in table.servers:
                    row = f"{what}, {heat if name != DIRECT else HEATS[0]}"
                    found = self.seconds.get((network.title, row, name))
                    if found:
                        figures[name] = statistics.median(found)
                reach = "pidex / direct at most 1.3" if heat == "cold" else "pidex / direct at most 1"
                table.rows.append(Row(f"{what}, {heat}", reach, figures, dict(self.bad)))
        return table


HEATS = ("cold", "warm")
UV_RESOLVES, UV_DOWNLOADS, PIP_DOWNLOADS = "uv resolves", "uv downloads", "pip downloads"
#: What is asked of peers: all of it would take an hour.
ASKED_OF = {PROXPI: (UV_RESOLVES, UV_DOWNLOADS), DEVPI: (UV_RESOLVES,)}


def measure(home: Path, rounds: int, others: int) -> tuple[list[Table], list[Figure]]:
    """`rounds` of pidex and of direct access, `others` of the peers and of pip, which is slow."""
    record()
    times = Times()
    acts: dict[str, Callable[[str], object]] = {
        UV_RESOLVES: lambda url: _resolve(url, home),
        UV_DOWNLOADS: lambda url: _fetch_uv(url, home, times.pins),
        PIP_DOWNLOADS: lambda url: _fetch_pip(url, home, times.pins),
    }
    for network in NETWORKS:
        with _upstream(network) as upstream:
            _resolve(upstream, home)  # the recording reads its pages when they are asked for first
            for number in range(rounds):
                note(f"{network.title}: round {number + 1}")
                for what, act in acts.items():
                    if what != PIP_DOWNLOADS or number < others:
                        times.take(network.title, f"{what}, {HEATS[0]}", DIRECT, act, upstream, None)
                        _through(home, PIDEX, _pidex, times, network, what, act, upstream)
    figures = crowds.bystanders(home, _pidex, _playing) + crowds.herd(home, _pidex)
    for network in NETWORKS:
        with _upstream(network) as upstream:
            for _ in range(others):
                for name, start in ((PROXPI, _proxpi), (DEVPI, _devpi)):
                    for what, act in acts.items():
                        if not times.spent and what in ASKED_OF[name]:
                            _through(home, name, start, times, network, what, act, upstream)
    tables = [times.table(network, [*acts]) for network in NETWORKS]
    for (title, name), size in times.memory.items():
        figures.append(Figure(f"memory of {name} at most, {title}", f"{size / 2**20:.0f} MB", "150 MB"))
    for (title, row, name), found in times.processor.items():
        if name == PIDEX and row.startswith(UV_RESOLVES):
            words = f"{statistics.median(found):.1f} s"
            figures.append(Figure(f"processor time of {name}, {row}, {title}", words))
    return tables, figures


def _through(
    home: Path,
    name: str,
    start: Callable[[Path, str], AbstractContextManager[tuple[Server, str]]],
    times: Times,
    network: Network,
    what: str,
    act: Callable[[str], object],
    upstream: str,
) -> None:
    """One act through a mirror that has nothing, and again. A peer that fails is passed over."""
    place = home / f"{name}-mirror"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    note(f"{name}: {what}")
    with start(place, upstream) as (server, url):
        for heat in HEATS:
            try:
                times.take(network.title, f"{what}, {heat}", name, act, url, server)
            except (SystemExit, subprocess.TimeoutExpired) as error:
                if name == PIDEX:
                    raise
                note(f"{name}, {what}, {heat}: {error}")
                return


def _processor(server: Server | None) -> float:
    """Seconds of processor time that a server and its descendants have used."""
    return 0.0 if server is None else sum(servers.processor(server))


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
def _started(network: Network, *more: str, store: Path = RECORDING) -> Iterator[str]:
    """A recording as an upstream: the URL of its simple API."""
    port = free_port()
    command = [sys.executable, "-m", "bench.recording", str(store), "--port", str(port)]
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
def _playing(store: Path) -> Iterator[str]:
    with _started(NETWORKS[0], store=store) as url:
        yield url


@contextmanager
def _pidex(place: Path, upstream: str) -> Iterator[tuple[Server, str]]:
    folder = place / "packages"
    folder.mkdir(exist_ok=True)
    server = servers.pidex(folder, place / "data", "--upstream", upstream, workers=1)
    server.command.remove("--no-access-log")
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
