"""The rows about a catalogue of a million files: how soon a node starts, what a page and an upload take."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import psycopg

from bench import load
from bench.pages import HTML
from bench.report import Figure, note
from bench.servers import Server
from pidex import app
from pidex.config import load as settings_of
from pidex.core.model import OPERATOR
from tests import samples
from tests.cluster import nodes
from tests.cluster.nodes import Database, Missing
from tests.conftest import server_programs
from tests.walks.server import Server as Node
from tests.walks.server import fetch, until

#: Files of each project; pages that are asked for the first time; uploads.
FILES_EACH, MISSES, UPLOADS = 10, 300, 60
#: Rows as uploads into a bucket leave them: the hash of a file follows from its number.
_NUMBERED = """
    create temp table numbered as
    select n as id, 'p' || n / {each} as project, '1.' || n % {each} as version,
           'p' || n / {each} || '-1.' || n % {each} || '-py3-none-any.whl' as filename,
           md5(n::text) || md5('x' || n) as sha256, md5('b' || n) || md5('c' || n) as blake
    from generate_series(0, {files} - 1) as n
"""
_STAT = "size, mtime_ns, ctime_ns, inode, device"
_VALUES = "1000, 0, 0, ('x0' || substr(sha256, 1, 15))::bit(64)::bigint, 0"
_ROWS = (
    "insert into contents (sha256, kind, size, blake2b_256, md5)"
    " select sha256, 'bdist_wheel', 1000, blake, '' from numbered",
    'insert into admissions (index_id, key, filename, sha256, size, first_seen, source, "by", how)'
    " select {index}, filename, filename, sha256, 1000, {at}, 'upload', 'olga', 'upload' from numbered",
    f"insert into places (index_id, root, path, key, project, {_STAT}, state, sha256)"
    f" select {{index}}, 0, sha256 || '/' || filename, filename, project, {_VALUES}, 'whole', sha256"
    " from numbered",
    "insert into files (index_id, key, filename, project, name, version, packagetype, python_version,"
    f" sha256, blake2b_256, md5, upload_time, shelf, root, path, {_STAT})"
    " select {index}, filename, filename, project, project, version, 'bdist_wheel', 'py3',"
    f" sha256, blake, '', {{at}}, 'kept', 0, sha256 || '/' || filename, {_VALUES} from numbered",
    "insert into projects (index_id, project, name, files, serial)"
    " select {index}, project, project, count(*), 1 from numbered group by project",
    "analyze",
)


def measure(home: Path, files: int) -> list[Figure]:
    """A catalogue of so many files on PostgreSQL, whose bytes are nowhere; a bucket in a folder beside it."""
    programs = server_programs()
    if programs is None:
        raise Missing("no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
    with ExitStack() as stack:
        database = Database(programs)
        stack.callback(database.close)
        place = home / "million"
        place.mkdir()
        settings = place / "node.toml"
        settings.write_text(
            f"catalogue = {json.dumps(database.url)}\nstorage = {json.dumps(f'file://{place}/bucket')}\n"
            f"data = {json.dumps(str(place / 'data'))}\nno_upstream = true\naccess_log = false\n"
        )
        note(f"{files:,} rows")
        _fill(settings, database, files)
        node = Node(log=place / "log", options=("--config", str(settings)))
        stack.callback(node.stop)
        figures = [*_starts(node, files)]
        figures += _requests(node, files)
        shutil.rmtree(place / "bucket", ignore_errors=True)
        return figures


def _fill(settings: Path, database: Database, files: int) -> None:
    with closing(app.build(settings_of({"config": str(settings)}, {}), {}, create=True)) as pidex:
        people = pidex.administration()
        people.add_user(nodes.OWNER, nodes.PASSWORD, by=OPERATOR)
        people.grant(f"user:{nodes.OWNER}", "admin", by=OPERATOR)
    with psycopg.connect(database.url) as conn:
        found = conn.execute("select id from indexes where name = 'main'").fetchone()
        assert found is not None
        conn.execute(_NUMBERED.format(each=FILES_EACH, files=files).encode())
        for statement in _ROWS:
            conn.execute(statement.format(index=found[0], at=1_700_000_000_000_000).encode())


def _answers(url: str) -> bool:
    return fetch(url).status == 200


def _starts(node: Node, files: int) -> Iterator[Figure]:
    """Three starts, each to its first page; the last one stays."""
    taken = []
    for number in range(3):
        began = time.perf_counter()
        node.start()
        page = f"{node.url}/simple/p{number}/"
        until(partial(_answers, page))
        taken.append(time.perf_counter() - began)
        if number < 2:
            node.stop()
    yield Figure(f"{files:,} files: start of a node to a page", f"{load.median(taken):.2f} s", "3 s")


def _requests(node: Node, files: int) -> Iterator[Figure]:
    log = node.log_path
    until(lambda: "listed" in log.read_text(), seconds=300, why="the first listing did not end")
    chosen = random.Random(7).sample(range(files // FILES_EACH), MISSES)
    server = Server("node", [], node.port)
    missed = load.latencies(server, [f"/simple/p{number}/" for number in chosen], {"Accept": HTML})
    worst = sorted(missed)[len(missed) * 99 // 100]
    yield Figure(
        f"{files:,} files: page miss", f"{load.median(missed):.2f} ms, {worst:.1f} ms (99 %)", "10 ms"
    )
    taken = []
    for number in range(UPLOADS):
        sample = samples.wheel(f"up{number % 7}", f"1.{number}")
        began = time.perf_counter()
        answer = nodes.send(node.url, sample)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"an upload was answered {answer.status}: {answer.text[:200]}")
    yield Figure(f"{files:,} files: upload, one after another", f"{load.median(taken):.0f} ms", "50 ms")
