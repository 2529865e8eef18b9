"""Load: wrk for many small answers, a bare socket for big ones, one kept connection for latencies."""

from __future__ import annotations

import http.client
import random
import re
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Server

#: wrk's side of the rows: threads and open connections.
THREADS, CONNECTIONS = 2, 32


@dataclass(frozen=True)
class Reading:
    """One run of wrk. `bad`: answers other than 2xx and 3xx, and broken connections."""

    rate: float  # requests per second
    median_ms: float
    bad: int


def wrk(
    server: Server,
    path: str,
    headers: dict[str, str],
    seconds: float,
    *,
    threads: int = THREADS,
    connections: int = CONNECTIONS,
    script: Path | None = None,
) -> Reading:
    """Load one path (or those of a Lua script) for some seconds."""
    command = [
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "60s",
        "--latency",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{server.port}{path}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 75)
    except subprocess.TimeoutExpired:
        return Reading(0.0, 0.0, 1)  # a server that stopped answering: seen with pypiserver
    text = done.stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s|m)", text)
    if rate is None:
        raise SystemExit(f"wrk said nothing of use: {text}")
    bad = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for errors in re.findall(r"Socket errors: (.*)", text):
        bad += sum(int(number) for number in re.findall(r"\d+", errors))
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
    return Reading(float(rate[1]), float(median[1]) * scale[median[2]] if median else 0.0, bad)


def zipf_script(paths: list[str], target: Path, *, length: int = 20_000) -> Path:
    """A Lua script for wrk: in its fixed order the n-th path comes up 1/n as often as the first."""
    weights = [1 / (position + 1) for position in range(len(paths))]
    drawn = random.Random(1).choices(range(len(paths)), weights, k=length)
    lines = ["local paths = {"]
    lines += [f'"{path}",' for path in paths]
    lines += ["}", "local order = {" + ",".join(str(number + 1) for number in drawn) + "}"]
    lines += [
        "local requests, position = {}, 0",
        "function init(args)",
        "  for i, path in ipairs(paths) do requests[i] = wrk.format('GET', path) end",
        "  math.randomseed(os.time() + tonumber(tostring({}):sub(8), 16) % 1000)",
        f"  position = math.random({length})",
        "end",
        "function request()",
        f"  position = position % {length} + 1",
        "  return requests[order[position]]",
        "end",
    ]
    target.write_text("\n".join(lines) + "\n")
    return target


def download(server: Server, path: str) -> float:
    """Seconds from sending a GET to its last byte, read by a bare socket."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        before = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        got = connection.recv(65536)
        while b"\r\n\r\n" not in got:
            got += connection.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) or length is None:
            raise SystemExit(f"{server.name}: {path}: {head[:200]!r}")
        missing = int(length[1]) - len(body)
        while missing > 0:
            count = connection.recv_into(buffer)
            if not count:
                raise SystemExit(f"{server.name}: {path}: cut short by {missing} bytes")
            missing -= count
        return time.perf_counter() - before


def latencies(server: Server, paths: list[str], headers: dict[str, str]) -> list[float]:
    """Milliseconds of each GET, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    taken = []
    for path in paths:
        before = time.perf_counter()
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        taken.append((time.perf_counter() - before) * 1000)
        if response.status != 200:
            raise SystemExit(f"{server.name}: {path}: {response.status}")
    connection.close()
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)
