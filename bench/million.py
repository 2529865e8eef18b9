"""The rows about a catalogue of a million files: how soon a node starts, what a page and an upload take."""

from __future__ import annotations

import json
import random
import shutil
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import psycopg

from bench import load, texts
from bench.cluster import processor
from bench.pages import HTML
from bench.report import Figure, note
from bench.servers import Server
from pidex import app
from pidex.catalogue import journal
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.fulltext import SharedTexts
from pidex.catalogue.search import State, Texts
from pidex.config import load as settings_of
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.cluster import nodes
from tests.cluster.nodes import Database, Missing
from tests.conftest import server_programs
from tests.walks.server import Server as Node
from tests.walks.server import fetch, until

#: Files of each project; pages that are asked for the first time; uploads; searches of each kind, and before.
FILES_EACH, MISSES, UPLOADS, SEARCHES, WARMING = 10, 300, 60, 200, 20
#: Projects of which texts for searches are written in one transaction.
TOLD = 2_000
#: Rows as uploads into a bucket leave them: the hash of a file follows from its number.
_NUMBERED = """
    create temp table numbered as
    select n as id, project, '1.' || n % {each} as version, told,
           replace(project, '-', '_') || '-1.' || n % {each} || '-py3-none-any.whl' as filename,
           md5(n::text) || md5('x' || n) as sha256, md5('b' || n) || md5('c' || n) as blake
    from generate_series(0, {files} - 1) as n join named on number = n / {each}
"""
_STAT = "size, mtime_ns, ctime_ns, inode, device"
_VALUES = "1000, 0, 0, ('x0' || substr(sha256, 1, 15))::bit(64)::bigint, 0"
_ROWS = (
    "insert into contents (sha256, kind, size, blake2b_256, md5, metadata)"
    " select sha256, 'bdist_wheel', 1000, blake, '', case when version = {latest} then told end"
    " from numbered",
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
        _tell(place, database, files // FILES_EACH)
        node = Node(log=place / "log", options=("--config", str(settings)))
        stack.callback(node.stop)
        figures = [*_starts(node, files)]
        figures += _requests(node, files)
        figures += _searches(node, database, files)
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
        _name(conn, files // FILES_EACH)
        conn.execute(_NUMBERED.format(each=FILES_EACH, files=files).encode())
        for statement in _ROWS:
            values = {"index": found[0], "at": 1_700_000_000_000_000, "latest": f"'{texts.VERSION}'"}
            conn.execute(statement.format(**values).encode())


def _name(conn: psycopg.Connection, projects: int) -> None:
    """Names of projects, and what their latest releases say of themselves."""
    conn.execute("create temp table named (number int primary key, project text not null, told bytea)")
    with conn.cursor().copy("copy named from stdin") as rows:
        for number in range(projects):
            told = texts.metadata(number)
            rows.write_row((number, texts.name(number), zlib.compress(told)))


def _tell(place: Path, database: Database, projects: int) -> None:
    """What searches look through, as a server would make it out of these rows."""
    with (
        closing(Catalogue.open(database.url, create=False)) as catalogue,
        closing(SharedTexts(catalogue, Texts(place / "search.db"))) as shared,
    ):
        with catalogue.read() as conn:
            before, after = None, State(journal.serial(conn), "")
        shared.write(before, after, ())
        for start in range(0, projects, TOLD):
            numbers = range(start, min(start + TOLD, projects))
            before, after = after, after._replace(cursor=None if numbers.stop == projects else f"{start}")
            shared.write(before, after, [(DEFAULT_INDEX, texts.document(number)) for number in numbers])
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute("vacuum analyze search1_projects")  # as the server does by itself, a minute later


def _answers(url: str) -> bool:
    return fetch(url).status == 200


def _starts(node: Node, files: int) -> Iterator[Figure]:
    """Three starts, each to its first page; the last one stays."""
    taken = []
    for number in range(3):
        began = time.perf_counter()
        node.start()
        page = f"{node.url}/simple/{texts.name(number)}/"
        until(partial(_answers, page))
        taken.append(time.perf_counter() - began)
        if number < 2:
            node.stop()
    yield Figure(f"{files:,} files: start of a node to a page", f"{load.median(taken):.2f} s", "3 s")


def _searches(node: Node, database: Database, files: int) -> Iterator[Figure]:
    """Searches by the web page, each asked once, one after another; some more of each kind before."""
    projects, server = files // FILES_EACH, Server("node", [], node.port)
    roots = (node.pid, database.pid)
    for kind, asked in texts.questions(projects, SEARCHES + WARMING).items():
        paths = [f"/-/search?q={urllib.parse.quote_plus(each)}" for each in asked]
        load.latencies(server, paths[:WARMING], {"Accept": "text/html"})
        before = processor(roots)
        taken = load.latencies(server, paths[WARMING:], {"Accept": "text/html"})
        used = (processor(roots) - before) / SEARCHES * 1000
        words = f"{_spread(taken)}, {used:.0f} ms of the processor each"
        yield Figure(f"{projects:,} projects: search, {kind}", words, "100 ms")


def _spread(taken: list[float]) -> str:
    worst = sorted(taken)[len(taken) * 99 // 100]
    return f"{load.median(taken):.2f} ms, {worst:.1f} ms (99 %)"


def _requests(node: Node, files: int) -> Iterator[Figure]:
    until(lambda: "listed" in node.log_path.read_text(), seconds=300, why="the first listing did not end")
    chosen = random.Random(7).sample(range(files // FILES_EACH), MISSES)
    server = Server("node", [], node.port)
    missed = load.latencies(server, [f"/simple/{texts.name(number)}/" for number in chosen], {"Accept": HTML})
    yield Figure(f"{files:,} files: page miss", _spread(missed), "10 ms")
    taken = []
    for number in range(UPLOADS):
        sample = samples.wheel(f"up{number % 7}", f"1.{number}")
        began = time.perf_counter()
        answer = nodes.send(node.url, sample)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"an upload was answered {answer.status}: {answer.text[:200]}")
    yield Figure(f"{files:,} files: upload, one after another", f"{load.median(taken):.0f} ms", "50 ms")
