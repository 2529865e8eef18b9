"""The rows about the project list: as many names as PyPI has, put into a catalogue directly."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

from bench import load, servers, wheels
from bench.pages import HTML, JSON, TEN
from bench.report import Figure, note
from bench.servers import Server

SYLLABLES = ["ba", "co", "di", "fu", "ge", "hy", "ka", "lo", "mi", "nu", "pa", "qu", "re", "so", "ti", "va"]


def name(number: int) -> str:
    """The n-th made-up name; they are as long as real ones and in no order."""
    digits = number * 2654435761 % (1 << 32)
    words = [SYLLABLES[digits >> shift & 15] for shift in range(0, 24, 4)]
    return f"{''.join(words[:3])}-{''.join(words[3:])}{number % 1000}"


def fill(catalogue: Path, count: int) -> None:
    """Put so many projects into the default index of a catalogue that no server holds."""
    with closing(sqlite3.connect(catalogue)) as connection, connection:
        (index,) = connection.execute("select id from indexes order by id limit 1").fetchone()
        (serial,) = connection.execute("select max(serial) from journal").fetchone()
        rows = ((index, name(number), name(number), 1, serial) for number in range(count))
        into = (
            "insert or ignore into projects (index_id, project, name, files, serial) values (?, ?, ?, ?, ?)"
        )
        connection.executemany(into, rows)


def measure(home: Path, count: int) -> list[Figure]:
    """The list in both forms, whole and unchanged."""
    folder, data = home / "few-packages", home / "names-data"
    wheels.fill(folder, [(TEN, 10)])
    first = servers.pidex(folder, data, workers=1)
    first.start()
    first.await_ok(first.page(TEN))
    first.stop()
    note(f"a list of {count:,} names")
    fill(catalogue_of(data), count)
    figures = []
    with ExitStack() as stack:
        server = servers.pidex(folder, data, workers=1)
        stack.callback(server.stop)
        server.start()
        server.await_ok(server.page(TEN))
        for form, accept in (("JSON", JSON), ("HTML", HTML)):
            figures += one_form(server, form, accept, count)
        time.sleep(1)
        peak = max(server.memory()[1:], default=0) / 1e6
        figures.append(Figure("memory of the worker afterwards", f"{peak:.0f} MB", "150 MB"))
        small = load.wrk(server, server.page(TEN), {"Accept": HTML}, 2, threads=1, connections=1).median_ms
        etag = server.get("/simple/", {"Accept": JSON}).headers.get("etag")
        if etag:
            headers = {"Accept": JSON, "If-None-Match": etag}
            same = load.wrk(server, "/simple/", headers, 2, threads=1, connections=1).median_ms
            words = f"{same * 1000:.0f} us (a page of 10 files: {small * 1000:.0f} us)"
            figures.append(Figure("the same, 304", words, "as a small page"))
    return figures


def one_form(server: Server, form: str, accept: str, count: int) -> list[Figure]:
    taken, sizes = [], []
    for encoding in ("identity", "gzip"):
        again = []
        for _ in range(3):
            answer = server.get("/simple/", {"Accept": accept, "Accept-Encoding": encoding})
            again.append(answer.seconds)
        if answer.status != 200 or (
            encoding == "identity" and len(re.findall(rb"\n|\"name\"", answer.body)) < count
        ):
            raise SystemExit(f"the list is not whole: {answer.status}, {len(answer.body)} bytes")
        taken.append((again[0], load.median(again[1:])))
        sizes.append(len(answer.body) / 1e6)
    (plain_first, plain), (packed_first, packed) = taken
    words = (
        f"{plain_first:.2f} s first, {plain:.2f} s again ({sizes[0]:.1f} MB); "
        f"gzip {packed_first:.2f} s first, {packed:.2f} s again ({sizes[1]:.1f} MB)"
    )
    return [Figure(f"list of {count:,} names, {form}", words, "streamed or precompressed")]


def catalogue_of(data: Path) -> Path:
    """The catalogue in a data directory: the database with a project list."""
    for path in sorted(data.glob("*.db")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            if connection.execute("select 1 from sqlite_master where name = 'projects'").fetchone():
                return path
    raise SystemExit(f"no catalogue in {data}")
