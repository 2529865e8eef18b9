"""The rows about uploads: small wheels a second, a big file, and whether the next request sees a file."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import load, servers, wheels
from bench.pages import HTML
from bench.report import Figure, Row, Table, note
from bench.servers import Server

CLIENTS = (1, 4, 16)
#: Bytes that are sent and made at once.
CHUNK = 1_000_000
#: Seconds between two looks at the memory of a server that takes a big file.
LOOK = 0.05
SERVERS = ["pidex", "devpi", "pypiserver"]


@dataclass(frozen=True)
class Target:
    """A server, where it takes uploads, and the headers that let one in."""

    server: Server
    path: str
    headers: dict[str, str]


def measure(
    home: Path, rounds: int, wheels_each: int, fresh: int, megabytes: int
) -> tuple[Table, list[Figure]]:
    """`wheels_each`: small wheels that one round sends to each server; the same ones to all of them.

    The servers take turns in each of the rounds, and the medians of the rounds count.
    """
    table = Table("Uploads: small wheels a second", SERVERS)
    figures = []
    with ExitStack() as stack:
        targets = [make(stack, home / "uploads") for make in (pidex, devpi, pypiserver)]
        for clients in CLIENTS:
            row = Row(f"{clients} client{'s' * (clients > 1)}", "20 x devpi", {}, {})
            rates: dict[str, list[float]] = {target.server.name: [] for target in targets}
            for turn in range(rounds):
                note(f"uploads by {clients} clients, round {turn + 1} of {rounds}")
                for target in targets:
                    name = target.server.name
                    rate, bad = many(target, f"{clients}-{turn}", clients, wheels_each)
                    rates[name].append(rate)
                    if bad:
                        row.bad[name] = row.bad.get(name, 0) + bad
            row.figures.update((name, load.median(found)) for name, found in rates.items())
            table.rows.append(row)
        ours = targets[0]
        figures.append(freshness(ours, fresh))
        note(f"an upload of {megabytes:,} MB")
        figures += big(ours, home / "uploads", megabytes)
    return table, figures


def pidex(stack: ExitStack, home: Path) -> Target:
    """pidex with a user who may upload, and a token of that user."""
    folder, data = home / "pidex", home / "data"
    folder.mkdir(parents=True)
    server = servers.pidex(folder, data)
    stack.callback(server.stop)
    server.start()
    server.await_ok("/-/health")
    program, place = str(Path(sys.executable).parent / "pidex"), ["--data", str(data)]
    said = b""
    for words in (
        ["user", "add", "bench", "--no-password"],
        ["grant", "add", "user:bench", "uploader"],
        ["token", "create", "bench", "--upload", "--json"],
    ):
        said = subprocess.run([program, *words, *place], check=True, capture_output=True).stdout
    login = base64.b64encode(f"__token__:{json.loads(said)['text']}".encode()).decode()
    return Target(server, "/legacy/", {"Authorization": f"Basic {login}"})


def devpi(stack: ExitStack, home: Path) -> Target:
    """devpi with its index root/bench."""
    state = home / "devpi-home"
    state.mkdir(parents=True)
    server = servers.devpi(state)
    stack.callback(server.stop)
    server.start()
    server.await_ok("/+api")
    return Target(server, "/root/bench/", servers.open_devpi(server))


def pypiserver(stack: ExitStack, home: Path) -> Target:
    """pypiserver without its cache, open to everybody, which is its fastest way to take files."""
    folder = home / "pypiserver"
    folder.mkdir(parents=True)
    server = servers.pypiserver(folder, home, cached=False)
    server.command[-1:-1] = ["-P", ".", "-a", "."]
    stack.callback(server.stop)
    server.start()
    server.await_ok("/")
    return Target(server, "/", {})


def many(target: Target, mark: str, clients: int, count: int) -> tuple[float, int]:
    """Uploads a second by so many clients, each on a connection it keeps, and how many were no 200.

    `mark` is in the names of the wheels.
    """
    bodies = [body(f"small-{mark}-{number % 20}", f"1.{number // 20}.0") for number in range(count)]
    parts = [bodies[number::clients] for number in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        before = time.perf_counter()
        bad = sum(pool.map(lambda part: send_all(target, part), parts))
        return count / (time.perf_counter() - before), bad


def body(name: str, version: str) -> tuple[bytes, str]:
    """The body and content type of one small wheel's upload."""
    filename, data = wheels.wheel(name, version)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "metadata_version": "2.1",
        "sha256_digest": hashlib.sha256(data).hexdigest(),
    }
    return servers.form(fields, filename, data)


def send_all(target: Target, bodies: list[tuple[bytes, str]]) -> int:
    """Send one after the other; how many were not taken."""
    connection = http.client.HTTPConnection("127.0.0.1", target.server.port, timeout=120)
    bad = 0
    for data, kind in bodies:
        try:
            connection.request("POST", target.path, data, {**target.headers, "Content-Type": kind})
            response = connection.getresponse()
            response.read()
            bad += response.status != 200
        except (OSError, http.client.HTTPException):  # hung up on, which is no upload either
            bad += 1
            connection.close()
    connection.close()
    return bad


def freshness(target: Target, count: int) -> Figure:
    """After each 200, the next request, on a connection of its own: does it list the file?"""
    late, seconds = 0, []
    for number in range(count):
        name, version = "fresh", f"1.{number}.0"
        if send_all(target, [body(name, version)]):
            raise SystemExit("pidex did not take an upload")
        answer = target.server.get(target.server.page(name), {"Accept": HTML})
        late += f"{name}-{version}-".encode() not in answer.body
        seconds.append(answer.seconds)
    words = f"{count - late} of {count} listed, {load.median(seconds) * 1000:.1f} ms the page"
    return Figure("the next request after the 200", words, "all")


def big(target: Target, home: Path, megabytes: int) -> list[Figure]:
    """One big wheel: how fast it goes in, and what the server's memory grows by meanwhile."""
    path = big_wheel(home, "big", megabytes)
    head, tail, kind = frame("big", path.name)
    size = path.stat().st_size
    time.sleep(2)
    idle, peak, over = sum(target.server.memory()), 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(LOOK):
            peak = max(peak, sum(target.server.memory()))

    def pieces() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
        yield tail

    thread = threading.Thread(target=look)
    thread.start()
    try:
        length = str(len(head) + size + len(tail))
        headers = {**target.headers, "Content-Type": kind, "Content-Length": length}
        connection = http.client.HTTPConnection("127.0.0.1", target.server.port, timeout=600)
        before = time.perf_counter()
        connection.request("POST", target.path, pieces(), headers)
        response = connection.getresponse()
        said = response.read()
        seconds = time.perf_counter() - before
        connection.close()
    finally:
        over.set()
        thread.join()
    if response.status != 200:
        raise SystemExit(f"pidex did not take {path.name}: {response.status} {said[:300]!r}")
    grown = max(0, peak - idle) / 1e6
    return [
        Figure(f"an upload of {megabytes:,} MB, to the 200", f"{size / 1e6 / seconds:,.0f} MB/s"),
        Figure(
            f"memory above idle meanwhile, all processes ({idle / 1e6:.0f} MB)", f"{grown:.0f} MB", "60 MB"
        ),
    ]


def frame(name: str, filename: str) -> tuple[bytes, bytes, str]:
    """What comes before and after the bytes of a file in the body, and the content type."""
    fields = {":action": "file_upload", "name": name, "version": "1.0.0", "filetype": "bdist_wheel"}
    mark = b"THE-FILE"
    whole, kind = servers.form({**fields, "pyversion": "py3", "metadata_version": "2.1"}, filename, mark)
    head, _, tail = whole.partition(mark)
    return head, tail, kind


def big_wheel(folder: Path, name: str, megabytes: int) -> Path:
    """A wheel of about so many MB, made without holding it in memory."""
    stem = f"{name}-1.0.0"
    path = folder / f"{stem}-py3-none-any.whl"
    piece, digest = os.urandom(CHUNK), hashlib.sha256()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{name}/payload.bin", "w", force_zip64=True) as member:
            for _ in range(megabytes):
                member.write(piece)
                digest.update(piece)
        rows = [f"{name}/payload.bin,{encoded(digest.digest())},{megabytes * CHUNK}"]
        for member_name, data in (("METADATA", metadata), ("WHEEL", wheels.WHEEL)):
            archive.writestr(f"{stem}.dist-info/{member_name}", data)
            row = f"{stem}.dist-info/{member_name},{encoded(hashlib.sha256(data).digest())},{len(data)}"
            rows.append(row)
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join([*rows, f"{stem}.dist-info/RECORD,,", ""]))
    return path


def encoded(digest: bytes) -> str:
    """A digest as RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
